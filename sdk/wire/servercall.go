package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"runtime/debug"
	"time"
)

// call begins a call, or refuses it.
func (c *serverConn) call(h header) error {
	size := int64(h.length)
	full := c.s.held.Add(size) > c.s.MaxHeld
	h, e, err := c.r.extension(h)
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
	ctx := &callContext{}
	if e.timeout > 0 {
		ctx.deadline = time.Now().Add(time.Duration(min(e.timeout, math.MaxInt64)))
	}
	var stream *Stream
	if in || out {
		stream = newStream(ctx, c.w, out, in)
		stream.server, stream.id = c, h.id
		if !in {
			stream.recvErr = io.EOF
		}
	}
	c.calls[h.id] = running{ctx, stream}
	among := len(c.calls) > 1
	c.work.Add(1)
	c.mu.Unlock()
	r := Request{
		Method: e.method, Payload: b, Trace: e.trace, Span: c.ahead.of(h.id), Schema: e.schema,
		Attempt: e.attempt, Priority: uint8(e.flags >> callPriority), OneWay: oneWay, Stream: stream,
		Peer: c.peer,
	}
	limit := quickAlone
	if among || c.r.whole() {
		limit = quickAmong
	}
	if stream == nil && c.s.pace.of(e.method) < limit {
		return c.runHere(ctx, h.id, r)
	}
	go c.run(ctx, h.id, r)
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

var errMethodEnded = &Error{Code: CodeRemote, Message: "the method ended its goroutine"}

// run answers a call that call began.
func (c *serverConn) run(ctx *callContext, id uint64, r Request) {
	var result []byte
	fault := errMethodEnded
	defer func() { // deferred for a method that ends its goroutine
		ctx.end()
		c.finish(id, r, result, fault)
	}()
	begun := time.Now()
	result, fault = c.s.answer(ctx, c.handler(r.Method), r)
	if r.Stream == nil {
		c.s.pace.took(r.Method, time.Since(begun))
	}
}

// runHere is run by the goroutine that reads. The error is for its end.
func (c *serverConn) runHere(ctx *callContext, id uint64, r Request) error {
	mine := c.turn.begin()
	if !c.paced.Load() && c.paced.CompareAndSwap(false, true) {
		watch(c)
	}
	returned := false
	defer func() {
		if returned {
			return
		}
		if c.turn.end(mine) {
			go c.readOn()
		}
		ctx.end()
		c.finish(id, r, nil, errMethodEnded)
	}()
	begun := time.Now()
	result, fault := c.s.answer(ctx, c.handler(r.Method), r)
	returned = true
	now := time.Now()
	took := now.Sub(begun)
	c.s.pace.took(r.Method, took)
	ctx.end()
	if !c.turn.end(mine) {
		c.finish(id, r, result, fault)
		return errTurnTaken
	}
	c.finishHere(id, r, result, fault, now)
	if c.spent += took; c.spent > shareOfOne {
		c.spent = 0
		runtime.Gosched()
	}
	return nil
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
	defer c.work.Done()
	kind, result := c.answer(r, result, fault)
	var failed error
	if !r.OneWay {
		failed = c.w.lock(c.ctx)
	}
	alone := c.finished(id, r, time.Now())
	if failed == nil && !r.OneWay {
		c.w.addAnswer(kind, id, result, c.recycles(kind, r))
		c.w.unlock(alone)
	}
}

// finishHere is finish by the goroutine that reads, which does not wait. An answer goes out together with those of the calls
// that have come already.
func (c *serverConn) finishHere(id uint64, r Request, result []byte, fault *Error, now time.Time) {
	if r.OneWay {
		c.finished(id, r, now)
		c.work.Done()
		return
	}
	room, failed := c.w.lockIfRoom()
	if !room {
		go c.finish(id, r, result, fault)
		return
	}
	defer c.work.Done()
	kind, result := c.answer(r, result, fault)
	c.finished(id, r, now)
	if failed != nil {
		return
	}
	c.w.addAnswer(kind, id, result, c.recycles(kind, r))
	if c.held = c.w.pending < holdMost && c.r.whole(); c.held {
		c.w.hold()
	} else {
		c.w.unlock(true)
	}
}

// recycles says whether the answer's memory is the server's to use again. That of the genome is not.
func (c *serverConn) recycles(kind frameType, r Request) bool {
	return c.s.Recycle && kind == typeResult && r.Method != 0
}

// holdMost is how many bytes of answers wait for others at most.
const holdMost = 32 << 10

// answer is the frame that a call ends with.
func (c *serverConn) answer(r Request, result []byte, fault *Error) (frameType, []byte) {
	if r.Stream != nil {
		if f := r.Stream.finish(); f != nil {
			fault = f
		}
	}
	if fault == nil && len(result) > c.most {
		fault = &Error{Code: CodeRemote, Message: fmt.Sprintf("the result has %d bytes, allowed are %d", len(result), c.most)}
	}
	if fault != nil {
		return typeError, appendError(nil, fault, c.most)
	}
	return typeResult, result
}

// finished takes a call out of the books; alone says that it was the only one.
func (c *serverConn) finished(id uint64, r Request, now time.Time) (alone bool) {
	c.mu.Lock()
	delete(c.calls, id)
	alone = len(c.calls) == 0
	c.mu.Unlock()
	c.s.held.Add(-int64(extensionSize + len(r.Payload)))
	c.s.touch(now)
	c.s.running.Add(-1)
	return alone
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
