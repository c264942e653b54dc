package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// AppendHandover appends the frame by which a client of a Unix socket hands another connection over, whose descriptor comes along
// with it (SCM_RIGHTS): the server goes on there, as if whoever was introduced so far had connected that way. The frame comes in
// place of HELLO and is the last one of its connection.
func AppendHandover(b []byte) []byte { return appendHeader(b, header{kind: typeHandover}) }

// rights are the descriptors that came along with a client's first frames.
type rights struct {
	fds []int
	oob [64]byte
}

// takeRights makes the reader keep descriptors; on other than Unix sockets there are none.
func (c *serverConn) takeRights() {
	if _, unix := c.nc.(*net.UnixConn); unix && !c.given {
		c.r.rights = &rights{}
	}
}

// receive is read(2) that keeps descriptors.
func (r *rights) receive(fd int, into []byte) (int, error) {
	n, oobn, _, _, err := unix.Recvmsg(fd, into, r.oob[:], unix.MSG_CMSG_CLOEXEC)
	if err == nil {
		_, _ = syscall.Read(fd, nil) // tells the race detector that what was before the other side's write was before this
	}
	if err != nil || oobn == 0 {
		return n, err
	}
	messages, err := syscall.ParseSocketControlMessage(r.oob[:oobn])
	if err != nil {
		return n, nil // what was cut off is closed by the kernel
	}
	for _, m := range messages {
		if some, err := syscall.ParseUnixRights(&m); err == nil {
			r.fds = append(r.fds, some...)
		}
	}
	if len(r.fds) > 1 { // nobody is asked for more than one
		r.close()
	}
	return n, nil
}

// close closes what nobody took.
func (r *rights) close() {
	if r == nil {
		return
	}
	for _, fd := range r.fds {
		_ = syscall.Close(fd)
	}
	r.fds = nil
}

// handedOver goes on with the connection that came along, and ends this one.
func (c *serverConn) handedOver() error {
	if c.r.rights == nil || len(c.r.rights.fds) != 1 {
		return errors.New("read frame: HANDOVER without one descriptor")
	}
	f := os.NewFile(uintptr(c.r.rights.fds[0]), "connection")
	c.r.rights.fds = nil
	defer f.Close()
	nc, err := net.FileConn(f)
	if err != nil {
		return err
	}
	next := newServerConn(c.s, nc)
	next.peer, next.given = c.peer, true
	c.s.register(next)
	return io.EOF
}
