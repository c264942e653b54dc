package wire

import (
	"context"
	"fmt"
	"io"
)

// find finds the call that a frame is about; it has no context when it has ended.
func (c *serverConn) find(h header) (running, error) {
	if h.id == 0 || h.id > c.seen {
		return running{}, fmt.Errorf("read frame: %v for call %d, which was not made", h.kind, h.id)
	}
	c.mu.Lock()
	call := c.calls[h.id]
	c.mu.Unlock()
	if call.ctx != nil && call.stream == nil {
		return running{}, noItems(h)
	}
	return call, nil
}

// data reads an item.
func (c *serverConn) data(h header) error {
	call, err := c.find(h)
	if err != nil {
		return err
	}
	if call.stream == nil {
		return c.r.skip(h)
	}
	admitted, err := call.stream.admit(h)
	switch {
	case err == errOverrun:
		call.fail(&Error{Code: CodeInvalidRequest, Message: "more items than there was credit for"})
	case err != nil:
		return err
	}
	if !admitted {
		return c.r.skip(h)
	}
	cost := int64(h.length) + itemCost
	if c.s.held.Add(cost) > c.s.MaxHeld {
		c.s.held.Add(-cost)
		call.fail(&Error{Code: CodeOverloaded, Message: "too many bytes of items"})
		return c.r.skip(h)
	}
	b, err := c.r.payload(h)
	if err != nil || !call.stream.push(b) {
		c.s.held.Add(-cost)
	}
	return err
}

// flow reads an END or a CREDIT.
func (c *serverConn) flow(h header) error {
	b, err := c.r.payload(h)
	if err != nil {
		return err
	}
	call, err := c.find(h)
	switch {
	case err != nil || call.stream == nil:
		return err
	case h.kind == typeCredit:
		return call.stream.addCredit(h, b)
	}
	return call.stream.itemsEnded(h)
}

// itemsEnded reads an END.
func (s *Stream) itemsEnded(h header) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.receives:
		return noItems(h)
	case s.over:
	case s.recvErr != nil:
		return fmt.Errorf("read frame: a second END for call %d", h.id)
	default:
		s.recvErr = io.EOF
		ring(&s.arrived)
	}
	return nil
}

// fail ends a stream with an error, which is answered as soon as the handler returns.
func (r running) fail(e *Error) {
	r.stream.mu.Lock()
	if !r.stream.over {
		r.stream.fault = e
	}
	r.stream.mu.Unlock()
	r.stream.end(e, e, true)
	r.ctx.end()
}

// finish ends the stream of a handler that has returned; the error is what to answer in place of the handler's.
func (s *Stream) finish() *Error {
	s.end(context.Canceled, context.Canceled, true)
	return s.fault
}
