// Package attempts is what a hostile program tries from inside of a membrane. cell explain runs it in a membrane as a cell's, and says of
// each rule whether it holds; a test runs it on each kind of machine and prints it into docs/membrane.md.
package attempts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/membrane/spec"
)

// Attempt is one thing that must not succeed.
type Attempt struct {
	Rule string // which rule of cell explain it belongs to
	What string
	By   string                   // what refuses it
	Try  func(w spec.World) error // nil is a success of the attacker, errNotTried that there is nothing to aim at
	Skip func(w spec.World) bool  // the cell has been given what is tried
	want []error                  // what it is refused with, where that tells by whom
}

// Run tries everything.
func Run(w spec.World) []spec.Result {
	runtime.LockOSThread()
	var out []spec.Result
	for _, a := range All {
		r := spec.Result{Rule: a.Rule, What: a.What, By: a.By}
		err := errNotTried
		if a.Skip == nil || !a.Skip(w) {
			err = a.Try(w)
		}
		switch {
		case errors.Is(err, errNotTried):
			r.Skipped = true
		case err == nil:
		case len(a.want) > 0 && !slices.ContainsFunc(a.want, func(e error) bool { return errors.Is(err, e) }):
			// Refused, but by something else: then nothing is known of what it is said to be refused by.
			r.Refused = ""
			r.What += fmt.Sprintf(" (it says %v)", err)
		default:
			r.Refused = reason(err)
		}
		out = append(out, r)
	}
	return out
}

// reason is the last part of an error.
func reason(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return text
}

// Probe runs everything and writes the results to standard output; the world comes as JSON.
func Probe(world string) error {
	var w spec.World
	if err := json.Unmarshal([]byte(world), &w); err != nil {
		return fmt.Errorf("read what to try: %w", err)
	}
	return json.NewEncoder(os.Stdout).Encode(Run(w))
}

var (
	errNotTried = errors.New("not tried")
	errNothing  = errors.New("there is nothing")
)

// Who refuses. Where several are named, each of them would do.
const (
	view    = "view"              // a root of its own, with nothing else in it
	closed  = "closed"            // mounts that are read-only
	nosuid  = "nosuid"            // mounts whose setuid bits do not count
	apart   = "another mount"     // the kernel's own rule
	pids    = "PID namespace"     // its processes
	net     = "network namespace" // its interfaces, ports and abstract sockets
	ipc     = "IPC namespace"     // its queues and System V shared memory
	names   = "UTS namespace"     // its host name
	another = "another user"      // a cell of root is not root to the machine
	filter  = "filter"            // of system calls
	caps    = "no capability"     // nor new privileges
	hidden  = "not dumpable"      // the first process shows its memory to nobody
)

func by(who ...string) string { return strings.Join(who, ", ") }

func read(path string) func(spec.World) error {
	return func(spec.World) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		var b [1]byte
		if st, _ := f.Stat(); st != nil && st.IsDir() {
			_, err = f.ReadDir(1)
		} else {
			_, err = f.Read(b[:])
		}
		return err
	}
}

// list finds something in a directory that is not on the way to the cell's own.
func list(path string) func(spec.World) error {
	return func(w spec.World) error {
		all, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		for _, e := range all {
			if p := filepath.Join(path, e.Name()); p != w.Dir && !strings.HasPrefix(w.Dir, p+"/") {
				return nil
			}
		}
		return errNothing
	}
}

// write asks whether it may make a file in a directory, and makes none.
func write(dir string) func(spec.World) error {
	return func(spec.World) error { return unix.Access(dir, unix.W_OK) }
}

// set opens a file of the kernel to write it, and writes nothing.
func set(path string) func(spec.World) error {
	return func(spec.World) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return f.Close()
	}
}

// scratch is a new name in a directory that the cell may write in.
func scratch() string {
	dir := "/tmp"
	if st, err := os.Stat("data"); err == nil && st.IsDir() {
		dir = "data"
	}
	return filepath.Join(dir, fmt.Sprintf(".attempt-%d", time.Now().UnixNano()))
}

// made makes a file and removes it afterwards.
func made(f func(path string) error) func(spec.World) error {
	return func(spec.World) error {
		path := scratch()
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return nil // it shows as a success: the attempt itself is broken
		}
		defer os.Remove(path)
		return f(path)
	}
}

