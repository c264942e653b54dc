package wire

import (
	"sync/atomic"
	"time"
)

// Handing a call to another goroutine takes longer than most methods do: what was quick of late is run by the goroutine that
// reads. When it is not quick this time another one goes on to read.
const (
	quickAlone = 20 * time.Microsecond
	// quickAmong holds when further calls have come, which could run at the same time.
	quickAmong = 4 * time.Microsecond
	// unknown is what a method is taken for that was not called yet, and the longest time that counts.
	unknown = time.Millisecond
	// shareOfOne is how long a connection's calls are run in one go before others have their turn.
	shareOfOne = 50 * time.Microsecond
)

// pace is how long methods took of late, in nanoseconds, by the last byte of their ids.
type pace [256]atomic.Int64

func (p *pace) init() {
	for i := range p {
		p[i].Store(int64(unknown))
	}
}

func (p *pace) of(method uint32) time.Duration { return time.Duration(p[method%256].Load()) }

// took takes a new time into account. Of two at once one may be lost.
func (p *pace) took(method uint32, d time.Duration) {
	e := &p[method%256]
	old := e.Load()
	e.Store(old + (int64(min(d, unknown))-old)/8)
}

// turn is the right, and the duty, to read a connection. It is of the goroutine that reads, which may run methods meanwhile:
// then its count is odd, and another goroutine may take the turn by making it even.
type turn struct{ count atomic.Uint64 }

func (t *turn) begin() (mine uint64) { return t.count.Add(1) }

// end is false when the turn was taken.
func (t *turn) end(mine uint64) bool { return t.count.CompareAndSwap(mine, mine+1) }

// seen is what count was when somebody looked; running says that a method was being run.
func (t *turn) seen() (count uint64, running bool) {
	n := t.count.Load()
	return n, n%2 == 1
}

// tick is called while calls are run by the goroutine that reads. It gives the turn to another when that takes long, and is
// false when there was none of late.
func (c *serverConn) tick() bool {
	count, running := c.turn.seen()
	last := c.lastSeen
	c.lastSeen = count
	switch {
	case count != last:
		c.quiet = 0
		return true
	case running:
		if c.turn.end(count) {
			c.w.push() // what was held back
			go c.readOn()
		}
		return true
	}
	if c.quiet++; c.quiet < quietTicks {
		return true
	}
	c.quiet = 0
	c.paced.Store(false)
	if now, _ := c.turn.seen(); now != count { // begun before it could see that
		return c.paced.CompareAndSwap(false, true)
	}
	return false
}
