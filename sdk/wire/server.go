package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Request is one call as it reached the server.
type Request struct {
	Method  uint32
	Payload []byte // belongs to the handler
	Trace   [16]byte
	Span    Span   // of the caller, within Trace
	Schema  uint64 // prefix of the hash of the schema the caller was built with; 0 when not told
	Attempt uint32

	Priority uint8   // as the caller set it; 0 is normal
	OneWay   bool    // nobody waits for the answer
	Stream   *Stream // nil for a call without items

	Peer any // who is at the other end, as Server.Accepted and Server.Introduce say
}

// Handler answers one call. ctx ends when the caller cancels, when its timeout has passed and when its connection ends. The
// result belongs to the server afterwards. An error that is an *Error, not one that wraps it, is answered as it is; any
// other becomes CodeRemote, or CodeCanceled or CodeDeadlineExceeded when ctx has ended and it is the error of ctx. When the
// call has items its Stream ends with the answer. The result of a one-way call is dropped, its error goes to Server.Log.
type Handler func(ctx context.Context, r Request) ([]byte, error)

// Defaults for the limits of a Server.
const (
	DefaultMaxConns     = 1024
	DefaultMaxCalls     = 4096
	DefaultMaxConnCalls = 1024
	DefaultMaxHeld      = 256 << 20
	DefaultStall        = 10 * time.Second
)

// Server answers calls. Its fields are set before Serve and not changed afterwards.
type Server struct {
	Handler Handler
	Genome  []byte // answer of the built-in method 0
	Hello   Hello  // Name, Version, Hash and Accepts are told to clients

	MaxConns     int           // connections; who comes above that is turned away
	MaxCalls     int           // calls running at once; above that CodeOverloaded is answered
	MaxConnCalls int           // the same for one connection
	MaxHeld      int64         // bytes of requests being read or answered and of items not read; above that CodeOverloaded is answered
	Stall        time.Duration // a connection ends when its client reads nothing for so long, or takes longer to greet or to send a frame; a long frame has a second more for each 64 KiB

	// Accepted says who is at the other end of a connection that was accepted, and Introduce what an introduction says of it,
	// after what was known before. Their answers go with the calls that follow; an error ends the connection as denied. Without
	// them nothing is known, and introductions are skipped. They are called in turn for one connection, and must not wait.
	Accepted  func(net.Conn) (any, error)
	Introduce func(peer any, introduction []byte) (any, error)

	// Recycle says that a result is only ever returned once, and may be used as Recycle does when it was sent.
	Recycle bool

	// Races answers the built-in method MethodRaces, on Unix sockets only; nil answers that there is no such method.
	Races func(Request) ([]byte, error)

	// Log is told of panics, of errors of one-way calls and of connections that end for a fault of the client; the arguments
	// are those of slog.Error. May be nil.
	Log func(message string, args ...any)

	once    sync.Once
	start   time.Time
	running atomic.Int64  // calls
	started atomic.Uint64 // calls ever
	active  atomic.Int64  // when the last call ended or the last connection came: nanoseconds after start
	held    atomic.Int64
	pace    pace
	leaving chan struct{} // closed when the server stops

	mu        sync.Mutex
	changed   sync.Cond
	listeners map[net.Listener]struct{}
	conns     map[*serverConn]struct{}
	accepting int // goroutines within Accept, or about to register what it gave them
	paused    bool
	stopped   bool
}

func (s *Server) init() {
	s.once.Do(func() {
		s.changed.L = &s.mu
		s.start = time.Now()
		s.leaving = make(chan struct{})
		s.pace.init()
		s.listeners = map[net.Listener]struct{}{}
		s.conns = map[*serverConn]struct{}{}
		orDefault(&s.MaxConns, DefaultMaxConns)
		orDefault(&s.MaxCalls, DefaultMaxCalls)
		orDefault(&s.MaxConnCalls, DefaultMaxConnCalls)
		orDefault(&s.MaxHeld, DefaultMaxHeld)
		orDefault(&s.Stall, DefaultStall)
		s.Hello.Protocol = Version
		s.Hello.MaxFrame = MaxFrame
		s.Hello.MaxCalls = uint64(s.MaxConnCalls)
	})
}

func orDefault[T int | int64 | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}

func (s *Server) log(message string, args ...any) {
	if s.Log != nil {
		s.Log(message, args...)
	}
}

// Serve accepts connections from l until the server is drained or closed, which closes l and makes Serve return nil, or
// until accepting fails for good. It may be called for several listeners at once.
func (s *Server) Serve(l net.Listener) error {
	s.init()
	s.mu.Lock()
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		l.Close()
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	for delay := time.Duration(0); ; {
		if !s.enter() {
			return nil
		}
		nc, err := l.Accept()
		if err == nil {
			s.register(newServerConn(s, nc))
		}
		stopped := s.leave()
		switch {
		case err == nil:
			delay = 0
		case stopped:
			return nil
		case isTimeout(err): // a pause
		case isPassing(err):
			// Descriptors or memory ran out: others may end soon, and callers wait in the backlog meanwhile.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.log("accept connection", "error", err)
			time.Sleep(delay)
		default:
			return fmt.Errorf("accept connection: %w", err)
		}
	}
}

// enter waits out a pause; it is false when the server has stopped.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.paused && !s.stopped {
		s.changed.Wait()
	}
	if s.stopped {
		return false
	}
	s.accepting++
	return true
}

func (s *Server) leave() (stopped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepting--
	s.changed.Broadcast()
	return s.stopped
}

// register begins to serve a connection, or turns it away.
func (s *Server) register(c *serverConn) *serverConn {
	s.mu.Lock()
	full := len(s.conns) >= s.MaxConns
	if full || s.stopped {
		s.mu.Unlock()
		c.cancel()
		turnAway(c.nc, full)
		return nil
	}
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	s.touch(time.Now())
	go c.serve()
	return c
}

// turnAway tells a client that none of its calls will run. It writes little to a fresh socket and so does not wait.
func turnAway(nc net.Conn, full bool) {
	g := goAway{code: CodeOverloaded, message: "the cell is stopping"}
	if full {
		g.message = "too many connections"
	}
	payload := appendGoAway(nil, &g)
	b := appendHeader(nil, header{length: uint32(len(payload)), kind: typeGoAway})
	nc.SetWriteDeadline(time.Now().Add(time.Second))
	nc.Write(append(b, payload...))
	nc.Close()
}

func (s *Server) touch(now time.Time) { s.active.Store(int64(now.Sub(s.start))) }

// Idle says whether calls are running and, when not, since when none is. A connection that has just come counts like a call
// that has just ended.
func (s *Server) Idle() (since time.Time, busy bool) {
	s.init()
	return s.start.Add(time.Duration(s.active.Load())), s.running.Load() > 0
}

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded)
}

func isPassing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