// aim skips an attempt without an aim.
func aim(has func(spec.World) bool, f func(spec.World) error) func(spec.World) error {
	return func(w spec.World) error {
		if !has(w) {
			return errNotTried
		}
		return f(w)
	}
}

func call(number uintptr, args ...uintptr) func(spec.World) error {
	var a [6]uintptr
	copy(a[:], args)
	return func(spec.World) error {
		r, _, e := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
		if e != 0 {
			return e
		}
		_ = r
		return nil
	}
}

// descriptor is like call, of a call that returns a descriptor.
func descriptor(number uintptr, args ...uintptr) func(spec.World) error {
	var a [6]uintptr
	copy(a[:], args)
	return func(spec.World) error {
		fd, _, e := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
		if e != 0 {
			return e
		}
		unix.Close(int(fd))
		return nil
	}
}

// text is a C string that stays.
func text(s string) uintptr {
	b := append([]byte(s), 0)
	kept = append(kept, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

// memory is some that stays.
func memory(n int) uintptr {
	b := make([]byte, n)
	kept = append(kept, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

var (
	kept    [][]byte
	keptToo []any
)

func socket(domain, kind, protocol int) func(spec.World) error {
	return func(spec.World) error {
		fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
}

func connect(path string) func(spec.World) error {
	return func(spec.World) error { return dial(&unix.SockaddrUnix{Name: path}) }
}

func dial(to unix.Sockaddr) error {
	domain := unix.AF_UNIX
	if _, ok := to.(*unix.SockaddrInet4); ok {
		domain = unix.AF_INET
	}
	err := error(nil)
	// A socket may be of any kind: EPROTOTYPE says that it is there.
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_SEQPACKET, unix.SOCK_DGRAM} {
		if domain == unix.AF_INET && kind != unix.SOCK_STREAM {
			break
		}
		var fd int
		if fd, err = unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 2})
		err = unix.Connect(fd, to)
		unix.Close(fd)
		if err == nil || err != unix.EPROTOTYPE {
			return err
		}
	}
	return err
}

// strangers finds a process that is none of the cell's: with a name that only the machine's have.
func strangers(spec.World) error {
	all, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return err
	}
	for _, p := range all {
		b, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		switch string(bytes.TrimSpace(b)) {
		case "systemd", "celld", "(sd-pam)", "dbus-daemon", "systemd-journal", "kthreadd":
			return nil
		}
	}
	return errNothing
}

// clone makes a process in a new namespace.
func clone(flags uintptr) func(spec.World) error {
	return func(spec.World) error {
		var args [6]uintptr
		args[0] = flags | uintptr(unix.SIGCHLD)
		pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, args[0], 0, 0, 0, 0, 0)
		if e != 0 {
			return e
		}
		if pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		_, _ = unix.Wait4(int(pid), nil, 0, nil)
		return nil
	}
}

func onlyNobody(w spec.World) bool { return w.Root }
func online(w spec.World) bool     { return w.Internet }

func user(uid int) func(spec.World) error {
	return onThread(unix.SYS_SETRESUID, func() [3]uintptr { return [3]uintptr{uintptr(uid), uintptr(uid), uintptr(uid)} })
}

// onThread makes a call that changes a thread's rights on a thread that ends with it.
func onThread(number uintptr, args func() [3]uintptr) func(spec.World) error {
	return func(spec.World) error {
		done := make(chan unix.Errno)
		go func() {
			runtime.LockOSThread()
			a := args()
			_, _, e := unix.RawSyscall(number, a[0], a[1], a[2])
			done <- e
		}()
		if e := <-done; e != 0 {
			return e
		}
		return nil
	}
}

// withoutSetID is refused where what is on a file system does not change who runs it.
func withoutSetID(path string) func(spec.World) error {
	return func(spec.World) error {
		var st unix.Statfs_t
		if err := unix.Statfs(path, &st); err != nil {
			return err
		}
		if st.Flags&unix.ST_NOSUID != 0 {
			return errors.New("nosuid")
		}
		return nil
	}
}

func aimsPID(w spec.World) bool { return w.PID > 0 }

// All is every attempt.
var All = slices.Concat(files, processes, network, rights, kernel)

