// Package stub is what generated code calls, and nobody else: programs are written with package sdk. Its functions are tied to the
// version of the generator that wrote the code, which names a constant such as V4.
package stub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cell-network/cell/sdk"
	"github.com/cell-network/cell/sdk/broker"
	"github.com/cell-network/cell/sdk/internal/generated"
	"github.com/cell-network/cell/sdk/internal/spans"
	"github.com/cell-network/cell/sdk/replicas"
	"github.com/cell-network/cell/sdk/wire"
)

// V4 is named by generated code, which so compiles only with a version of this package that it fits.
const V4 = 4

type (
	// Genome is the running form of a cell's genome.
	Genome = generated.Genome
	// Method is one served method.
	Method = generated.Method
	// Remote is a cell as its callers' generated code knows it.
	Remote = generated.Remote
	// Client is what is behind a generated client.
	Client = replicas.Client
)

// Dial connects to a cell through celld: a cell reaches those that it names in [needs] and [cells] and those below it, a
// program outside of any cell those of its user. It waits for a celld that restarts and for a cell that wakes as long as ctx
// allows, ten seconds when that has no deadline. Errors are *sdk.Down, *sdk.Denied and *sdk.Incompatible, or those of ctx.
func Dial(ctx context.Context, r *Remote, options ...sdk.DialOption) (*Client, error) {
	target := r.Need
	for _, o := range options {
		target = o.Target()
	}
	c := replicas.New(r, target, &dialer{r, target})
	if err := c.Dial(ctx); err != nil {
		return nil, failed(c, "", err)
	}
	return c, nil
}

// dialer reaches replicas through celld.
type dialer struct {
	remote *Remote
	target string
}

// Connect asks celld for a connection, if possible to none of the instances to avoid.
func (d *dialer) Connect(ctx context.Context, avoid []string) (replicas.Reached, error) {
	nc, grant, err := broker.Connect(ctx, d.target, d.remote.Hash, avoid...)
	if err != nil {
		if e, ok := errors.AsType[*broker.Error](err); ok && e.Code == broker.Denied {
			return replicas.Reached{}, &sdk.Denied{Cell: d.target, Reason: e.Message}
		}
		return replicas.Reached{}, &wire.NotSent{Err: err}
	}
	conn := wire.Greet(nc, wire.Hello{Name: os.Getenv("CELL_NAME"), Hash: d.remote.Hash})
	go grant.Keep(conn.Done(), conn.Introduce)
	return replicas.Reached{Conn: conn, Instance: grant.Instance, Instances: grant.Replicas, Takes: grant.Takes}, nil
}

// Greeted waits until a cell has greeted, and closes the connection when it did not or does not serve this client.
func (d *dialer) Greeted(ctx context.Context, conn *wire.Conn) error {
	peer, err := conn.Peer(ctx)
	if err != nil {
		conn.Close()
		return &wire.NotSent{Err: err}
	}
	if peer.Hash != d.remote.Hash && !slices.Contains(peer.Accepts, d.remote.Hash) {
		conn.Close()
		return &sdk.Incompatible{
			Cell: d.target, Wants: d.remote.Version, WantsHash: d.remote.Hash,
			Serves: peer.Version, ServesHash: peer.Hash,
		}
	}
	return nil
}

// Call calls a method and returns its encoded results. The request belongs to it.
func Call(ctx context.Context, c *Client, id uint32, method string, request []byte) ([]byte, error) {
	traced, span := spans.Calling(ctx, c.Target, method)
	result, err := c.Do(traced, span, id, request)
	return result, end(c, method, span, err)
}

// Repeat is Call for a method that is safe to repeat: it may be made again, and at several replicas.
func Repeat(ctx context.Context, c *Client, id uint32, method string, request []byte) ([]byte, error) {
	traced, span := spans.Calling(ctx, c.Target, method)
	result, err := c.Repeat(traced, span, id, request)
	return result, end(c, method, span, err)
}

// Notify sends an event. Without an error it is on its way, and nothing tells whether it arrived.
func Notify(ctx context.Context, c *Client, id uint32, method string, request []byte) error {
	traced, span := spans.Calling(ctx, c.Target, method)
	return end(c, method, span, c.Notify(traced, span, id, request))
}

// end ends the span of a call that ended with an error of the wire or none, and returns what the caller is given.
func end(c *Client, method string, span *spans.Recording, err error) error {
	err = failed(c, method, err)
	fail(span, err)
	span.End()
	return err
}

// BadResult is the error of an answer that does not decode.
func BadResult(r *Remote, method string, err *wire.FieldError) error {
	return &sdk.RemoteError{Cell: r.Need, Method: method, Message: fmt.Sprintf("the answer does not decode: %v", err)}
}
