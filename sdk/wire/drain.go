package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	// pongWithin is how long clients have to say that all their calls have come. Who does not answer may see a call refused.
	pongWithin = time.Second
	// linger is how long a connection that is not a Unix socket stays half open, for the last frames to arrive.
	linger = 500 * time.Millisecond
)

var errNoPause = errors.New("pause accepting: the listener has no deadline")

// Drain ends the server without losing a call: it stops accepting and closes the listeners, refuses the calls that come from
// then on as not executed, lets the running calls finish and sends their results, and closes the connections. Connections
// still waiting in the backlog are left to who else holds the socket, such as systemd; if nobody does they are reset. When
// ctx ends first, the calls that still run are canceled, their connections closed, and the error wraps that of ctx. Streams
// are running calls; Stream.Draining tells them.
func (s *Server) Drain(ctx context.Context) error {
	s.init()
	s.stopAccepting()
	var all sync.WaitGroup
	for _, c := range s.snapshot() {
		all.Go(c.drain)
	}
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	running := s.running.Load()
	s.Close()
	return fmt.Errorf("drain: %d calls were still running: %w", running, ctx.Err())
}

// Close ends the server at once: running calls are canceled and get no answer.
func (s *Server) Close() {
	s.init()
	s.stopAccepting()
	for _, c := range s.snapshot() {
		c.nc.Close() // first, so that what the calls answer does not go out
		c.cancelAll()
	}
}

// DrainIdle ends the server like Drain if no call has run, and no connection has come, for at least idle. It is false when
// the server goes on, because it was not idle or because a call slipped in: that call is served first. Calls that were on
// their way while it decided are taken, not refused. The listeners need a SetDeadline method.
func (s *Server) DrainIdle(ctx context.Context, idle time.Duration) (bool, error) {
	s.init()
	if err := s.pause(); err != nil {
		return false, err
	}
	started := s.started.Load()
	if since, busy := s.Idle(); busy || time.Since(since) < idle {
		s.resume()
		return false, nil
	}
	limit := time.NewTimer(pongWithin)
	defer limit.Stop()
	conns := s.snapshot()
	pongs := make([]<-chan struct{}, len(conns))
	for i, c := range conns {
		pongs[i] = c.goAway(&goAway{message: "the cell has nothing to do"}, false)
	}
	late := false
	for i, c := range conns {
		if late {
			break
		}
		select {
		case <-pongs[i]:
		case <-c.done:
		case <-limit.C:
			late = true
		case <-ctx.Done():
			late = true
		}
	}
	if s.started.Load() != started {
		s.resume()
		return false, nil
	}
	return true, s.Drain(ctx)
}

// Serving says whether a listener is being served. It takes the server's lock, so it also tells whether the server is stuck.
func (s *Server) Serving() bool {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.listeners) > 0
}

// drain ends one connection.
func (c *serverConn) drain() {
	c.goAway(&goAway{message: "the cell is stopping"}, true)
	c.work.Wait()
	c.w.flush()
	// The end of a Unix socket reaches the client behind all that was written; elsewhere it can overtake the last frames
	// when frames of the client are unread.
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && c.nc.LocalAddr().Network() != "unix" {
		half.CloseWrite()
		select {
		case <-c.done:
		case <-time.After(linger):
		}
	}
	c.nc.Close()
	<-c.done
}

func (s *Server) snapshot() []*serverConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := make([]*serverConn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	return conns
}

// pause returns when nobody accepts and all that was accepted is registered. New connections wait in the backlog.
func (s *Server) pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.listeners {
		if _, ok := l.(interface{ SetDeadline(time.Time) error }); !ok {
			return errNoPause
		}
	}
	s.paused = true
	s.setDeadlines(time.Unix(1, 0))
	for s.accepting > 0 {
		s.changed.Wait()
	}
	return nil
}

func (s *Server) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = false
	s.setDeadlines(time.Time{})
	s.changed.Broadcast()
}

func (s *Server) setDeadlines(t time.Time) {
	for l := range s.listeners {
		if d, ok := l.(interface{ SetDeadline(time.Time) error }); ok {
			d.SetDeadline(t)
		}
	}
}

func (s *Server) stopAccepting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.stopped = true
		close(s.leaving)
	}
	listeners := make([]net.Listener, 0, len(s.listeners))
	for l := range s.listeners {
		listeners = append(listeners, l)
	}
	s.changed.Broadcast()
	for _, l := range listeners {
		l.Close()
	}
	for s.accepting > 0 {
		s.changed.Wait()
	}
}
