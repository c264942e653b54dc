package wire

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"
)

// call begins a call, or refuses it.
func (c *serverConn) call(h header) error {
	size := int64(h.length)
	full := c.s.held.Add(size) > c.s.MaxHeld
	var b []byte
	var err error
	if full {
		err = c.r.skip(h)
	} else {
		b, err = c.r.payload(h)
	}
	if full || err != nil {
		c.s.held.Add(-size)
		size = 0
	}
	if err != nil {
		return err
	}
	if h.id == 0 || h.id == math.MaxUint64 || h.id <= c.last {
		c.s.held.Add(-size)
		return fmt.Errorf("read frame: CALL with id %d after %d", h.id, c.last)
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
		e := &Error{Code: CodeOverloaded, Message: refused}
		return c.send(header{kind: typeError, flags: flagNotExecuted, id: h.id}, appendError(nil, e, c.most))
	}
	c.s.started.Add(1)
	e := parseExtension(b)
	var ctx context.Context
	var cancel context.CancelFunc
	if e.timeout > 0 {
		ctx, cancel = context.WithTimeout(c.ctx, time.Duration(min(e.timeout, math.MaxInt64)))
	} else {
		ctx, cancel = context.WithCancel(c.ctx)
	}
	c.calls[h.id] = cancel
	c.work.Add(1)
	c.mu.Unlock()
	go c.run(ctx, cancel, h.id, size, Request{
		Method: e.method, Payload: b[extensionSize:], Trace: e.trace, Schema: e.schema,
		Attempt: e.attempt,
	})
	return nil
}

// run answers a call that call began.
func (c *serverConn) run(ctx context.Context, cancel context.CancelFunc, id uint64, held int64, r Request) {
	defer c.work.Done()
	var result []byte
	fault := &Error{Code: CodeRemote, Message: "the method ended its goroutine"}
	defer func() { // deferred for a method that ends its goroutine
		cancel()
		c.finish(id, held, result, fault)
	}()
	result, fault = c.s.answer(ctx, r)
}

// finish sends the answer of a call; it waits while the client does not read.
func (c *serverConn) finish(id uint64, held int64, result []byte, fault *Error) {
	kind := typeResult
	if fault == nil && len(result) > c.most {
		fault = &Error{Code: CodeRemote, Message: fmt.Sprintf("the result has %d bytes, allowed are %d", len(result), c.most)}
	}
	if fault != nil {
		kind, result = typeError, appendError(nil, fault, c.most)
	}
	failed := c.w.lock(c.ctx)
	c.mu.Lock()
	delete(c.calls, id)
	alone := len(c.calls) == 0
	c.mu.Unlock()
	c.s.held.Add(-held)
	c.s.touch()
	c.s.running.Add(-1)
	if failed == nil {
		c.w.add(header{kind: kind, id: id}, nil, result, true)
		c.w.unlock(alone)
	}
}

// answer runs the handler; a panic, also one of the error's own method, is an error like others for the caller.
func (s *Server) answer(ctx context.Context, r Request) (result []byte, fault *Error) {
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
		result, fault = nil, &Error{Code: CodeRemote, Message: fmt.Sprintf("panic: %v", v)}
	}()
	result, err := s.Handler(ctx, r)
	if err != nil {
		result, fault = nil, wireError(ctx, err)
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
