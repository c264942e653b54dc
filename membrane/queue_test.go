package membrane_test

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// messageQueue makes a POSIX message queue; name ends with a zero.
func messageQueue(name []byte) error {
	fd, _, e := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(&name[0])), unix.O_CREAT|unix.O_RDWR, 0o644, 0, 0, 0)
	if e != 0 {
		return e
	}
	return unix.Close(int(fd))
}

func removeQueue(name []byte) {
	_, _, _ = unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(&name[0])), 0, 0)
}