var files = []Attempt{
	{Rule: spec.Files, What: "read /etc/shadow", By: by(view, another), Try: read("/etc/shadow")},
	{Rule: spec.Files, What: "list /etc/ssl/private", By: by(view, another), Try: read("/etc/ssl/private")},
	{Rule: spec.Files, What: "read the machine's SSH keys", By: by(view), Try: read("/etc/ssh")},
	{Rule: spec.Files, What: "list /root", By: by(view, another), Try: list("/root")},
	{Rule: spec.Files, What: "list /home", By: by(view), Try: list("/home")},
	{Rule: spec.Files, What: "list /srv", By: by(view), Try: list("/srv")},
	{Rule: spec.Files, What: "list /opt", By: by(view), Try: list("/opt")},
	{Rule: spec.Files, What: "list /mnt and /media", By: by(view), Try: func(w spec.World) error {
		if list("/mnt")(w) == nil || list("/media")(w) == nil {
			return nil
		}
		return errNothing
	}},
	{Rule: spec.Files, What: "list /var/lib", By: by(view), Try: list("/var/lib")},
	{Rule: spec.Files, What: "read the machine's log", By: by(view), Try: list("/var/log")},
	{Rule: spec.Files, What: "list /boot", By: by(view), Try: list("/boot")},
	{Rule: spec.Files, What: "read a neighbour's cell.toml", By: by(view), Try: aim(func(w spec.World) bool { return w.Neighbour != "" }, func(w spec.World) error {
		return read(filepath.Join(w.Neighbour, "cell.toml"))(w)
	})},
	{Rule: spec.Files, What: "list a neighbour's data", By: by(view), Try: aim(func(w spec.World) bool { return w.Neighbour != "" }, func(w spec.World) error {
		return read(filepath.Join(w.Neighbour, "data"))(w)
	})},
	{Rule: spec.Files, What: "read a file in the machine's /tmp", By: by(view), Try: aim(func(w spec.World) bool { return w.File != "" }, func(w spec.World) error { return read(w.File)(w) })},
	{Rule: spec.Files, What: "write to /usr", By: by(closed, another), Try: write("/usr"), want: []error{unix.EROFS, unix.EACCES}},
	{Rule: spec.Files, What: "write to /etc", By: by(closed, another), Try: write("/etc"), want: []error{unix.EROFS, unix.EACCES}},
	{Rule: spec.Files, What: "write to /", By: by(closed, another), Try: write("/"), want: []error{unix.EROFS, unix.EACCES}},
	{Rule: spec.Files, What: "change its own cell.toml", By: by(closed), Try: set("cell.toml"), want: []error{unix.EROFS}},
	{Rule: spec.Files, What: "change its own program", By: by(closed), Try: write("run"), want: []error{unix.EROFS, unix.EACCES, unix.ENOENT}},
	{Rule: spec.Files, What: "change what it was started from (/proc/self/exe)", By: by(closed), Try: set("/proc/self/exe"), want: []error{unix.EROFS, unix.EACCES, unix.ETXTBSY, unix.ENOENT}},
	{Rule: spec.Files, What: "write to the broker's directory", By: by(closed), Try: write("/run/cell/broker"), want: []error{unix.EROFS, unix.EACCES, unix.ENOENT}},
	{Rule: spec.Files, What: "follow a link of its own to /etc/shadow", By: by(view, another), Try: func(w spec.World) error {
		path := scratch()
		if err := os.Symlink("/etc/shadow", path); err != nil {
			return nil
		}
		defer os.Remove(path)
		return read(path)(w)
	}},
	{Rule: spec.Files, What: "hard-link a program of root's into its directory", By: by(apart), Try: func(spec.World) error {
		path := scratch()
		defer os.Remove(path)
		return os.Link("/usr/bin/su", path)
	}},
	{Rule: spec.Files, What: "leave its root by /proc/1/root", By: by(view, another, hidden), Try: read("/proc/1/root/etc/shadow")},
	{Rule: spec.Files, What: "leave its root by ..", By: by(view, another), Try: read("/../../../../etc/shadow")},
	{Rule: spec.Files, What: "open a file by its handle", By: by(filter), Try: descriptor(unix.SYS_OPEN_BY_HANDLE_AT, ^uintptr(0), memory(64), 0), want: []error{unix.EPERM}},
}

