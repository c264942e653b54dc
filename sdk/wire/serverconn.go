package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// leastFrame is the smallest limit for frames that a client may name: an error must fit.
const leastFrame = 4 << 10

// serverConn is one connection of a server. Where both are held, w.mu is taken before mu.
type serverConn struct {
	s      *Server
	nc     net.Conn
	r      *reader
	w      *writer
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when serve has returned
	most   int           // longest frame the client takes; set before the first call

	// Of the goroutine whose turn it is to read.
	turn  turn
	seen  uint64        // id of the newest CALL, refused or not
	ahead ahead         // the last SPAN
	muted bool          // a refused one-way call was logged
	peer  any           // who is at the other end, as far as that is known
	given bool          // somebody who was introduced handed this connection over: peer is who that was
	held  bool          // answers wait for others to go out with
	spent time.Duration // on methods, since others had their turn

	// Of the pacer.
	paced    atomic.Bool
	lastSeen uint64
	quiet    int // ticks without a call

	mu    sync.Mutex
	calls map[uint64]running
	last  uint64         // id of the newest call that came before away
	away  bool           // calls are refused from now on
	work  sync.WaitGroup // calls; none is added once away
	pong  chan struct{}  // closed when the client answered probe; nil before
}

// running is a call whose answer has not been queued.
type running struct {
	ctx    *callContext
	stream *Stream // nil for a call without items
}

