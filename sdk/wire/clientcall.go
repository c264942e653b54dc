package wire

import (
	"context"
	"fmt"
	"time"
)

// Call is what a client asks for.
type Call struct {
	Method   uint32
	Request  []byte // may be used again when the call was made
	Schema   uint64 // prefix of the hash of the schema that the caller was built with; 0 when not told
	Trace    [16]byte
	Span     Span   // of the caller, within Trace
	Attempt  uint32 // 0 for the first
	Priority uint8  // 0 is normal; it is told to the server's handler and means nothing to this package

	// OneWay asks for no answer. A server that stops, or has too much to do, drops the call without a word, and so does the
	// connection when it ends.
	OneWay bool
}

// Call calls method and returns its result: Do with nothing but a method and a request.
func (c *Conn) Call(ctx context.Context, method uint32, request []byte) ([]byte, error) {
	return c.Do(ctx, Call{Method: method, Request: request})
}

// Do makes a call and returns its result; a one-way call has none, and Do returns when it is queued. The timeout of ctx is
// sent along, and when ctx ends first the server is told; that ctx was canceled may be noticed some 20 ms late. Errors are *Error when the server answered one, *NotSent when the
// call certainly did not run, *Abandoned when ctx ended after it was sent, and *Lost when the connection did.
func (c *Conn) Do(ctx context.Context, call Call) ([]byte, error) {
	if call.OneWay {
		_, _, err := c.begin(ctx, nil, &call, callOneWay)
		return nil, err
	}
	p := pendingPool.Get().(*pending)
	id, leads, err := c.begin(ctx, p, &call, 0)
	if err == nil {
		if !leads || !c.readFor(p.done) {
			c.wait(ctx, p, id)
		}
		err = p.err
	}
	result := p.result
	p.result, p.err = nil, nil
	pendingPool.Put(p)
	return result, err
}

// wait waits for the end of a call.
func (c *Conn) wait(ctx context.Context, p *pending, id uint64) {
	select {
	case <-p.done:
	case <-ctx.Done():
		if c.take(id) != nil {
			c.send(header{kind: typeCancel, id: id}, nil)
			c.endIfUnused()
			p.err = &Abandoned{ctx.Err()}
		} else {
			<-p.done // the answer came at the same moment
		}
	}
}

// begin sends the call; with an error p is not registered. p is nil for a call that gets no answer. Who is told that it leads
// reads until p has its answer.
func (c *Conn) begin(ctx context.Context, p *pending, call *Call, flags uint32) (id uint64, leads bool, err error) {
	if err := ctx.Err(); err != nil {
		return 0, false, &NotSent{err}
	}
	if err := c.w.lock(ctx); err != nil {
		if ctx.Err() != nil {
			return 0, false, &NotSent{ctx.Err()}
		}
		// The reader may be about to learn why.
		select {
		case <-c.done:
		case <-ctx.Done():
		}
		return 0, false, &NotSent{c.reason(err)}
	}
	ext := extension{
		method: call.Method, flags: flags | uint32(call.Priority)<<callPriority, trace: call.Trace, schema: call.Schema,
		attempt: call.Attempt,
	}
	if deadline, ok := ctx.Deadline(); ok {
		ext.timeout = uint64(max(time.Until(deadline), 1))
	}
	c.mu.Lock()
	switch most := c.maxFrame() - extensionSize; {
	case c.away != nil:
		err = &NotSent{c.away}
	case c.err != nil:
		err = &NotSent{c.err}
	case len(call.Request) > most:
		err = &Error{
			Code: CodeInvalidRequest, NotExecuted: true,
			Message: fmt.Sprintf("the request has %d bytes, allowed are %d", len(call.Request), most),
		}
	}
	if err != nil {
		c.mu.Unlock()
		c.w.mu.Unlock()
		return 0, false, err
	}
	c.last++
	id = c.last
	alone := len(c.calls) == 0
	if call.Span.ID != [8]byte{} {
		call.Span.add(c.w, id)
	}
	c.w.add(header{kind: typeCall, id: id}, &ext, call.Request, false)
	if p != nil {
		p.end = c.w.added
		if p.stream != nil {
			p.stream.id = id
		}
		c.calls[id] = p
		leads = c.leads(p, alone, ext.timeout)
	}
	c.mu.Unlock()
	c.w.unlock(alone)
	return id, leads, nil
}

// maxFrame is what the server takes, as far as it has told; c.mu is held.
func (c *Conn) maxFrame() int {
	if c.peer != nil && c.peer.MaxFrame != 0 {
		return int(min(c.peer.MaxFrame, MaxFrame))
	}
	return MaxFrame
}

// settle tells the caller how the call ended; p is in Conn.calls no more.
func (p *pending) settle(result []byte, err error) {
	if p.stream != nil {
		p.stream.answered(result, err)
		return
	}
	p.result, p.err = result, err
	p.done <- struct{}{}
}