var processes = []Attempt{
	{Rule: spec.Processes, What: "see the machine's processes", By: by(pids), Try: strangers},
	{Rule: spec.Processes, What: "signal another process of its user", By: by(pids, another), Try: aim(aimsPID, func(w spec.World) error { return unix.Kill(w.PID, 0) })},
	{Rule: spec.Processes, What: "hold another process (pidfd_open)", By: by(pids), Try: aim(aimsPID, func(w spec.World) error {
		fd, err := unix.PidfdOpen(w.PID, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	})},
	{Rule: spec.Processes, What: "read another process's environment", By: by(pids, another, caps), Try: aim(aimsPID, func(w spec.World) error { return read(fmt.Sprintf("/proc/%d/environ", w.PID))(w) })},
	{Rule: spec.Processes, What: "limit another process (prlimit)", By: by(pids, another), Try: aim(aimsPID, func(w spec.World) error {
		return unix.Prlimit(w.PID, unix.RLIMIT_NOFILE, nil, &unix.Rlimit{})
	})},
	{Rule: spec.Processes, What: "read another process's memory", By: by(pids, another, caps), Try: aim(aimsPID, func(w spec.World) error { return vm(w.PID) })},
	{Rule: spec.Processes, What: "read its first process's memory", By: by(hidden), Try: func(spec.World) error { return vm(1) }, want: []error{unix.EPERM}},
	{Rule: spec.Processes, What: "write its first process's memory", By: by(hidden), Try: func(spec.World) error {
		f, err := os.OpenFile("/proc/1/mem", os.O_RDWR, 0)
		if err == nil {
			f.Close()
		}
		return err
	}},
	{Rule: spec.Processes, What: "end its first process", By: by(pids), Try: func(spec.World) error {
		if err := unix.Kill(1, unix.SIGKILL); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
		return errors.New("it goes on") // this process would have ended with it
	}},
	{Rule: spec.Processes, What: "trace a process (ptrace)", By: by(filter), Try: call(unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1<<22-1), want: []error{unix.EPERM}},
	{Rule: spec.Processes, What: "run before all others (SCHED_FIFO)", By: by(caps), Try: func(spec.World) error {
		param := struct{ priority int32 }{1}
		_, _, e := unix.RawSyscall(unix.SYS_SCHED_SETSCHEDULER, 0, 1, uintptr(unsafe.Pointer(&param)))
		if e != 0 {
			return e
		}
		return nil
	}},
	{Rule: spec.Processes, What: "raise its own limits", By: by(caps), Try: func(spec.World) error {
		var now unix.Rlimit
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &now); err != nil {
			return nil
		}
		return unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: now.Cur, Max: now.Max + 1}, nil)
	}},
	{Rule: spec.Processes, What: "lower its own niceness", By: by(caps), Try: func(spec.World) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -5) }},
}

func vm(pid int) error {
	b := make([]byte, 8)
	local := []unix.Iovec{{Base: &b[0], Len: 8}}
	_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}, 0)
	return err
}

