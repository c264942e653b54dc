package wire

import "time"

// lead says whose turn it is to read a client's connection. Mostly it is a goroutine of the connection's own. A caller who calls
// again and again, alone, reads its answers itself: to be woken by another goroutine takes longer than most calls. Conn.mu guards
// it.
type lead struct {
	reader reads
	streak int       // calls in a row of which each was alone
	last   time.Time // when the newest of these was answered
	kicked bool      // the caller that reads was told to leave that to the connection's goroutine
	paced  bool
	newest uint64 // call when the pacer looked
}

type reads uint8

const (
	readsOwn    reads = iota // the goroutine of the connection
	readsCaller              // the caller of the only call
	readsNobody              // between two calls of such a caller, or until the pacer finds that there are no more
)

const (
	// streakLeads is after how many calls in a row a caller reads its answers itself.
	streakLeads = 8
	// streakGap is how far apart calls of a row are at most.
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
	if !alone || soon || p.elsewhere || len(c.pings) > 0 {
		c.needReader()
		return false
	}
	c.lead.reader = readsCaller
	return true
}

// serve reads until the connection ends, or a caller is to read.
func (c *Conn) serve() {
	for {
		if err := c.frame(); err != nil {
			c.readFailed(err)
			return
		}
		if c.leaves() {
			return
		}
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

// leaves says, after a frame, whether the connection's goroutine leaves reading to callers.
func (c *Conn) leaves() bool {
	c.mu.Lock()
	if c.lead.streak < streakLeads || len(c.calls) > 0 || !c.mayRest() {
		c.mu.Unlock()
		return false
	}
	c.rest()
	return true
}

// mayRest says whether nothing has to be read for now; c.mu is held.
func (c *Conn) mayRest() bool {
	return len(c.calls) == 0 && len(c.pings) == 0 && c.away == nil && c.cannot == nil && c.r.idle()
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

// readFor reads until p has its answer, or for as long as the pacer lets it.
func (c *Conn) readFor(p *pending) {
	for {
		err := c.frame()
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
			return
		case len(p.done) == 0 && !kicked:
			c.mu.Unlock()
		case c.mayRest():
			c.rest()
			return
		default:
			c.lead.reader, c.lead.streak = readsOwn, 0
			c.mu.Unlock()
			go c.serve()
			return
		}
	}
}

// answeredAlone counts a call that was answered when no other was under way; c.mu is held.
func (c *Conn) answeredAlone() {
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
	quiet := l.newest == c.last
	l.newest = c.last
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
	}
	if !quiet {
		return true
	}
	c.needReader()
	l.paced = false
	return false
}
