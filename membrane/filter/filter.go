// Package filter holds the system calls that a cell may make, as programs for seccomp(2) that were compiled once. Package mkfilter has
// the rules and writes the programs.
package filter

//go:generate go run ./mkfilter

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

var (
	//go:embed amd64.bpf
	amd64 []byte
	//go:embed arm64.bpf
	arm64 []byte
)

// Load puts the calling thread, and what it starts, under the filter. The thread must have given up new privileges (PR_SET_NO_NEW_PRIVS).
func Load() error {
	raw := map[string][]byte{"amd64": amd64, "arm64": arm64}[runtime.GOARCH]
	if raw == nil {
		return fmt.Errorf("filter system calls: not known for %s", runtime.GOARCH)
	}
	program := make([]unix.SockFilter, len(raw)/8)
	for i := range program {
		b := raw[i*8:]
		program[i] = unix.SockFilter{Code: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:])}
	}
	f := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&f))); e != 0 {
		return fmt.Errorf("filter system calls: %w", e)
	}
	return nil
}
