package broker

import (
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/celld"
	"github.com/cell-network/cell/sdk/broker"
)

// measure takes the table in which an instance counts its calls, and keeps it until the connection ends. One for each instance
// is kept, so such connections do not count with those of who asks for something.
func (s *Server) measure(c *net.UnixConn, who celld.Caller, r broker.Request, table *os.File) {
	defer closeFile(table)
	refuse := func(text string) {
		a := broker.Answer{Code: broker.Invalid, Message: text, Sequence: r.Sequence}
		_, _ = c.Write(a.Append(nil))
	}
	if who.Cell == "" || table == nil {
		refuse("calls are counted in the table of a cell, whose descriptor comes along")
		return
	}
	release, err := s.Cells.Counts(who.Cell, int(table.Fd()), func() { c.Close() })
	if err != nil {
		refuse(err.Error())
		return
	}
	defer release()
	s.stays(c, who)
}

// stays waits until a connection ends of which each instance has one.
func (s *Server) stays(c *net.UnixConn, who celld.Caller) {
	s.leave(who.UID)
	defer func() { // serve leaves again
		s.mu.Lock()
		s.all++
		s.conns[who.UID]++
		s.mu.Unlock()
	}()
	_ = c.SetDeadline(time.Time{})
	_, _ = c.Read(make([]byte, 1)) // until the instance has ended
}

// serves keeps the connection on which an instance is asked for connections to its program's port.
func (s *Server) serves(c *net.UnixConn, who celld.Caller, r broker.Request) {
	a := broker.Answer{Sequence: r.Sequence}
	over, err := c.SyscallConn()
	if err == nil {
		var release func()
		if release, err = s.Cells.Serves(who, over); err == nil {
			defer release()
		}
	}
	if err != nil {
		a = failed(err)
		a.Sequence = r.Sequence
	}
	if _, werr := c.Write(a.Append(nil)); err == nil && werr == nil {
		s.stays(c, who)
	}
}

// received is the descriptor that came along, nil when none did. The kernel dropped others: there was no room for them.
func received(oob []byte) *os.File {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	var file *os.File
	for _, m := range messages {
		fds, _ := unix.ParseUnixRights(&m)
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			closeFile(file)
			file = os.NewFile(uintptr(fd), "received")
		}
	}
	return file
}

func closeFile(f *os.File) {
	if f != nil {
		f.Close()
	}
}
