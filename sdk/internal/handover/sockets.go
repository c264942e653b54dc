package handover

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const firstSocket = 3 // descriptor of the first socket handed over

// This is what systemd handed to this process. It is taken once, whoever asks first.
var This = sync.OnceValue(func() *Process {
	h := &Process{notify: takeNotifier(), max: storeMax(os.Getenv("FDSTORE")), found: map[string]*os.File{}}
	os.Unsetenv("FDSTORE")
	h.listeners, h.found, h.err = takeDescriptors()
	h.number()
	return h
})

// takeDescriptors takes the descriptors that systemd handed to this process: listening sockets, and by their names what an
// earlier process kept. It removes the variables that announce them, so that no child takes them too. There are none when the
// process was started in another way.
func takeDescriptors() (listeners []net.Listener, kept map[string]*os.File, err error) {
	pid, count, list := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		os.Unsetenv(name)
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > 1024 {
		return nil, nil, fmt.Errorf("take sockets: LISTEN_FDS=%q is no number of sockets", count)
	}
	// Sockets come first. Their names cannot be told apart, as those of replicas have colons of their own: cell@web:2.socket.
	names := strings.Split(list, ":")
	sockets, first := n, len(names)
	for sockets > 0 && first > 0 && isEntry(names[first-1]) {
		sockets, first = sockets-1, first-1
	}
	kept = map[string]*os.File{}
	for i := range n {
		fd := firstSocket + i
		unix.CloseOnExec(fd)
		if i >= sockets {
			name := names[first+i-sockets]
			kept[name] = os.NewFile(uintptr(fd), name)
			continue
		}
		l, err := listenerOf(fd)
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return nil, nil, fmt.Errorf("take sockets: descriptor %d: %w", fd, err)
		}
		listeners = append(listeners, l)
	}
	return listeners, kept, nil
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
