package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The programs that are built in are what the rules say.
func TestGenerated(t *testing.T) {
	for file, name := range processors {
		program, err := compile(name)
		if err != nil {
			t.Fatal(err)
		}
		built, err := os.ReadFile("../" + file + ".bpf")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(program, built) {
			t.Errorf("%s.bpf is not what the rules say: go generate ./membrane/filter", file)
		}
		if len(program)/8 > 4096 {
			t.Errorf("%s has %d instructions: the kernel takes 4096", file, len(program)/8)
		}
	}
}

// verdicts runs the filter of a processor as the kernel would.
func verdicts(t *testing.T, processor string) func(audit, number uint32, args ...uint32) uint32 {
	t.Helper()
	raw, err := compile(processor)
	if err != nil {
		t.Fatal(err)
	}
	var instructions []bpf.RawInstruction
	for i := 0; i < len(raw); i += 8 {
		instructions = append(instructions, bpf.RawInstruction{
			Op: binary.LittleEndian.Uint16(raw[i:]), Jt: raw[i+2], Jf: raw[i+3], K: binary.LittleEndian.Uint32(raw[i+4:]),
		})
	}
	program, ok := bpf.Disassemble(instructions)
	if !ok {
		t.Fatal("it has instructions that nobody knows")
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	return func(audit, number uint32, args ...uint32) uint32 {
		data := make([]byte, 64) // struct seccomp_data, of which a packet filter loads big-endian words
		binary.BigEndian.PutUint32(data[atNumber:], number)
		binary.BigEndian.PutUint32(data[atProcessor:], audit)
		for i, a := range args {
			binary.BigEndian.PutUint32(data[atArguments+8*i:], a)
		}
		v, err := vm.Run(data)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(v)
	}
}

func TestVerdicts(t *testing.T) {
	const (
		allowedCall = unix.SECCOMP_RET_ALLOW
		eperm       = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		enosys      = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
		family      = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)
	)
	for file, processor := range processors {
		info, err := arch.GetInfo(processor)
		if err != nil {
			t.Fatal(err)
		}
		run := verdicts(t, processor)
		listed := strings.Fields(allowed)
		ruled := map[string]bool{}
		for _, c := range calls {
			ruled[c.name] = true
		}
		for name, n := range info.SyscallNames {
			want := uint32(eperm)
			for _, a := range listed {
				if a == name {
					want = allowedCall
				}
			}
			if !ruled[name] && run(uint32(info.ID), uint32(n)) != want {
				t.Errorf("%s: %s is %#x, want %#x", file, name, run(uint32(info.ID), uint32(n)), want)
			}
		}
		for _, c := range []struct {
			name string
			args []uint32
			want uint32
		}{
			{"fchmod", []uint32{3, 0o755}, allowedCall},
			{"fchmod", []uint32{3, 0o4755}, eperm},
			{"fchmod", []uint32{3, 0o2755}, eperm},
			{"fchmodat", []uint32{0, 0, 0o644}, allowedCall},
			{"fchmodat", []uint32{0, 0, 0o6644}, eperm},
			{"openat", []uint32{0, 0, unix.O_RDONLY, 0o4755}, allowedCall},
			{"openat", []uint32{0, 0, unix.O_CREAT, 0o755}, allowedCall},
			{"openat", []uint32{0, 0, unix.O_CREAT | unix.O_WRONLY, 0o4755}, eperm},
			{"openat", []uint32{0, 0, unix.O_TMPFILE | unix.O_RDWR, 0o2755}, eperm},
			{"openat", []uint32{0, 0, unix.O_DIRECTORY, 0o4755}, allowedCall},
			{"mknodat", []uint32{0, 0, unix.S_IFIFO | 0o600}, allowedCall},
			{"mknodat", []uint32{0, 0, unix.S_IFREG | 0o4755}, eperm},
			{"clone", []uint32{unix.CLONE_VM | unix.CLONE_THREAD}, allowedCall},
			{"clone", []uint32{unix.CLONE_NEWUSER | uint32(unix.SIGCHLD)}, eperm},
			{"clone", []uint32{unix.CLONE_PARENT}, allowedCall},
			{"clone", []uint32{unix.CLONE_NEWNET}, eperm},
			{"unshare", []uint32{unix.CLONE_FILES}, allowedCall},
			{"unshare", []uint32{unix.CLONE_NEWTIME}, eperm},
			{"unshare", []uint32{unix.CLONE_NEWPID}, eperm},
			{"clone3", nil, enosys},
			{"openat2", nil, enosys},
			{"setns", nil, eperm},
			{"personality", []uint32{0}, allowedCall},
			{"personality", []uint32{0xffffffff}, allowedCall},
			{"personality", []uint32{0x0040000}, eperm},
			{"socket", []uint32{unix.AF_UNIX, 1, 0}, allowedCall},
			{"socket", []uint32{unix.AF_INET6, 1, 0}, allowedCall},
			{"socket", []uint32{unix.AF_NETLINK, 3, unix.NETLINK_ROUTE}, allowedCall},
			{"socket", []uint32{unix.AF_NETLINK, 3, unix.NETLINK_NETFILTER}, family},
			{"socket", []uint32{unix.AF_VSOCK, 1, 0}, family},
			{"socket", []uint32{unix.AF_PACKET, 3, 0}, family},
			{"socket", []uint32{unix.AF_ALG, 5, 0}, family},
			{"socketpair", []uint32{unix.AF_UNIX}, allowedCall},
			{"socketpair", []uint32{unix.AF_TIPC}, family},
			{"ioctl", []uint32{0, unix.TCGETS}, allowedCall},
			{"ioctl", []uint32{0, unix.TIOCSTI}, eperm},
			{"ioctl", []uint32{0, unix.TIOCLINUX}, eperm},
		} {
			if got := run(uint32(info.ID), uint32(info.SyscallNames[c.name]), c.args...); got != c.want {
				t.Errorf("%s: %s%v is %#x, want %#x", file, c.name, c.args, got, c.want)
			}
		}
		if got := run(uint32(info.ID), 100000); got != enosys {
			t.Errorf("%s: a call that is newer than the filter is %#x", file, got)
		}
		if got := run(uint32(info.ID), 0x40000000|39); got != enosys {
			t.Errorf("%s: a call of x32 is %#x", file, got)
		}
		if got := run(0x40000003, 20); got != enosys { // getpid of i386
			t.Errorf("%s: a call of another processor is %#x", file, got)
		}
	}
}
