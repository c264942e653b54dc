// Package replicas chooses for each call of a cell one of its replicas, by what they took lately and have to do, and calls another one
// when that fails. docs/replicas.md describes it. Package stub, which generated code calls, uses it; errors are those of package wire.
package replicas

import (
	"context"
	"errors"
	"strconv"

	"github.com/cell-network/cell/sdk/internal/generated"
	"github.com/cell-network/cell/sdk/internal/meta"
	"github.com/cell-network/cell/sdk/internal/spans"
	"github.com/cell-network/cell/sdk/wire"
)

// Client has connections to replicas of a cell, of which each call takes the one that promises to answer first. A connection that
// ends is replaced.
type Client struct {
	Remote *generated.Remote
	Target string // the name that celld is asked for

	pool pool
}

// New makes a client that connects with d. It has no connection yet.
func New(remote *generated.Remote, target string, d Dialer) *Client {
	c := &Client{Remote: remote, Target: target}
	c.pool.dialer, c.pool.budget.tokens, c.pool.again = d, budgetBurst, countAgain
	return c
}

// Dial waits for the first connection.
func (c *Client) Dial(ctx context.Context) error {
	l, err := c.pool.lane(ctx, nil)
	if err != nil {
		return err
	}
	l.release(nil)
	register(c)
	return nil
}

// Add gives the client a connection that was made and greeted elsewhere.
func (c *Client) Add(r Reached) {
	c.pool.told(r.Instances)
	c.pool.add(r)
}

// Close ends the connections.
func (c *Client) Close() {
	unregister(c)
	c.pool.close()
}

// maxAttempts bounds how often a call is made again.
const maxAttempts = 4

// try runs f on a connection, again on another one when the call certainly did not run.
func try[R any](ctx context.Context, c *Client, f func(lane, uint32) (R, error)) (R, error) {
	var not tried
	for attempt := uint32(0); ; attempt++ {
		l, err := c.pool.lane(ctx, &not)
		if err != nil {
			var none R
			return none, err
		}
		r, err := f(l, attempt)
		if err == nil || !c.again(ctx, l, &not, attempt, err, false) {
			return r, err
		}
	}
}

// again tells whether a call that failed at l is made again, at once and at another replica if there is one.
func (c *Client) again(ctx context.Context, l lane, not *tried, attempt uint32, err error, repeatable bool) bool {
	if ctx.Err() != nil || attempt+1 >= maxAttempts || denied(err) {
		return false
	}
	not.add(l.r)
	if _, unsent := errors.AsType[*wire.NotSent](err); unsent {
		return !l.conn.Usable()
	}
	switch e := err.(type) {
	case *wire.Error:
		return e.Code == wire.CodeOverloaded && e.NotExecuted && c.pool.retry(l, not, false)
	case *wire.Lost:
		return repeatable && c.pool.retry(l, not, true)
	}
	return false
}

// denied tells that no other connection would be served either.
func denied(err error) bool {
	e, ok := errors.AsType[*wire.Error](err)
	return ok && e.Code == wire.CodeDenied
}

func (c *Client) call(ctx context.Context, id uint32, request []byte, attempt uint32) wire.Call {
	m := meta.Begin(ctx)
	return wire.Call{
		Method: id, Request: request, Schema: schema(c.Remote.Hash), Trace: m.Trace, Span: m.Span, Priority: m.Priority,
		Attempt: attempt,
	}
}

// schema is the prefix of a hash that goes with every call.
func schema(hash string) uint64 {
	n, _ := strconv.ParseUint(hash[:min(16, len(hash))], 16, 64)
	return n
}

// Do calls a method and returns its encoded results. The request belongs to it.
func (c *Client) Do(ctx context.Context, span *spans.Recording, id uint32, request []byte) ([]byte, error) {
	result, err := try(ctx, c, func(l lane, attempt uint32) ([]byte, error) {
		span.Attempt(l.r.instance)
		result, err := l.conn.Do(ctx, c.call(ctx, id, request, attempt))
		l.ended(err)
		return result, err
	})
	wire.Recycle(request)
	return result, err
}

// Notify sends an event. Without an error it is on its way, and nothing tells whether it arrived.
func (c *Client) Notify(ctx context.Context, span *spans.Recording, id uint32, request []byte) error {
	_, err := try(ctx, c, func(l lane, attempt uint32) ([]byte, error) {
		span.Attempt(l.r.instance)
		call := c.call(ctx, id, request, attempt)
		call.OneWay = true
		_, err := l.conn.Do(ctx, call)
		l.release(err)
		return nil, err
	})
	return err
}

// Stream is a stream at a replica.
type Stream struct {
	*wire.Stream
	lane lane
}

// Close gives the stream up unless it has ended.
func (s Stream) Close() {
	s.Stream.Close()
	s.lane.release(nil)
}

// Open calls a method that streams items back, and with in also takes them.
func (c *Client) Open(ctx context.Context, span *spans.Recording, id uint32, request []byte, in bool) (Stream, error) {
	return try(ctx, c, func(l lane, attempt uint32) (Stream, error) {
		span.Attempt(l.r.instance)
		s, err := l.conn.Open(ctx, c.call(ctx, id, request, attempt), in, true)
		if err != nil {
			l.release(err)
		}
		return Stream{s, l}, err
	})
}
