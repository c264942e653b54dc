// Package broker answers, on a socket that every cell has in its membrane, who wants to be connected to a cell. It finds out who asks
// from what the kernel says of the other side, never from what that says of itself.
package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/celld"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/broker"
)

const (
	maxConns  = 1024
	maxPerUID = 256
	idle      = time.Minute            // a connection without a request ends
	within    = time.Minute            // a request has to be answered
	patience  = 100 * time.Millisecond // before it is looked whether who asked is still there
)

// Dir is the directory below that of the cells' sockets that holds the broker's; membranes have the directory, so that a celld
// that starts anew can make the socket anew.
const Dir = "broker"

// Listen makes the socket in dir, over one that an earlier celld left behind.
func Listen(dir string, everybody bool) (*net.UnixListener, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "celld.sock")
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: next, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("listen for cells: %w", err)
	}
	l.SetUnlinkOnClose(false) // the next celld's socket may be there by then
	mode := os.FileMode(0o600)
	if everybody { // who asks is looked at for each
		mode = 0o666
	}
	err = os.Chmod(next, mode)
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Server answers requests for one celld.
type Server struct {
	Cells *celld.Server

	root string // control group of the manager whose cells these are

	mu    sync.Mutex
	conns map[int]int // by uid
	all   int
}

// Serve answers until ctx ends.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	own, err := groupOf(os.Getpid())
	if err != nil {
		return err
	}
	s.root, s.conns = managerRoot(own), map[int]int{}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE):
			time.Sleep(50 * time.Millisecond)
			continue
		case err != nil:
			return fmt.Errorf("accept from cells: %w", err)
		}
		who, err := s.identify(c)
		if err != nil || !s.enter(who.UID) {
			if err != nil {
				s.Cells.Log.Debug("who asks cannot be told", "error", err) // as often as somebody likes
			}
			c.Close()
			continue
		}
		go func() {
			defer s.leave(who.UID)
			defer c.Close()
			s.serve(ctx, c, who)
		}()
	}
}

func (s *Server) enter(uid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxConns || s.conns[uid] >= maxPerUID {
		return false
	}
	s.all++
	s.conns[uid]++
	return true
}

func (s *Server) leave(uid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.conns[uid]--; s.conns[uid] == 0 {
		delete(s.conns, uid)
	}
}

// serve answers the requests of one connection, one after the other.
func (s *Server) serve(ctx context.Context, c *net.UnixConn, who celld.Caller) {
	data, oob := make([]byte, broker.MaxPacket+1), make([]byte, unix.CmsgSpace(4))
	for {
		_ = c.SetDeadline(time.Now().Add(idle))
		n, oobn, _, _, err := c.ReadMsgUnix(data, oob)
		descriptor := received(oob[:max(oobn, 0)])
		if err != nil || n == 0 {
			closeFile(descriptor)
			return
		}
		r, err := broker.ParseRequest(data[:n])
		if err == nil && r.Op == broker.OpMeasure {
			s.measure(c, who, r, descriptor)
			return
		}
		if err == nil && r.Op == broker.OpServe {
			closeFile(descriptor)
			s.serves(c, who, r)
			return
		}
		closeFile(descriptor) // no other request has one
		if err != nil {
			bad := broker.Answer{Code: broker.Invalid, Message: err.Error()}
			_, _ = c.Write(bad.Append(nil))
			return
		}
		_ = c.SetDeadline(time.Time{})
		var a broker.Answer
		var f *os.File
		if r.Op == broker.OpWatch {
			if a = s.events(ctx, c, who, r); a.Code == broker.OK {
				return
			}
		} else {
			a, f = s.answer(ctx, c, who, r)
		}
		a.Sequence = r.Sequence
		_ = c.SetWriteDeadline(time.Now().Add(idle))
		var rights []byte
		if f != nil {
			rights = unix.UnixRights(int(f.Fd()))
		}
		_, _, err = c.WriteMsgUnix(a.Append(nil), rights, nil)
		if f != nil {
			f.Close()
		}
		if err != nil {
			return
		}
	}
}

// answer does what is asked for as long as the caller waits for it.
func (s *Server) answer(ctx context.Context, c *net.UnixConn, who celld.Caller, r broker.Request) (broker.Answer, *os.File) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	late := time.AfterFunc(patience, func() { watch(c, cancel, done) }) // most are answered before a goroutine would run
	defer late.Stop()
	switch r.Op {
	case broker.OpConnect:
		return s.connect(ctx, who, r)
	case broker.OpRenew:
		return s.renew(ctx, who, r), nil
	case broker.OpOwn:
		f, err := s.Cells.Own(ctx, who)
		if err != nil {
			return failed(err), nil
		}
		return broker.Answer{}, f
	case broker.OpHealth:
		if err := s.Cells.Report(ctx, who, r.Number == 1, r.Target); err != nil {
			return failed(err), nil
		}
		return broker.Answer{}, nil
	case broker.OpCopied:
		s.Cells.Copied(who.Cell, r.Target)
		return broker.Answer{}, nil
	case broker.OpSpawn, broker.OpStop, broker.OpReplicate:
		return s.manage(ctx, who, r), nil
	}
	return broker.Answer{Code: broker.Invalid, Message: fmt.Sprintf("operation %d is not known to this celld", r.Op)}, nil
}