var network = []Attempt{
	{Rule: spec.Network, What: "connect to another machine", By: by(net), Skip: online, Try: func(spec.World) error {
		return dial(&unix.SockaddrInet4{Port: 80, Addr: [4]byte{192, 0, 2, 1}})
	}, want: []error{unix.ENETUNREACH}},
	{Rule: spec.Network, What: "connect to a port of the machine", By: by(net), Skip: online, Try: aim(func(w spec.World) bool { return w.Port > 0 }, func(w spec.World) error {
		return dial(&unix.SockaddrInet4{Port: w.Port, Addr: [4]byte{127, 0, 0, 1}})
	})},
	{Rule: spec.Network, What: "see the machine's interfaces", By: by(net), Skip: online, Try: func(spec.World) error {
		b, err := os.ReadFile("/proc/self/net/dev")
		if err != nil {
			return err
		}
		if n := bytes.Count(b, []byte("\n")); n > 3 { // two lines of titles, and lo
			return nil
		}
		return errNothing
	}},
	{Rule: spec.Network, What: "change an interface", By: by(caps), Try: func(spec.World) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		lo, err := unix.NewIfreq("lo")
		if err != nil {
			return nil
		}
		lo.SetUint16(unix.IFF_UP | unix.IFF_PROMISC)
		return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
	}, want: []error{unix.EPERM}},
	{Rule: spec.Network, What: "packet socket", By: by(filter), Try: socket(unix.AF_PACKET, unix.SOCK_RAW, 0), want: []error{unix.EAFNOSUPPORT}},
	{Rule: spec.Network, What: "raw socket", By: by(caps), Try: socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), want: []error{unix.EPERM}},
	{Rule: spec.Network, What: "socket to the hypervisor (AF_VSOCK)", By: by(filter), Try: socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0), want: []error{unix.EAFNOSUPPORT}},
	{Rule: spec.Network, What: "socket of the kernel's cryptography (AF_ALG)", By: by(filter), Try: socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0), want: []error{unix.EAFNOSUPPORT}},
	{Rule: spec.Network, What: "socket of the packet filter (NETLINK_NETFILTER)", By: by(filter), Try: socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER), want: []error{unix.EAFNOSUPPORT}},
	{Rule: spec.Sockets, What: "abstract socket of the machine", By: by(net), Skip: online, Try: aim(func(w spec.World) bool { return w.Abstract != "" }, func(w spec.World) error {
		return dial(&unix.SockaddrUnix{Name: "@" + w.Abstract})
	})},
	{Rule: spec.Sockets, What: "system bus", By: by(view), Try: connect("/run/dbus/system_bus_socket")},
	{Rule: spec.Sockets, What: "its user's bus and manager", By: by(view), Try: list("/run/user")},
	{Rule: spec.Sockets, What: "systemd's private socket", By: by(view), Try: connect("/run/systemd/private")},
	{Rule: spec.Sockets, What: "udev's control socket", By: by(view), Try: connect("/run/udev/control")},
	{Rule: spec.Sockets, What: "a container engine's socket", By: by(view), Try: func(w spec.World) error {
		if connect("/run/docker.sock")(w) == nil || connect("/run/podman/podman.sock")(w) == nil || connect("/run/containerd/containerd.sock")(w) == nil {
			return nil
		}
		return errNothing
	}},
	{Rule: spec.Sockets, What: "a neighbour's socket", By: by(view, another), Try: aim(func(w spec.World) bool { return w.Socket != "" }, func(w spec.World) error { return connect(w.Socket)(w) })},
	{Rule: spec.Memory, What: "a file in the machine's /dev/shm", By: by(view), Try: aim(func(w spec.World) bool { return w.Shared != "" }, func(w spec.World) error { return read(w.Shared)(w) })},
	{Rule: spec.Memory, What: "System V shared memory of the machine", By: by(ipc), Try: aim(func(w spec.World) bool { return w.Key != 0 }, func(w spec.World) error {
		_, err := unix.SysvShmGet(w.Key, 1, 0)
		return err
	})},
	{Rule: spec.Memory, What: "message queue of the machine", By: by(ipc), Try: aim(func(w spec.World) bool { return w.Queue != "" }, func(w spec.World) error {
		return descriptor(unix.SYS_MQ_OPEN, text(w.Queue), unix.O_RDONLY, 0, 0)(w)
	})},
	{Rule: spec.Memory, What: "the machine's name", By: by(names), Try: aim(func(w spec.World) bool { return w.Host != "" }, func(w spec.World) error {
		if name, err := os.Hostname(); err != nil || name == w.Host {
			return err
		}
		return errors.New("another one")
	})},
}

