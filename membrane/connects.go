package membrane

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags of seccomp(2): who waits for the other side is not disturbed by signals but the deadly one, as Go sends itself many.
const (
	newListener  = 1 << 3
	waitKillable = 1 << 5
)

// leaveConnects has each connect(2) of what this thread starts from now on wait for who holds the returned descriptor
// (seccomp_unotify(2)). It protects nothing: there is nothing to reach but what is meant to be. It returns -1 where the kernel cannot do
// that (before 5.19), or where something around the manager does it already; bytes are copied then.
func leaveConnects() int {
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number; calls of another processor's kind are not allowed anyway
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_CONNECT},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	f := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	fd, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, newListener|waitKillable, uintptr(unsafe.Pointer(&f)))
	if e != 0 {
		return -1
	}
	return int(fd)
}
