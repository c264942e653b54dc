package sdk

import (
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const firstSocket = 3 // descriptor of the first socket handed over

// takeSockets takes the listening sockets that systemd handed to this process, and removes the variables that announce them,
// so that no child takes them too. There are none when the process was started in another way.
func takeSockets() ([]net.Listener, error) {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		os.Unsetenv(name)
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > 1024 {
		return nil, fmt.Errorf("take sockets: LISTEN_FDS=%q is no number of sockets", count)
	}
	listeners := make([]net.Listener, 0, n)
	for fd := firstSocket; fd < firstSocket+n; fd++ {
		unix.CloseOnExec(fd)
		l, err := listenerOf(fd)
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return nil, fmt.Errorf("take sockets: descriptor %d: %w", fd, err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// listenerOf makes a listener of a descriptor and closes the descriptor; the listener has a copy. Closing the listener does
// not remove the socket's file, which is systemd's.
func listenerOf(fd int) (net.Listener, error) {
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, fmt.Errorf("not a socket: %w", err)
	}
	if listening == 0 {
		return nil, fmt.Errorf("the socket does not listen for connections")
	}
	return net.FileListener(file)
}