var rights = []Attempt{
	{Rule: spec.Rights, What: "become root", By: by(caps), Skip: onlyNobody, Try: user(0)},
	{Rule: spec.Rights, What: "become another user", By: by(caps), Skip: onlyNobody, Try: func(w spec.World) error { return user(os.Getuid() + 1)(w) }},
	{Rule: spec.Rights, What: "take groups", By: by(caps), Skip: onlyNobody, Try: onThread(unix.SYS_SETGROUPS, func() [3]uintptr { return [3]uintptr{1, memory(4), 0} }), want: []error{unix.EPERM}},
	{Rule: spec.Rights, What: "take a capability", By: by(caps), Try: onThread(unix.SYS_CAPSET, func() [3]uintptr {
		header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		data := &[2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
		keptToo = append(keptToo, header, data)
		return [3]uintptr{uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(data)), 0}
	}), want: []error{unix.EPERM}},
	{Rule: spec.Rights, What: "gain rights by a program of root's (no_new_privs)", By: by(caps), Try: func(spec.World) error {
		if v, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil || v != 1 {
			return err
		}
		return errors.New("no_new_privs")
	}},
	{Rule: spec.Rights, What: "run a setuid program of /usr", By: by(nosuid), Try: withoutSetID("/usr")},
	{Rule: spec.Rights, What: "run a setuid program of its own directory", By: by(nosuid), Try: withoutSetID(".")},
	{Rule: spec.Rights, What: "make a setuid file: chmod", By: by(filter), Try: made(func(p string) error { return unix.Chmod(p, 0o4755) }), want: []error{unix.EPERM}},
	{Rule: spec.Rights, What: "make a setuid file: fchmodat", By: by(filter), Try: made(func(p string) error { return unix.Fchmodat(unix.AT_FDCWD, p, 0o2755, 0) }), want: []error{unix.EPERM}},
	{Rule: spec.Rights, What: "make a setuid file: open", By: by(filter), Try: func(spec.World) error {
		path := scratch()
		defer os.Remove(path)
		fd, err := unix.Open(path, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o4755)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}, want: []error{unix.EPERM}},
	{Rule: spec.Rights, What: "make a setuid file: openat2", By: by(filter), Try: func(spec.World) error {
		path := scratch()
		defer os.Remove(path)
		fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY | unix.O_CLOEXEC, Mode: 0o4755})
		if err == nil {
			unix.Close(fd)
		}
		return err
	}, want: []error{unix.ENOSYS}},
	{Rule: spec.Devices, What: "make a device: disk", By: by(caps), Try: func(spec.World) error { return unix.Mknod(scratch(), unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0))) }, want: []error{unix.EPERM}},
	{Rule: spec.Devices, What: "make a device: memory", By: by(caps), Try: func(spec.World) error { return unix.Mknod(scratch(), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 1))) }, want: []error{unix.EPERM}},
	{Rule: spec.Devices, What: "the machine's disks", By: by(view), Try: func(spec.World) error {
		for _, p := range []string{"/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/mapper"} {
			if _, err := os.Stat(p); err == nil {
				return nil
			}
		}
		return errNothing
	}},
	{Rule: spec.Devices, What: "the kernel's memory and log", By: by(view), Try: func(w spec.World) error {
		for _, p := range []string{"/dev/mem", "/dev/kmsg", "/dev/port", "/dev/kvm", "/dev/fuse", "/dev/net/tun"} {
			if read(p)(w) == nil {
				return nil
			}
		}
		return errNothing
	}},
	{Rule: spec.Devices, What: "type into a terminal (TIOCSTI)", By: by(filter), Try: func(spec.World) error {
		c := byte('x')
		_, _, e := unix.Syscall(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&c)))
		if e != 0 {
			return e
		}
		return nil
	}, want: []error{unix.EPERM}},
}

