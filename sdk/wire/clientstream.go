package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Open makes a call with items: in says that this side sends some, out that it takes some. ctx and its timeout are for the
// whole stream: when it ends the server is told, and the methods of the Stream return its error within *Abandoned. Errors of
// Open are those of Do before a call is sent. The Stream must be read until its end or be closed.
func (c *Conn) Open(ctx context.Context, call Call, in, out bool) (*Stream, error) {
	if call.OneWay {
		return nil, &NotSent{errors.New("a one-way call has no items")}
	}
	flags := uint32(0)
	if in {
		flags |= callItemsIn
	}
	if out {
		flags |= callItemsOut
	}
	s := newStream(ctx, c.w, in, out)
	s.client = c
	if _, _, err := c.begin(ctx, &pending{stream: s}, &call, flags); err != nil {
		return nil, err
	}
	if ctx.Done() == nil {
		return s, nil
	}
	stop := context.AfterFunc(ctx, s.contextEnded)
	s.mu.Lock()
	over := s.over
	s.stop = stop
	s.mu.Unlock()
	if over {
		stop()
	}
	return s, nil
}

// CloseSend tells the server that no more items will come. It is for the client; more than once, and after the answer, it
// does nothing.
func (s *Stream) CloseSend() error {
	if s.client == nil {
		return errClientOnly
	}
	switch err := s.put(typeEnd, nil); err {
	case io.EOF, errSendEnded, errOneDirection:
		return nil
	default:
		return err
	}
}

// Result waits for the end of the call and returns its result; items that were not read are dropped. Errors are those of
// Recv. It is for the client.
func (s *Stream) Result() ([]byte, error) {
	if s.client == nil {
		return nil, errClientOnly
	}
	for {
		_, err := s.Recv()
		if err == io.EOF {
			return s.result, nil // set before the io.EOF
		}
		if err != nil {
			return nil, err
		}
	}
}

// Close gives the stream up: the server is told unless it has answered, and items that were not read are dropped. It is for
// the client; it may be called always, and more than once.
func (s *Stream) Close() {
	if s.client == nil {
		return
	}
	closed := &Abandoned{errStreamClosed}
	s.abandon(closed)
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.over { // the answer has just come
		s.wait(&s.arrived)
	}
	if !s.items.empty() {
		s.recvErr = closed
		s.drop()
	}
}

// abandon ends the call unless it has been answered.
func (s *Stream) abandon(err error) {
	c := s.client
	if c.take(s.id) == nil {
		return
	}
	s.finally(err, err, true)
	c.send(header{kind: typeCancel, id: s.id}, nil)
	c.endIfUnused()
}

// answered ends the stream with what came for its call, or with why nothing came.
func (s *Stream) answered(result []byte, err error) {
	s.mu.Lock()
	s.result = result
	s.mu.Unlock()
	send, recv := err, err
	if err == nil {
		send, recv = io.EOF, io.EOF
	} else if _, ok := err.(*Error); ok {
		send = io.EOF
	}
	s.finally(send, recv, false)
}

func (s *Stream) finally(send, recv error, drop bool) {
	s.end(send, recv, drop)
	s.mu.Lock()
	stop := s.stop
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// stream finds the stream that a frame is about; it is nil when the call has ended.
func (c *Conn) stream(h header) (*Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.calls[h.id]
	switch {
	case h.id == 0 || h.id > c.last:
		return nil, fmt.Errorf("read frame: %v for call %d, which was not made", h.kind, h.id)
	case p == nil:
		return nil, nil
	case p.stream == nil:
		return nil, noItems(h)
	}
	return p.stream, nil
}

// data reads an item.
func (c *Conn) data(h header) error {
	s, err := c.stream(h)
	if err != nil {
		return err
	}
	if s == nil {
		return c.r.skip(h)
	}
	admitted, err := s.admit(h)
	switch {
	case err == errOverrun:
		s.abandon(&Abandoned{err})
	case err != nil:
		return err
	}
	if !admitted {
		return c.r.skip(h)
	}
	b, err := c.r.payload(h)
	if err != nil {
		return err
	}
	waited := s.waitedFor()
	s.push(b)
	c.mu.Lock()
	if waited && len(c.calls) == 1 {
		c.cameAlone()
	} else {
		c.lead.streak = 0
	}
	c.mu.Unlock()
	return nil
}

// credit reads a CREDIT.
func (c *Conn) credit(h header, b []byte) error {
	s, err := c.stream(h)
	if err != nil || s == nil {
		return err
	}
	return s.addCredit(h, b)
}
