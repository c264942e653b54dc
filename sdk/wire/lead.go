package wire

import (
	"context"
	"time"
)

// lead says whose turn it is to read a client's connection. Mostly it is a goroutine of the connection's own. A caller who calls
// again and again, alone, or who takes the items of the only stream, reads itself: to be woken by another goroutine takes longer
// than most calls. Conn.mu guards it.
type lead struct {
	reader reads
	streak int       // calls and items in a row of which each was alone, and waited for
	last   time.Time // when the newest of these came
	turns  uint64    // of callers that read
	kicked bool      // the caller that reads was told to leave that to the connection's goroutine
	paced  bool
	seen   uint64 // turns when the pacer looked
}

type reads uint8

const (
	readsOwn    reads = iota // the goroutine of the connection
	readsCaller              // one of the callers
	readsNobody              // for a short time: until that caller comes again, or the pacer finds that it does not
)

const (
	// streakLeads is after how many in a row a caller reads itself.
	streakLeads = 8
	// streakGap is how far apart they are at most.
	streakGap = 5 * time.Millisecond
)

// needReader makes the connection's goroutine read when nobody does; c.mu is held.
func (c *Conn) needReader() {
	if c.lead.reader == readsNobody && c.err == nil {
		c.lead.reader, c.lead.streak = readsOwn, 0
		go c.serve()
	}
}

// leads decides whether the caller of a new call, which may take timeout nanoseconds or for ever, is to read; c.mu is held.
func (c *Conn) leads(p *pending, alone bool, timeout uint64) bool {
	if !alone {
		c.lead.streak = 0
	}
	if c.lead.reader != readsNobody {
		return false
	}
	soon := timeout > 0 && timeout < uint64(2*tick) // the end must not wait for the pacer
	switch {
	case !alone || soon || p.elsewhere || len(c.pings) > 0:
		c.needReader()
		return false
	case p.stream != nil: // who waits for its items will read
		return false
	}
	c.lead.reader = readsCaller
	c.lead.turns++
	return true
}

// serve reads until the connection ends, or a caller is to read.
func (c *Conn) serve() {
	for {
		if err := c.frame(); err != nil {
			c.readFailed(err)
			return
		}
		c.mu.Lock()
		if c.lead.streak < streakLeads || !c.mayRest() {
			c.mu.Unlock()
			continue
		}
		only := c.only()
		c.rest()
		if only == nil || !only.waitedFor() {
			return
		}
		c.mu.Lock() // it waits already, and did not know that it was to read
		if c.lead.reader != readsNobody {
			c.mu.Unlock()
			return
		}
		c.lead.reader, c.lead.streak = readsOwn, 0
		c.mu.Unlock()
	}
}

// readFailed ends the connection.
func (c *Conn) readFailed(err error) {
	c.mu.Lock()
	if c.cannot != nil && (hungUp(err) || isTimeout(err)) {
		err = c.cannot
	}
	c.mu.Unlock()
	c.end(err)
}

// mayRest says whether nobody has to read for now: there is no call, or only a stream whose items somebody comes for. c.mu is held.
func (c *Conn) mayRest() bool {
	if len(c.pings) > 0 || c.away != nil || c.cannot != nil || c.err != nil {
		return false
	}
	return len(c.calls) == 0 && c.r.idle() || c.only() != nil
}

// only is the only call when that is a stream; c.mu is held.
func (c *Conn) only() *Stream {
	if len(c.calls) != 1 {
		return nil
	}
	for _, p := range c.calls {
		return p.stream
	}
	return nil
}

// rest makes it nobody's turn to read; c.mu is held, and free afterwards.
func (c *Conn) rest() {
	c.lead.reader = readsNobody
	start := !c.lead.paced
	c.lead.paced = true
	c.mu.Unlock()
	if start {
		watch(c)
	}
}

// readFor reads until done has a value or is closed, which it tells, or for as long as the pacer lets it. The turn is the caller's.
func (c *Conn) readFor(done chan struct{}) bool {
	for {
		err := c.frame()
		got := false
		select {
		case <-done:
			got = true
		default:
		}
		c.mu.Lock()
		kicked := c.lead.kicked
		if kicked && c.cannot == nil {
			c.nc.SetReadDeadline(time.Time{})
		}
		c.lead.kicked = false
		switch {
		case err != nil && !(kicked && isTimeout(err)):
			c.mu.Unlock()
			c.readFailed(err)
			return got
		case !got && !kicked:
			c.mu.Unlock()
			continue
		case !kicked && c.mayRest():
			only := c.only()
			c.rest()
			if only != nil && only.waitedFor() {
				c.mu.Lock()
				c.needReader()
				c.mu.Unlock()
			}
		default:
			c.lead.reader = readsNobody
			c.needReader()
			c.mu.Unlock()
		}
		return got
	}
}

// readUntil reads until bell rings, which it tells, if it is nobody else's turn.
func (c *Conn) readUntil(ctx context.Context, bell chan struct{}) (rung bool) {
	c.mu.Lock()
	if c.lead.reader != readsNobody || c.err != nil {
		c.mu.Unlock()
		return false
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < 2*tick || c.only() == nil || len(c.pings) > 0 {
		c.needReader()
		c.mu.Unlock()
		return false
	}
	c.lead.reader = readsCaller
	c.lead.turns++
	c.mu.Unlock()
	select {
	case <-bell: // before it was this one's turn
		c.mu.Lock()
		c.lead.reader = readsNobody
		c.needReader()
		c.mu.Unlock()
		return true
	default:
	}
	return c.readFor(bell)
}

// cameAlone counts an answer or an item that came when nothing else was under way, and was waited for; c.mu is held.
func (c *Conn) cameAlone() {
	now := time.Now()
	if now.Sub(c.lead.last) > streakGap {
		c.lead.streak = 0
	}
	c.lead.last = now
	c.lead.streak++
}

// tick is called while a caller reads or nobody does.
func (c *Conn) tick() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.lead
	quiet := l.seen == l.turns
	l.seen = l.turns
	switch {
	case c.err != nil || l.reader == readsOwn:
		l.paced = false
		return false
	case l.reader == readsCaller:
		if quiet && !l.kicked && c.cannot == nil {
			l.kicked = true
			c.nc.SetReadDeadline(time.Unix(1, 0))
		}
		return true
	case !quiet:
		return true
	}
	c.needReader()
	l.paced = false
	return false
}
