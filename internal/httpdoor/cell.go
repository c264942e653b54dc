package httpdoor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/wire"
)

// cell is a connection to a cell and what that cell serves. A connection that ended is replaced by the next call, with a
// genome of its own: another version may answer.
type cell struct {
	name   string
	dial   func(context.Context, string) (*wire.Conn, error)
	log    func(message string, args ...any)
	lock   chan struct{} // holds what follows; one connects, the others wait for it
	conn   *wire.Conn
	genome *genome.Genome
}

// connectWithin is how long a call waits for a cell that does not answer, when the caller sets no time.
const connectWithin = 10 * time.Second

func (c *cell) connection(ctx context.Context) (_ *wire.Conn, _ *genome.Genome, err error) {
	defer func() {
		if err != nil && !errors.Is(err, context.Canceled) {
			c.log(err.Error(), "error", errors.Unwrap(err))
		}
	}()
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	select { // a lock that is free is taken also when the time is over: the call says so, in its way
	case c.lock <- struct{}{}:
	default:
		select {
		case c.lock <- struct{}{}:
		case <-ctx.Done():
			if err := caller.Err(); err != nil {
				return nil, nil, err
			}
			return nil, nil, &unreachable{c.name, ctx.Err()}
		}
	}
	defer func() { <-c.lock }()
	if c.conn != nil && c.conn.Usable() {
		return c.conn, c.genome, nil
	}
	conn, err := c.dial(ctx, c.name)
	if err != nil {
		return nil, nil, &unreachable{c.name, err}
	}
	data, err := conn.Call(ctx, 0, nil) // the built-in method that answers the genome
	if err != nil {
		conn.Close()
		return nil, nil, &unreachable{c.name, err}
	}
	g, err := genome.Parse(data)
	if err != nil {
		conn.Close()
		return nil, nil, &unreachable{c.name, fmt.Errorf("its genome: %w", err)}
	}
	c.conn, c.genome = conn, g
	return conn, g, nil
}

func (c *cell) close() {
	c.lock <- struct{}{}
	if c.conn != nil {
		c.conn.Close()
	}
	<-c.lock
}

// unreachable is the error of a call that did not get as far as its cell. Its text does not say why: that is for those who
// run the door, and in its log.
type unreachable struct {
	cell string
	err  error
}

func (e *unreachable) Error() string { return fmt.Sprintf("cell %s is not reachable", e.cell) }
func (e *unreachable) Unwrap() error { return e.err }

// maxAttempts bounds how often a call is made again that certainly did not run.
const maxAttempts = 4

// try runs f on a connection, and again on another as long as the call certainly did not run. What f makes of the call fits
// the genome that goes with the connection.
func try[R any](ctx context.Context, t *target, f func(*wire.Conn, *genome.Genome, *genome.Method) (R, error)) (R, *genome.Genome, *failure) {
	var none R
	for attempt := 1; ; attempt++ {
		conn, g, err := t.cell.connection(ctx)
		if err != nil {
			return none, nil, failed(nil, err)
		}
		m, wrong := t.find(g)
		if wrong != nil {
			return none, nil, wrong
		}
		r, err := f(conn, g, m)
		if err == nil {
			return r, g, nil
		}
		if _, not := errors.AsType[*wire.NotSent](err); !not || ctx.Err() != nil || conn.Usable() || attempt == maxAttempts {
			return none, nil, failed(g, err)
		}
	}
}
