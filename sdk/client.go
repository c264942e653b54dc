package sdk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/cell-network/cell/sdk/broker"
	"github.com/cell-network/cell/sdk/wire"
)

// Remote is a cell as its callers' generated code knows it.
type Remote struct {
	Need    string // what cell.toml of the caller names it
	Version string // that the code was generated from
	Hash    string // wire hash of the genome that the code was generated from

	// Error makes one of the cell's own errors of what arrived. as, when not nil, recognises the error in another form, as
	// errors.As wants it. A name that is not known gives nothing.
	Error func(name, text string, payload []byte) (own error, as func(any) bool, err error)
}

// Need says that this program wants so many replicas of a cell: cell build refuses a tree that has fewer. It is written with a
// number, where variables are declared:
//
//	var _ = sdk.Need(worker.Cell, 10)
func Need(r Remote, replicas int) struct{} { return struct{}{} }

// Client is what is behind a generated client: connections to replicas of a cell, of which each call takes the one that promises
// to answer first. A connection that ends is replaced.
type Client struct {
	remote *Remote
	target string
	pool   pool
}

// DialOption changes what Dial connects to.
type DialOption func(*Client)

// To connects to the cell of that name instead of the one that the caller's cell.toml names. A program that is no cell names
// cells in full, as in "shop.users".
func To(name string) DialOption { return func(c *Client) { c.target = name } }

// Dial connects to a cell through celld: a cell reaches those that it names in [needs] and [cells] and those below it, a
// program outside of any cell those of its user. It waits for a celld that restarts and for a cell that wakes as long as ctx
// allows, ten seconds when that has no deadline. Errors are *Down, *Denied and *Incompatible, or those of ctx.
func Dial(ctx context.Context, r *Remote, options ...DialOption) (*Client, error) {
	c := newClient(r)
	for _, o := range options {
		o(c)
	}
	l, err := c.pool.lane(ctx, nil)
	if err != nil {
		return nil, c.unreached(err)
	}
	l.release(nil)
	register(c)
	return c, nil
}

func newClient(r *Remote) *Client {
	c := &Client{remote: r, target: r.Need}
	c.pool.budget.tokens, c.pool.again = budgetBurst, countAgain
	c.pool.connect, c.pool.greeted = c.connect, c.greeted
	return c
}

// Close ends the connections of a generated client. Calls that still run get a *Down.
func Close(c interface{ CellClient() *Client }) error {
	unregister(c.CellClient())
	c.CellClient().pool.close()
	return nil
}

// connect asks celld for a connection, if possible to none of the instances to avoid.
func (c *Client) connect(ctx context.Context, avoid []string) (reached, error) {
	nc, grant, err := broker.Connect(ctx, c.target, c.remote.Hash, avoid...)
	if err != nil {
		if e, ok := errors.AsType[*broker.Error](err); ok && e.Code == broker.Denied {
			return reached{}, &Denied{Cell: c.target, Reason: e.Message}
		}
		return reached{}, &wire.NotSent{Err: err}
	}
	conn := wire.Greet(nc, wire.Hello{Name: os.Getenv("CELL_NAME"), Hash: c.remote.Hash})
	go grant.Keep(conn.Done(), conn.Introduce)
	return reached{conn, grant.Instance, grant.Replicas, grant.Takes}, nil
}

// greeted waits until a cell has greeted, and closes the connection when it did not or does not serve this client.
func (c *Client) greeted(ctx context.Context, conn *wire.Conn) error {
	peer, err := conn.Peer(ctx)
	if err != nil {
		conn.Close()
		return &wire.NotSent{Err: err}
	}
	if peer.Hash != c.remote.Hash && !slices.Contains(peer.Accepts, c.remote.Hash) {
		conn.Close()
		return &Incompatible{
			Cell: c.target, Wants: c.remote.Version, WantsHash: c.remote.Hash,
			Serves: peer.Version, ServesHash: peer.Hash,
		}
	}
	return nil
}

// unreached is the caller's error for why there is no connection.
func (c *Client) unreached(err error) error {
	if _, ok := err.(*wire.NotSent); ok {
		return c.failed("", err)
	}
	return err
}

// maxAttempts bounds how often a call is made again.
const maxAttempts = 4

// try runs f on a connection, again on another one when the call certainly did not run.
func try[R any](ctx context.Context, c *Client, method string, f func(lane, uint32) (R, error)) (R, error) {
	var not tried
	for attempt := uint32(0); ; attempt++ {
		l, err := c.pool.lane(ctx, &not)
		if err != nil {
			var none R
			return none, c.unreached(err)
		}
		r, err := f(l, attempt)
		if err == nil || !c.again(ctx, l, &not, attempt, err, false) {
			return r, c.failed(method, err)
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
	m := metaOf(ctx)
	return wire.Call{
		Method: id, Request: request, Schema: schema(c.remote.Hash), Trace: m.trace, Span: m.span, Priority: m.priority,
		Attempt: attempt,
	}
}

// schema is the prefix of a hash that goes with every call.
func schema(hash string) uint64 {
	n, _ := strconv.ParseUint(hash[:min(16, len(hash))], 16, 64)
	return n
}

// Call calls a method and returns its encoded results. The request belongs to it. Generated code calls it.
func Call(ctx context.Context, c *Client, id uint32, method string, request []byte) ([]byte, error) {
	traced, span := c.calling(ctx, method)
	result, err := try(traced, c, method, func(l lane, attempt uint32) ([]byte, error) {
		span.attempt(l.r.instance)
		result, err := l.conn.Do(traced, c.call(traced, id, request, attempt))
		l.ended(err)
		return result, err
	})
	span.end(err)
	wire.Recycle(request)
	return result, err
}

// Notify sends an event. Without an error it is on its way, and nothing tells whether it arrived. Generated code calls it.
func Notify(ctx context.Context, c *Client, id uint32, method string, request []byte) error {
	traced, span := c.calling(ctx, method)
	_, err := try(traced, c, method, func(l lane, attempt uint32) ([]byte, error) {
		span.attempt(l.r.instance)
		call := c.call(traced, id, request, attempt)
		call.OneWay = true
		_, err := l.conn.Do(traced, call)
		l.release(err)
		return nil, err
	})
	span.end(err)
	return err
}

// BadResult is the error of an answer that does not decode. Generated code calls it.
func BadResult(r *Remote, method string, err *wire.FieldError) error {
	return &RemoteError{Cell: r.Need, Method: method, Message: fmt.Sprintf("the answer does not decode: %v", err)}
}