func newServerConn(s *Server, nc net.Conn) *serverConn {
	c := &serverConn{
		s: s, nc: nc, r: newReader(nc), done: make(chan struct{}), most: MaxFrame,
		calls: map[uint64]running{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.w = newWriter(nc, s.Stall, func(err error) {
		if !hungUp(err) {
			s.log("connection ended", "error", err)
		}
		c.nc.Close() // ends the reader, which does the rest
	})
	return c
}

// errTurnTaken ends a goroutine that read while another goes on to do so.
var errTurnTaken = errors.New("another goroutine reads")

// serve greets and reads frames until the connection ends. It never waits for the client to read, and not long for a call.
func (c *serverConn) serve() {
	err := c.begin()
	if err == nil {
		err = c.read()
	}
	c.ended(err)
}

// readOn is serve for a goroutine that took the turn.
func (c *serverConn) readOn() { c.ended(c.read()) }

func (c *serverConn) ended(err error) {
	if err == errTurnTaken {
		return
	}
	c.r.rights.close()
	c.cancelAll()
	if !hungUp(err) {
		c.s.log("connection ended", "error", err)
		g := &goAway{code: CodeInvalidRequest, message: err.Error()}
		if errors.As(err, new(*deniedError)) {
			g.code = CodeDenied
		}
		c.goAway(g, true)
		c.w.flush()
	}
	c.w.stop(net.ErrClosed)
	c.nc.Close()
	c.s.mu.Lock()
	delete(c.s.conns, c)
	c.s.mu.Unlock()
	close(c.done)
}

// cancelAll ends the contexts of all calls.
func (c *serverConn) cancelAll() {
	c.cancel()
	c.mu.Lock()
	all := make([]*callContext, 0, len(c.calls))
	for _, call := range c.calls {
		all = append(all, call.ctx)
	}
	c.mu.Unlock()
	for _, ctx := range all {
		ctx.end()
	}
}

// begin reads introductions and the greeting.
func (c *serverConn) begin() error {
	c.r.patience = c.s.Stall
	if c.s.Accepted != nil && !c.given {
		peer, err := c.s.Accepted(c.nc)
		if err != nil {
			return &deniedError{err}
		}
		c.peer = peer
	}
	c.takeRights()
	var h header
	var err error
	for {
		c.r.expect(headerSize) // who connects has something to say
		if h, err = c.r.next(); err != nil {
			return err
		}
		if h.kind == typeHandover {
			return c.handedOver()
		}
		if h.kind != typeIntroduction {
			break
		}
		if err := c.introduce(h); err != nil {
			return err
		}
	}
	if h.kind != typeHello {
		return fmt.Errorf("read frame: %v before HELLO", h.kind)
	}
	c.r.rights.close()
	c.r.rights = nil
	return c.greet(h)
}

func (c *serverConn) read() error {
	for {
		if c.held && !c.r.whole() {
			c.held = false
			c.w.push()
		}
		h, err := c.r.next()
		if err != nil {
			return err
		}
		switch h.kind {
		case typeCall:
			err = c.call(h)
		case typeCancel:
			err = c.r.skip(h)
			c.mu.Lock()
			call := c.calls[h.id]
			c.mu.Unlock()
			if call.ctx != nil {
				call.ctx.end()
			}
		case typeData:
			err = c.data(h)
		case typeEnd, typeCredit:
			err = c.flow(h)
		case typePing, typePong:
			err = c.ping(h)
		case typeIntroduction:
			err = c.introduce(h)
		case typeSpan:
			err = c.span(h)
		default:
			err = fmt.Errorf("read frame: %v from a client", h.kind)
		}
		if err != nil {
			return err
		}
	}
}

// deniedError ends a connection whose client may not be served.
type deniedError struct{ err error }

func (e *deniedError) Error() string { return e.err.Error() }
func (e *deniedError) Unwrap() error { return e.err }

func (c *serverConn) introduce(h header) error {
	b, err := c.r.payload(h)
	if err != nil || c.s.Introduce == nil {
		return err
	}
	peer, err := c.s.Introduce(c.peer, b)
	if err != nil {
		return &deniedError{err}
	}
	c.peer = peer
	return nil
}

func (c *serverConn) greet(h header) error {
	b, err := c.r.payload(h)
	if err != nil {
		return err
	}
	hello, err := parseHello(b)
	if err != nil {
		return err
	}
	if hello.MaxFrame != 0 {
		if hello.MaxFrame < leastFrame {
			return fmt.Errorf("read greeting: frames of %d bytes, at least %d are needed", hello.MaxFrame, leastFrame)
		}
		c.most = int(min(hello.MaxFrame, MaxFrame))
	}
	ack := c.s.Hello
	ack.Protocol = min(hello.Protocol, Version)
	return c.send(header{kind: typeHelloAck}, appendHello(nil, &ack))
}

func (c *serverConn) ping(h header) error {
	b, err := c.r.payload(h)
	if err != nil {
		return err
	}
	if h.kind == typePing {
		return c.send(header{kind: typePong}, b)
	}
	c.mu.Lock()
	if string(b) == probe && c.pong != nil {
		close(c.pong)
		c.pong = nil
	}
	c.mu.Unlock()
	return nil
}

// send queues a frame from the reader's goroutine or another that must not wait.
func (c *serverConn) send(h header, payload []byte) error {
	if err := c.w.lockNow(headerSize + len(payload)); err != nil {
		return err
	}
	c.w.add(h, nil, payload, true)
	c.w.unlock(true)
	return nil
}

// probe is the payload of the PING behind a GOAWAY: its PONG follows every call that was on its way.
const probe = "going away"

// goAway sends a GOAWAY. A final one refuses the calls that come from now on; one that is not takes those that were on their
// way and returns a channel that is closed when all of them have come.
func (c *serverConn) goAway(g *goAway, final bool) <-chan struct{} {
	err := c.w.lockNow(2*headerSize + maxGoAway)
	pong := make(chan struct{})
	c.mu.Lock()
	if final {
		c.away, g.last = true, c.last
	} else {
		c.pong, g.last = pong, allCalls
	}
	c.mu.Unlock()
	if err != nil {
		return pong
	}
	c.w.add(header{kind: typeGoAway}, nil, appendGoAway(nil, g), true)
	if !final {
		c.w.add(header{kind: typePing}, nil, []byte(probe), true)
	}
	c.w.unlock(true)
	return pong
}