func (s *Server) connect(ctx context.Context, who celld.Caller, r broker.Request) (broker.Answer, *os.File) {
	// Who copies had better do so alone: behind a port's Unix socket stands another one who copies.
	wish := celld.Wish{Target: r.Target, Hash: r.Hash, Avoid: r.Avoid, TCP: r.Number == broker.WantsTCP || r.Number == broker.Copies}
	to, err := s.Cells.Call(ctx, who, wish)
	if err != nil {
		return failed(err), nil
	}
	if who.Cell != "" && r.Number > 0 {
		s.Cells.Joined(who.Cell, r.Target, r.Number != broker.Copies)
	}
	a := broker.Answer{Instance: to.Instance, Replicas: uint64(to.Replicas), Takes: uint64(to.Takes), Confined: to.Confined}
	if to.Nonce != nil {
		a.Nonce, a.Expires = to.Nonce, to.Expires.Unix()
	}
	return a, to.File
}

// renew makes the introduction of a caller's connection anew.
func (s *Server) renew(ctx context.Context, who celld.Caller, r broker.Request) broker.Answer {
	data, expires, err := s.Cells.Renew(ctx, who, r.Target, r.Hash, r.Instance, r.Nonce)
	if err != nil {
		return failed(err)
	}
	return broker.Answer{Instance: r.Instance, Nonce: r.Nonce, Expires: expires.Unix(), Introduction: data}
}

// managed is the cell that the caller may manage by that name.
func (s *Server) managed(who celld.Caller, target string) (string, error) {
	if who.Cell != "" {
		return s.Cells.Below(who.Cell, target)
	}
	if s.Cells.System && who.UID != 0 {
		// Whether a user may run cells is polkit's to say, which is asked on D-Bus.
		return "", &celld.Error{Name: api.ErrDenied, Text: "only root and cells themselves manage cells here: use the command cell"}
	}
	return target, s.Cells.MayManage(who.UID, target)
}

// manage starts, stops or replicates.
func (s *Server) manage(ctx context.Context, who celld.Caller, r broker.Request) broker.Answer {
	name, err := s.managed(who, r.Target)
	if err != nil {
		return failed(err)
	}
	var steps []api.Step
	switch r.Op {
	case broker.OpSpawn:
		steps, err = s.Cells.Start(ctx, name, nil)
	case broker.OpStop:
		err = s.Cells.Stop(ctx, name, false)
	case broker.OpReplicate:
		steps, err = s.Cells.Replicate(ctx, name, int(min(r.Number, 1<<30)))
	}
	if err != nil {
		return failed(err)
	}
	for _, st := range steps {
		if st.Error != "" {
			return broker.Answer{Code: broker.NotReady, Message: st.Cell + ": " + st.Error}
		}
	}
	return broker.Answer{}
}

// events tells a caller what happens until it hangs up.
func (s *Server) events(ctx context.Context, c *net.UnixConn, who celld.Caller, r broker.Request) broker.Answer {
	name, err := unit.Base(who.Cell), error(nil)
	if r.Target != "" {
		name, err = s.managed(who, r.Target)
	} else if who.Cell == "" && who.UID != 0 && who.UID != os.Geteuid() {
		err = &celld.Error{Name: api.ErrDenied, Text: "only root watches the cells of all users: name one"}
	}
	if err != nil {
		return failed(err)
	}
	events, stop := s.Cells.Events(name)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go watch(c, cancel, ctx.Done())
	begun := broker.Answer{Sequence: r.Sequence}
	if _, err := c.Write(begun.Append(nil)); err != nil {
		return broker.Answer{}
	}
	for {
		select {
		case <-ctx.Done():
			return broker.Answer{}
		case e, ok := <-events:
			if !ok {
				return broker.Answer{Code: broker.Failed, Message: "the watcher is too slow for what happens"}
			}
			if r.Target == "" && who.Cell != "" && unit.Base(e.Instance) == name {
				continue // the caller is not below itself
			}
			a := broker.Answer{Sequence: r.Sequence, Instance: e.Instance, Event: e.What, Message: e.Cause, Time: e.Time.UnixNano()}
			_ = c.SetWriteDeadline(time.Now().Add(idle))
			if _, err := c.Write(a.Append(nil)); err != nil {
				return broker.Answer{}
			}
		}
	}
}

// watch cancels when the caller hangs up before its answer.
func watch(c *net.UnixConn, cancel context.CancelFunc, done <-chan struct{}) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	for {
		select {
		case <-done:
			return
		case <-time.After(patience):
		}
		gone := false
		_ = raw.Control(func(fd uintptr) {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
			if n, err := unix.Poll(p, 0); err == nil && n > 0 {
				gone = p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP) != 0
			}
		})
		if gone {
			cancel()
			return
		}
	}
}

// codes are those of celld's errors.
var codes = map[string]broker.Code{
	api.ErrNotFound: broker.NotFound, api.ErrDenied: broker.Denied, api.ErrNotReady: broker.NotReady, api.ErrInvalid: broker.Invalid,
}

func failed(err error) broker.Answer {
	a := broker.Answer{Code: broker.Failed, Message: err.Error()}
	if e, ok := errors.AsType[*celld.Error](err); ok && codes[e.Name] != broker.OK {
		a.Code = codes[e.Name]
	}
	return a
}
