package sdk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"

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

// Client is the connection behind a generated client. A connection that ended is replaced by the next call.
type Client struct {
	remote *Remote
	target string

	mu     sync.Mutex
	conn   *wire.Conn
	dial   chan struct{} // not nil while somebody connects; closed afterwards
	closed bool
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
	c := &Client{remote: r, target: r.Need}
	for _, o := range options {
		o(c)
	}
	if _, err := c.connection(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Close ends the connection of a generated client. Calls that still run get a *Down.
func Close(c interface{ CellClient() *Client }) error {
	cl := c.CellClient()
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.closed = true
	if cl.conn != nil {
		return cl.conn.Close()
	}
	return nil
}

var errClosed = errors.New("the client was closed")

// connection returns one that is usable. Only one goroutine connects, the others wait for it.
func (c *Client) connection(ctx context.Context) (*wire.Conn, error) {
	for {
		c.mu.Lock()
		switch {
		case c.closed:
			c.mu.Unlock()
			return nil, &Down{Cell: c.target, Err: &wire.NotSent{Err: errClosed}}
		case c.conn != nil && c.conn.Usable():
			defer c.mu.Unlock()
			return c.conn, nil
		case c.dial == nil:
			done := make(chan struct{})
			c.dial = done
			c.mu.Unlock()
			conn, err := c.connect(ctx)
			c.mu.Lock()
			if c.dial = nil; err == nil {
				c.conn = conn
				if c.closed {
					conn.Close()
				}
			}
			c.mu.Unlock()
			close(done)
			return conn, err
		}
		wait := c.dial
		c.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, c.failed("", &wire.NotSent{Err: ctx.Err()})
		}
	}
}

func (c *Client) connect(ctx context.Context) (*wire.Conn, error) {
	nc, grant, err := broker.Connect(ctx, c.target, c.remote.Hash)
	if err != nil {
		if e, ok := errors.AsType[*broker.Error](err); ok && e.Code == broker.Denied {
			return nil, &Denied{Cell: c.target, Reason: e.Message}
		}
		return nil, c.failed("", &wire.NotSent{Err: err})
	}
	conn := wire.Greet(nc, wire.Hello{Name: os.Getenv("CELL_NAME"), Hash: c.remote.Hash})
	go grant.Keep(conn.Done(), conn.Introduce)
	peer, err := conn.Peer(ctx)
	if err != nil {
		conn.Close()
		return nil, c.failed("", &wire.NotSent{Err: err})
	}
	if peer.Hash != c.remote.Hash && !slices.Contains(peer.Accepts, c.remote.Hash) {
		conn.Close()
		return nil, &Incompatible{
			Cell: c.target, Wants: c.remote.Version, WantsHash: c.remote.Hash,
			Serves: peer.Version, ServesHash: peer.Hash,
		}
	}
	return conn, nil
}

// maxAttempts bounds how often a call is made again that certainly did not run.
const maxAttempts = 4

// try runs f on a connection, again on another one as long as the call certainly did not run.
func try[R any](ctx context.Context, c *Client, method string, f func(*wire.Conn, uint32) (R, error)) (R, error) {
	for attempt := uint32(0); ; attempt++ {
		conn, err := c.connection(ctx)
		if err != nil {
			var none R
			return none, err
		}
		r, err := f(conn, attempt)
		if _, not := errors.AsType[*wire.NotSent](err); not && ctx.Err() == nil && attempt+1 < maxAttempts && !conn.Usable() && !denied(err) {
			continue
		}
		return r, c.failed(method, err)
	}
}

// denied tells that no other connection would be served either.
func denied(err error) bool {
	e, ok := errors.AsType[*wire.Error](err)
	return ok && e.Code == wire.CodeDenied
}

func (c *Client) call(ctx context.Context, id uint32, request []byte, attempt uint32) wire.Call {
	m := metaOf(ctx)
	return wire.Call{
		Method: id, Request: request, Schema: schema(c.remote.Hash), Trace: m.trace, Priority: m.priority,
		Attempt: attempt,
	}
}

// schema is the prefix of a hash that goes with every call.
func schema(hash string) uint64 {
	n, _ := strconv.ParseUint(hash[:min(16, len(hash))], 16, 64)
	return n
}

// Call calls a method and returns its encoded results. Generated code calls it.
func Call(ctx context.Context, c *Client, id uint32, method string, request []byte) ([]byte, error) {
	return try(ctx, c, method, func(conn *wire.Conn, attempt uint32) ([]byte, error) {
		return conn.Do(ctx, c.call(ctx, id, request, attempt))
	})
}

// Notify sends an event. Without an error it is on its way, and nothing tells whether it arrived. Generated code calls it.
func Notify(ctx context.Context, c *Client, id uint32, method string, request []byte) error {
	_, err := try(ctx, c, method, func(conn *wire.Conn, attempt uint32) ([]byte, error) {
		call := c.call(ctx, id, request, attempt)
		call.OneWay = true
		return conn.Do(ctx, call)
	})
	return err
}

// BadResult is the error of an answer that does not decode. Generated code calls it.
func BadResult(r *Remote, method string, err *wire.FieldError) error {
	return &RemoteError{Cell: r.Need, Method: method, Message: fmt.Sprintf("the answer does not decode: %v", err)}
}
