package wire

import (
	"context"
	"sync"
	"time"
)

// callContext is the context of one call at the server. Most methods never ask for its end: it becomes one of package context only
// for those that do.
type callContext struct {
	deadline time.Time // zero without

	mu     sync.Mutex
	err    error           // while real is nil
	real   context.Context // nil until somebody asks
	cancel context.CancelFunc
}

func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }
func (c *callContext) Done() <-chan struct{}       { return c.become().Done() }

// Value is how package context finds the context from which another is derived.
func (c *callContext) Value(key any) any { return c.become().Value(key) }

func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real != nil {
		return c.real.Err()
	}
	if c.err == nil && !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		c.err = context.DeadlineExceeded
	}
	return c.err
}

func (c *callContext) become() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.real != nil:
	case c.err == context.DeadlineExceeded || c.err == nil && !c.deadline.IsZero():
		c.real, c.cancel = context.WithDeadline(context.Background(), c.deadline)
	default:
		c.real, c.cancel = context.WithCancel(context.Background())
	}
	if c.err != nil {
		c.cancel()
	}
	return c.real
}

// end ends the context, once.
func (c *callContext) end() {
	c.mu.Lock()
	if c.err == nil {
		c.err = context.Canceled
	}
	cancel := c.cancel
	c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
