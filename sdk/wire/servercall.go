package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime/debug"
	"time"
)

// call begins a call, or refuses it.
func (c *serverConn) call(h header) error {
	size := int64(h.length)
	full := c.s.held.Add(size) > c.s.MaxHeld
	e, err := c.r.extension(h)
	var b []byte
	switch {
	case err != nil:
	case full:
		err = c.r.skip(h)
	default:
		b, err = c.r.payload(h)
	}
	if full || err != nil {
		c.s.held.Add(-size)
		size = 0
	}
	if err != nil {
		return err
	}
	if h.id == 0 || h.id == math.MaxUint64 || h.id <= c.seen {
		c.s.held.Add(-size)
		return fmt.Errorf("read frame: CALL with id %d after %d", h.id, c.seen)
	}
	c.seen = h.id
	oneWay, in, out := e.flags&callOneWay != 0, e.flags&callItemsIn != 0, e.flags&callItemsOut != 0
	if oneWay && (in || out) {
		c.s.held.Add(-size)
		return fmt.Errorf("read frame: CALL %d is one-way and has items", h.id)
	}
	refused := ""
	c.mu.Lock()
	switch {
	case c.away:
		refused = "the cell is stopping"
	case full:
		refused = "too many bytes of requests"
	case len(c.calls) >= c.s.MaxConnCalls:
		refused = "too many calls on one connection"
	case c.s.running.Add(1) > int64(c.s.MaxCalls):
		c.s.running.Add(-1)
		refused = "too many calls"
	}
	if !c.away {
		c.last = h.id
	}
	if refused != "" {
		c.mu.Unlock()
		c.s.held.Add(-size)
		return c.refuse(h.id, e.method, oneWay, refused)
	}
	c.s.started.Add(1)
	var ctx context.Context
	var cancel context.CancelFunc
	if e.timeout > 0 {
		ctx, cancel = context.WithTimeout(c.ctx, time.Duration(min(e.timeout, math.MaxInt64)))
	} else {
		ctx, cancel = context.WithCancel(c.ctx)
	}
	var stream *Stream
	if in || out {
		stream = newStream(ctx, c.w, out, in)
		stream.server, stream.id = c, h.id
		if !in {
			stream.recvErr = io.EOF
		}
	}
	c.calls[h.id] = running{cancel, stream}
	c.work.Add(1)
	c.mu.Unlock()
	go c.run(ctx, cancel, h.id, Request{
		Method: e.method, Payload: b[extensionSize:], Trace: e.trace, Schema: e.schema,
		Attempt: e.attempt, Priority: uint8(e.flags >> callPriority), OneWay: oneWay, Stream: stream,
		Peer: c.peer,
	})
	return nil
}

// refuse answers a call that does not run. For a one-way call the log must do, once: this goroutine must not be held up.
func (c *serverConn) refuse(id uint64, method uint32, oneWay bool, why string) error {
	if !oneWay {
		e := &Error{Code: CodeOverloaded, Message: why}
		return c.send(header{kind: typeError, flags: flagNotExecuted, id: id}, appendError(nil, e, c.most))
	}
	if !c.muted {
		c.muted = true
		c.s.log("one-way call refused, more of this connection may follow", "method", method, "reason", why)
	}
	return nil
}

// run answers a call that call began.
func (c *serverConn) run(ctx context.Context, cancel context.CancelFunc, id uint64, r Request) {
	defer c.work.Done()
	var result []byte
	fault := &Error{Code: CodeRemote, Message: "the method ended its goroutine"}
	defer func() { // deferred for a method that ends its goroutine
		cancel()
		c.finish(id, r, result, fault)
	}()
	result, fault = c.s.answer(ctx, c.handler(r.Method), r)
}

// MethodRaces is a built-in method, besides 0 which answers the genome: it answers what Server.Races does.
const MethodRaces = math.MaxUint32 - 1

// handler is what answers a method. A cell tells of its own calls on its own machine only.
func (c *serverConn) handler(method uint32) Handler {
	if races := c.s.Races; method == MethodRaces && races != nil && c.nc.LocalAddr().Network() == "unix" {
		return func(_ context.Context, r Request) ([]byte, error) { return races(r) }
	}
	return c.s.Handler
}

// finish sends the answer of a call; it waits while the client does not read.
func (c *serverConn) finish(id uint64, r Request, result []byte, fault *Error) {
	if r.Stream != nil {
		if f := r.Stream.finish(); f != nil {
			fault = f
		}
	}
	kind := typeResult
	if fault == nil && len(result) > c.most {
		fault = &Error{Code: CodeRemote, Message: fmt.Sprintf("the result has %d bytes, allowed are %d", len(result), c.most)}
	}
	if fault != nil {
		kind, result = typeError, appendError(nil, fault, c.most)
	}
	var failed error
	if !r.OneWay {
		failed = c.w.lock(c.ctx)
	}
	c.mu.Lock()
	delete(c.calls, id)
	alone := len(c.calls) == 0
	c.mu.Unlock()
	c.s.held.Add(-int64(extensionSize + len(r.Payload)))
	c.s.touch()
	c.s.running.Add(-1)
	if failed == nil && !r.OneWay {
		c.w.add(header{kind: kind, id: id}, nil, result, true)
		c.w.unlock(alone)
	}
}

// answer runs the handler; a panic, also one of the error's own method, is an error like others for the caller.
func (s *Server) answer(ctx context.Context, handle Handler, r Request) (result []byte, fault *Error) {
	if r.Method == 0 {
		return s.Genome, nil
	}
	returned := false
	defer func() {
		if returned {
			return
		}
		v := recover()
		if v == nil {
			v = "the method ended its goroutine"
		}
		s.log("panic in a method", "method", r.Method, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		result, fault = nil, &Error{Code: CodeRemote, Message: "panic, see the log of " + s.Hello.Name} // it may tell what is secret
	}()
	result, err := handle(ctx, r)
	if err != nil {
		result, fault = nil, wireError(ctx, err)
		if r.OneWay {
			s.log("one-way call", "method", r.Method, "error", fault)
		}
	}
	returned = true
	return result, fault
}

func wireError(ctx context.Context, err error) *Error {
	if e, ok := err.(*Error); ok && e != nil {
		return e
	}
	// A context error of the method's own making is not the caller's: it stays a remote error.
	if ctx.Err() != nil {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return &Error{Code: CodeDeadlineExceeded, Message: err.Error()}
		case errors.Is(err, context.Canceled):
			return &Error{Code: CodeCanceled, Message: err.Error()}
		}
	}
	return &Error{Code: CodeRemote, Message: err.Error()}
}
