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
	lead    lead
	last    uint64 // id of the newest call
	calls   map[uint64]*pending
	away    *goAway
	peer    *Hello
	greeted chan struct{} // closed with peer set
	leaving chan struct{} // closed with away set
	pings   map[string]chan struct{}
	pinged  uint64
	cannot  error // why writing failed
	err     error
}

// pending is a call without an answer. It is in Conn.calls until somebody takes it out, who then settles it.
type pending struct {
	done   chan struct{} // of a call without items
	stream *Stream       // of a call with items
	end    uint64        // position in the stream where its frame ends
	result []byte
	err    error

	elsewhere bool // its caller does other things than to wait for it
}

var pendingPool = sync.Pool{New: func() any { return &pending{done: make(chan struct{}, 1)} }}

// NewConn greets the server on nc and returns at once; calls may follow without waiting for the answer. nc belongs to the
// Conn afterwards.
func NewConn(nc net.Conn) *Conn { return Greet(nc, Hello{}) }

// Greet is NewConn for a client that tells its Name, Version and Hash; the other fields of hello are not used.
func Greet(nc net.Conn, hello Hello) *Conn {
	c := &Conn{
		nc: nc, r: newReader(nc), done: make(chan struct{}), calls: map[uint64]*pending{},
		greeted: make(chan struct{}), leaving: make(chan struct{}), pings: map[string]chan struct{}{},
	}
	c.w = newWriter(nc, DefaultStall, c.cannotWrite)
	go c.serve() // whose turn it is to read
	hello.Protocol, hello.MaxFrame, hello.MaxCalls, hello.Accepts = Version, MaxFrame, 0, nil
	c.send(header{kind: typeHello}, appendHello(nil, &hello))
	return c
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
	if err := c.w.lockNow(headerSize + len(payload)); err != nil {
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
	c.needReader()
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

// Introduce sends an introduction, which takes the place of an earlier one.
func (c *Conn) Introduce(introduction []byte) error {
	if err := c.send(header{kind: typeIntroduction, flags: flagIgnorable}, introduction); err != nil {
		return fmt.Errorf("introduce: %w", c.reason(err))
	}
	return nil
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