var kernel = []Attempt{
	{Rule: spec.Spaces, What: "mount", By: by(filter, caps), Try: func(spec.World) error { return unix.Mount("none", "/dev/shm", "tmpfs", 0, "") }, want: []error{unix.EPERM}},
	{Rule: spec.Spaces, What: "mount, by the newer calls", By: by(filter, caps), Try: descriptor(unix.SYS_FSOPEN, text("tmpfs"), 0), want: []error{unix.EPERM}},
	{Rule: spec.Spaces, What: "unmount what closes /proc/sys", By: by(filter, caps), Try: func(spec.World) error { return unix.Unmount("/proc/sys", unix.MNT_DETACH) }, want: []error{unix.EPERM}},
	{Rule: spec.Spaces, What: "make its root writable again", By: by(filter, caps), Try: func(spec.World) error {
		return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "")
	}, want: []error{unix.EPERM}},
	{Rule: spec.Spaces, What: "change its root", By: by(filter, caps), Try: func(spec.World) error { return unix.Chroot("/") }, want: []error{unix.EPERM}},
	{Rule: spec.Spaces, What: "new user namespace (unshare)", By: by(filter), Try: call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER), want: []error{unix.EPERM}},
	{Rule: spec.Spaces, What: "new network namespace (unshare)", By: by(filter, caps), Try: call(unix.SYS_UNSHARE, unix.CLONE_NEWNET), want: []error{unix.EPERM}},
	{Rule: spec.Spaces, What: "new user namespace (clone)", By: by(filter), Try: clone(unix.CLONE_NEWUSER), want: []error{unix.EPERM}},
	{Rule: spec.Spaces, What: "new user namespace (clone3)", By: by(filter), Try: call(unix.SYS_CLONE3, memory(88), 8), want: []error{unix.ENOSYS}},
	{Rule: spec.Spaces, What: "enter a namespace (setns)", By: by(filter, caps), Try: func(spec.World) error {
		fd, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Setns(fd, unix.CLONE_NEWNET)
	}, want: []error{unix.EPERM, unix.ENOENT}},
	{Rule: spec.Groups, What: "leave its control group", By: by(closed, another), Try: set("/sys/fs/cgroup/cgroup.procs"), want: []error{unix.EROFS, unix.EACCES, unix.ENOENT}},
	{Rule: spec.Groups, What: "make a control group", By: by(closed, another), Try: func(spec.World) error { return unix.Mkdir("/sys/fs/cgroup/attempt", 0o755) }, want: []error{unix.EROFS, unix.EACCES, unix.ENOENT}},
	{Rule: spec.Groups, What: "end its control group (cgroup.kill)", By: by(closed, another), Try: set("/sys/fs/cgroup/cgroup.kill"), want: []error{unix.EROFS, unix.EACCES, unix.ENOENT}},
	{Rule: spec.Groups, What: "see other control groups", By: by(view), Try: list("/sys/fs/cgroup/system.slice")},
	{Rule: spec.Calls, What: "keyrings: add_key", By: by(filter), Try: call(unix.SYS_ADD_KEY, text("user"), text("attempt"), text("x"), 1, ^uintptr(3)+1), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "keyrings: keyctl", By: by(filter), Try: call(unix.SYS_KEYCTL, 0, ^uintptr(3)+1, 0), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "keyrings: request_key", By: by(filter), Try: call(unix.SYS_REQUEST_KEY, text("user"), text("attempt"), 0, 0), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "io_uring", By: by(filter), Try: descriptor(unix.SYS_IO_URING_SETUP, 4, memory(256)), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "userfaultfd", By: by(filter), Try: descriptor(unix.SYS_USERFAULTFD, 1), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "bpf", By: by(filter), Try: descriptor(unix.SYS_BPF, 0, memory(128), 128), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "perf_event_open", By: by(filter), Try: descriptor(unix.SYS_PERF_EVENT_OPEN, memory(128), 0, ^uintptr(0), ^uintptr(0), 0), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "load a module", By: by(filter), Try: call(unix.SYS_FINIT_MODULE, ^uintptr(0), text(""), 0), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "load another kernel (kexec)", By: by(filter), Try: call(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "reboot", By: by(filter, caps), Try: call(unix.SYS_REBOOT, 0, 0, 0, 0), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "set the clock", By: by(filter, caps), Try: call(unix.SYS_SETTIMEOFDAY, 0, 0), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "swap", By: by(filter, caps), Try: call(unix.SYS_SWAPON, text("/tmp/attempt"), 0), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "read the kernel's log (syslog)", By: by(filter, caps), Try: call(unix.SYS_SYSLOG, 10, 0, 0), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "set the host name", By: by(filter, caps), Try: func(spec.World) error { return unix.Sethostname([]byte("attempt")) }, want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "account for processes (acct)", By: by(filter, caps), Try: call(unix.SYS_ACCT, 0), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "quotas", By: by(filter), Try: call(unix.SYS_QUOTACTL, 0, 0, 0, 0), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "change its execution domain (personality)", By: by(filter), Try: call(unix.SYS_PERSONALITY, 0x0400000), want: []error{unix.EPERM}},
	{Rule: spec.Calls, What: "a call of the 32-bit ABI, or one that is newer than the filter", By: by(filter), Try: call(0x40000000 + 39), want: []error{unix.ENOSYS}},
	{Rule: spec.Calls, What: "change a setting of the kernel (/proc/sys)", By: by(closed, another), Try: set("/proc/sys/kernel/core_pattern"), want: []error{unix.EROFS, unix.EACCES, unix.ENOENT}},
	{Rule: spec.Calls, What: "the magic key (/proc/sysrq-trigger)", By: by(closed, another), Try: set("/proc/sysrq-trigger"), want: []error{unix.EROFS, unix.EACCES, unix.ENOENT}},
	{Rule: spec.Calls, What: "read the kernel's memory (/proc/kcore)", By: by(caps), Try: read("/proc/kcore")},
	{Rule: spec.Calls, What: "read the kernel's log (/proc/kmsg)", By: by(caps), Try: read("/proc/kmsg")},
	// The last, as it would take the rest of the files away.
	{Rule: spec.Spaces, What: "pivot its root", By: by(filter, caps), Try: func(spec.World) error { return unix.PivotRoot("/tmp", "/tmp") }, want: []error{unix.EPERM}},
}
