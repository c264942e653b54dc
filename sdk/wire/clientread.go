package wire

import (
	"fmt"
	"time"
)

// Close ends the connection; calls without an answer end with NotSent or Lost.
func (c *Conn) Close() error {
	c.end(ErrClosed)
	return nil
}

// Fail is Close for a reason, which NotSent and Lost then give.
func (c *Conn) Fail(why error) { c.end(why) }

// Done is closed when the connection has ended. A connection whose server goes away ends when its last call has.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Usable says whether calls may still be made; it turns false before Done when the server goes away.
func (c *Conn) Usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && c.away == nil && c.cannot == nil
}

// frame reads a frame and does what it says.
func (c *Conn) frame() error {
	h, err := c.r.next()
	if err != nil {
		return err
	}
	if h.kind == typeData {
		return c.data(h)
	}
	b, err := c.r.payload(h)
	if err != nil {
		return err
	}
	switch h.kind {
	case typeResult, typeError:
		return c.answered(h, b)
	case typeCredit:
		return c.credit(h, b)
	case typeHelloAck:
		return c.greetedBy(b)
	case typeGoAway:
		return c.goneAway(b)
	case typePing:
		c.send(header{kind: typePong}, b) // a failure to write is for cannotWrite
		return nil
	case typePong:
		c.mu.Lock()
		if pong := c.pings[string(b)]; pong != nil {
			delete(c.pings, string(b))
			close(pong)
		}
		c.mu.Unlock()
		return nil
	}
	return fmt.Errorf("read frame: %v from a server", h.kind)
}

func (c *Conn) answered(h header, b []byte) error {
	var fault *Error
	if h.kind == typeError {
		var err error
		if fault, err = parseError(b); err != nil {
			return err
		}
		fault.NotExecuted = h.flags&flagNotExecuted != 0
	}
	c.mu.Lock()
	if h.id == 0 || h.id > c.last {
		c.mu.Unlock()
		return fmt.Errorf("read frame: %v for call %d, which was not made", h.kind, h.id)
	}
	p := c.calls[h.id] // nil: canceled here
	delete(c.calls, h.id)
	if len(c.calls) == 0 {
		c.cameAlone()
	}
	away := c.away
	c.mu.Unlock()
	if p == nil {
		return nil
	}
	switch {
	case fault == nil:
		p.settle(b, nil)
	case fault.NotExecuted && away != nil:
		p.settle(nil, &NotSent{away})
	default:
		p.settle(nil, fault)
	}
	if away != nil {
		c.endIfUnused()
	}
	return nil
}

func (c *Conn) greetedBy(b []byte) error {
	hello, err := parseHello(b)
	if err != nil {
		return err
	}
	if hello.Protocol > Version {
		return fmt.Errorf("read greeting: the server chose version %d, the highest known is %d", hello.Protocol, Version)
	}
	if hello.MaxFrame != 0 && hello.MaxFrame < leastFrame {
		return fmt.Errorf("read greeting: frames of %d bytes, at least %d are needed", hello.MaxFrame, leastFrame)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peer != nil {
		return fmt.Errorf("read greeting: a second HELLO_ACK")
	}
	c.peer = hello
	close(c.greeted)
	return nil
}

// goneAway ends the calls that the server will not run.
func (c *Conn) goneAway(b []byte) error {
	g, err := parseGoAway(b)
	if err != nil {
		return err
	}
	var refused []*pending
	c.mu.Lock()
	if c.away == nil {
		close(c.leaving)
	}
	c.away = g
	for id, p := range c.calls {
		if id > g.last {
			delete(c.calls, id)
			refused = append(refused, p)
		}
	}
	c.mu.Unlock()
	for _, p := range refused {
		p.settle(nil, &NotSent{g})
	}
	c.endIfUnused()
	return nil
}

// endIfUnused closes the connection when the server goes away and no call waits for it.
func (c *Conn) endIfUnused() {
	c.mu.Lock()
	away, unused := c.away, len(c.calls) == 0
	c.mu.Unlock()
	if away != nil && unused {
		c.end(away)
	}
}

// cannotWrite is told by the writer. The server may have answered, or gone away, before it closed its side: what it sent is
// still read, and only then the connection ends.
func (c *Conn) cannotWrite(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cannot = err
	c.needReader()
	c.nc.SetReadDeadline(time.Now().Add(drainRead))
}

// end closes the connection and ends all calls. Only the first error counts.
func (c *Conn) end(err error) {
	c.w.stop(err)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	if c.away != nil && hungUp(err) {
		err = c.away
	}
	c.err = fmt.Errorf("connection ended: %w", err)
	calls, last := c.calls, uint64(allCalls)
	if c.away != nil {
		last = c.away.last
	}
	c.calls = map[uint64]*pending{}
	close(c.done)
	c.mu.Unlock()
	c.nc.Close()
	c.w.settle()
	for id, p := range calls {
		if id <= last && c.w.mayHaveArrived(p.end) {
			p.settle(nil, &Lost{c.err})
		} else {
			p.settle(nil, &NotSent{c.err})
		}
	}
}

// reason prefers why the connection ended to why a frame was not written.
func (c *Conn) reason(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.away != nil:
		return c.away
	case c.err != nil:
		return c.err
	}
	return err
}
