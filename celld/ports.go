package celld

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/internal/handoff"
	"github.com/cell-network/cell/membrane/spec"
	"github.com/cell-network/cell/sdk/api"
)

// portWithin is how long an instance may take to connect to its own program.
const portWithin = 5 * time.Second

var errNoPort = errors.New("it does not serve a port")

// served is an instance whose program listens on a port of its own network.
type served struct {
	over  syscall.RawConn // where it is asked
	spare spare
}

// Serves notes that an instance can be asked, over a socket, for what leads to its program's port, until release is called.
func (s *Server) Serves(who Caller, over syscall.RawConn) (release func(), err error) {
	if who.Cell == "" || who.Node != "" {
		return nil, failure(api.ErrDenied, "only cells serve a port")
	}
	o := &served{over: over}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ports == nil {
		s.ports = map[string]*served{}
	}
	s.ports[who.Cell] = o
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ports[who.Cell] == o {
			delete(s.ports, who.Cell)
		}
		for _, f := range o.spare.fds {
			f.Close()
		}
		o.spare.fds = nil
	}, nil
}

// ask asks the instance.
func (o *served) ask(ctx context.Context, question byte) (*os.File, error) {
	var fd int // of its own, as the connection may end meanwhile
	var derr error
	err := o.over.Control(func(c uintptr) { fd, derr = unix.FcntlInt(c, unix.F_DUPFD_CLOEXEC, 3) })
	if err = errors.Join(err, derr); err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	ctx, cancel := context.WithTimeout(ctx, portWithin)
	defer cancel()
	return handoff.Ask(ctx, fd, question)
}

// spare are sockets of an instance's own network that are not connected yet. celld connects one to the program's port, so that nobody has
// to be waited for when somebody wants a connection.
type spare struct {
	fds     []*os.File
	filling bool
}

// spares is how many are kept.
const spares = 8

// connectPort is a TCP connection to the program of an instance that serves a port.
func (s *Server) connectPort(ctx context.Context, instance string, port int) (*os.File, error) {
	f, err := s.takeSpare(ctx, instance, port)
	if err != nil {
		return nil, err
	}
	if err := connectTo(f, port); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (s *Server) takeSpare(ctx context.Context, instance string, port int) (*os.File, error) {
	s.mu.Lock()
	over := s.ports[instance]
	if over == nil {
		s.mu.Unlock()
		return nil, errNoPort
	}
	var f *os.File
	if n := len(over.spare.fds); n > 0 {
		f = over.spare.fds[n-1]
		over.spare.fds = over.spare.fds[:n-1]
	}
	fill := len(over.spare.fds) <= spares/2 && !over.spare.filling
	over.spare.filling = over.spare.filling || fill
	s.mu.Unlock()
	if fill {
		go s.fillSpares(instance, over, port)
	}
	if f != nil {
		return f, nil
	}
	return over.socket(ctx, port)
}

func (s *Server) fillSpares(instance string, over *served, port int) {
	for {
		f, err := over.socket(context.Background(), port)
		s.mu.Lock()
		more := err == nil && s.ports[instance] == over && len(over.spare.fds) < spares
		if more {
			over.spare.fds = append(over.spare.fds, f)
		} else {
			over.spare.filling = false
		}
		s.mu.Unlock()
		if !more {
			if f != nil {
				f.Close()
			}
			return
		}
	}
}

// socket asks for a socket that leads to a port alone. What comes is looked at: a program may give anything in the place of what runs
// beside it.
func (o *served) socket(ctx context.Context, port int) (*os.File, error) {
	f, err := o.ask(ctx, spec.AskSocket)
	if err != nil {
		return nil, err
	}
	protocol, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err == nil && protocol != unix.IPPROTO_TCP {
		err = errors.New("it gave no TCP socket")
	}
	if err == nil {
		err = confine(f, port)
	}
	if err == nil {
		err = unix.SetNonblock(int(f.Fd()), true)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// confine makes a socket of another cell's network useless for anything but the connection to a port. Its holder could disconnect it
// (connect(2), AF_UNSPEC), and connect it to what else listens in that network and trusts who is there. So it receives what comes from
// that port of the network's own address, and no handshake with another one ends; the filter cannot be taken away any more
// (socket(7), SO_LOCK_FILTER).
func confine(f *os.File, port int) error {
	const drop, all = 0, 0xffffffff
	const networkHeader = 0xfff00000 // SKF_NET_OFF; without it offsets are those of the TCP header
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 0}, // the port that it comes from
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: uint32(port)},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: networkHeader + 12}, // the address (RFC 791)
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: 0x7f000001},
		{Code: unix.BPF_RET | unix.BPF_K, K: all},
		{Code: unix.BPF_RET | unix.BPF_K, K: drop},
	}
	fd := int(f.Fd())
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter); err != nil {
		return fmt.Errorf("confine the connection: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1); err != nil {
		return fmt.Errorf("confine the connection: %w", err)
	}
	return nil
}

// connectTo connects a socket that does not block to a port of its network's own address.
func connectTo(f *os.File, port int) error {
	fd := int(f.Fd())
	err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	if err != unix.EINPROGRESS {
		return err
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(portWithin.Milliseconds()))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return unix.ETIMEDOUT
		}
		code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		return err
	}
}

// handedOver is how many connections an instance's program has that nobody passes on.
func (s *Server) handedOver(ctx context.Context, instance string) int {
	s.mu.Lock()
	over := s.ports[instance]
	s.mu.Unlock()
	if over == nil {
		return 0
	}
	f, err := over.ask(ctx, spec.AskCount)
	if err == nil {
		f.Close()
	}
	var said *handoff.Refused
	if !errors.As(err, &said) {
		return 0
	}
	n, _ := strconv.Atoi(said.Why)
	return n
}

// joins counts the connections of a caller to a need: those that it got itself, and those that are copied.
type joins struct{ handed, copied uint64 }

// Joined counts a connection that was made in a program's name.
func (s *Server) Joined(caller, need string, handed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.joined == nil {
		s.joined = map[string]map[string]joins{}
	}
	if s.joined[caller] == nil {
		s.joined[caller] = map[string]joins{}
	}
	n := s.joined[caller][need]
	if handed {
		n.handed++
	} else {
		n.copied++
	}
	s.joined[caller][need] = n
}

// Copied notes that a connection which was counted as one that the program got itself is copied.
func (s *Server) Copied(caller, need string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.joined[caller][need]; ok && n.handed > 0 {
		n.handed--
		n.copied++
		s.joined[caller][need] = n
	}
}

// needsOf are the connections that an instance made since celld runs.
func (s *Server) needsOf(instance string) (all []api.Joined) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, need := range slices.Sorted(maps.Keys(s.joined[instance])) {
		n := s.joined[instance][need]
		all = append(all, api.Joined{Need: need, Handed: n.handed, Copied: n.copied})
	}
	return all
}
