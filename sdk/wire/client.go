package wire

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// drainRead is how long a client that cannot write any more goes on reading what the server had to say.
const drainRead = time.Second

// Conn is the calling side of a connection. Its methods may be used by many goroutines at once.
type Conn struct {
	nc   net.Conn
	r    *reader
	w    *writer
	done chan struct{} // closed with err set

	// Where both are held, w.mu is taken before mu.
	mu      sync.Mutex
	last    uint64 // id of the newest call
	calls   map[uint64]*pending
	away    *goAway
	peer    *Hello
	greeted chan struct{} // closed with peer set
	pings   map[string]chan struct{}
	pinged  uint64
	cannot  error // why writing failed
	err     error
}

// pending is a call without an answer. It is in Conn.calls until somebody takes it out, who then signals done.
type pending struct {
	done   chan struct{}
	end    uint64 // position in the stream where its frame ends
	result []byte
	err    error
}

var pendingPool = sync.Pool{New: func() any { return &pending{done: make(chan struct{}, 1)} }}

// NewConn greets the server on nc and returns at once; calls may follow without waiting for the answer. nc belongs to the
// Conn afterwards.
func NewConn(nc net.Conn) *Conn {
	c := &Conn{
		nc: nc, r: newReader(nc), done: make(chan struct{}), calls: map[uint64]*pending{},
		greeted: make(chan struct{}), pings: map[string]chan struct{}{},
	}
	c.w = newWriter(nc, DefaultStall, c.cannotWrite)
	go c.w.run()
	go c.serve()
	c.send(header{kind: typeHello}, appendHello(nil, &Hello{Protocol: Version, MaxFrame: MaxFrame}))
	return c
}

// Call calls method and returns its result. request may be used again afterwards. The timeout of ctx is sent along, and when
// ctx ends first the server is told and the error is that of ctx. Other errors are *Error when the server answered one,
// *NotSent when the call certainly did not run, and *Lost when it may have.
func (c *Conn) Call(ctx context.Context, method uint32, request []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := pendingPool.Get().(*pending)
	id, err := c.begin(ctx, p, method, request)
	if err == nil {
		select {
		case <-p.done:
		case <-ctx.Done():
			if c.take(id) != nil {
				c.send(header{kind: typeCancel, id: id}, nil)
				c.endIfUnused()
				p.err = ctx.Err()
			} else {
				<-p.done // the answer came at the same moment
			}
		}
		err = p.err
	}
	result := p.result
	p.result, p.err = nil, nil
	pendingPool.Put(p)
	return result, err
}

// begin sends the call; with an error p is not registered.
func (c *Conn) begin(ctx context.Context, p *pending, method uint32, request []byte) (uint64, error) {
	if err := c.w.lock(ctx); err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		// The reader may be about to learn why.
		select {
		case <-c.done:
		case <-ctx.Done():
		}
		return 0, &NotSent{c.reason(err)}
	}
	ext := extension{method: method}
	if deadline, ok := ctx.Deadline(); ok {
		ext.timeout = uint64(max(time.Until(deadline), 1))
	}
	c.mu.Lock()
	var err error
	switch most := c.maxRequest(); {
	case c.away != nil:
		err = &NotSent{c.away}
	case c.err != nil:
		err = &NotSent{c.err}
	case len(request) > most:
		err = &Error{
			Code: CodeInvalidRequest, NotExecuted: true,
			Message: fmt.Sprintf("the request has %d bytes, allowed are %d", len(request), most),
		}
	}
	if err != nil {
		c.mu.Unlock()
		c.w.mu.Unlock()
		return 0, err
	}
	c.last++
	id := c.last
	c.w.add(header{kind: typeCall, id: id}, &ext, request, false)
	p.end = c.w.added
	c.calls[id] = p
	alone := len(c.calls) == 1
	c.mu.Unlock()
	c.w.unlock(alone)
	return id, nil
}

// maxRequest is what the server takes, as far as it has told; c.mu is held.
func (c *Conn) maxRequest() int {
	if c.peer != nil && c.peer.MaxFrame != 0 {
		return int(min(c.peer.MaxFrame, MaxFrame)) - extensionSize
	}
	return MaxRequest
}

// take removes a call that has no answer yet; it is nil when another goroutine did.
func (c *Conn) take(id uint64) *pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.calls[id]
	delete(c.calls, id)
	return p
}

// send queues a frame that is no call.
func (c *Conn) send(h header, payload []byte) error {
	if err := c.w.lockNow(); err != nil {
		return err
	}
	c.w.add(h, nil, payload, true)
	c.w.unlock(true)
	return nil
}

// Ping asks the server for a sign of life and waits for it.
func (c *Conn) Ping(ctx context.Context) error {
	c.mu.Lock()
	c.pinged++
	key := fmt.Sprintf("%x", c.pinged)
	pong := make(chan struct{})
	c.pings[key] = pong
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pings, key)
		c.mu.Unlock()
	}()
	if err := c.send(header{kind: typePing}, []byte(key)); err != nil {
		return fmt.Errorf("ping: %w", c.reason(err))
	}
	select {
	case <-pong:
		return nil
	case <-c.done:
		return fmt.Errorf("ping: %w", c.err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Peer waits for the server's greeting.
func (c *Conn) Peer(ctx context.Context) (Hello, error) {
	select {
	case <-c.greeted:
		return *c.peer, nil
	default:
	}
	select {
	case <-c.greeted:
		return *c.peer, nil
	case <-c.done:
		return Hello{}, fmt.Errorf("greet server: %w", c.err)
	case <-ctx.Done():
		return Hello{}, ctx.Err()
	}
}
