package replicas

import (
	"errors"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-network/cell/sdk/wire"
)

const (
	// forget is how fast a replica's cost follows what it answers: after so long without an answer, a third of it is left. A
	// slow answer counts at once.
	forget = 500 * time.Millisecond
	// leastCost keeps a replica of which nothing is known from being given every call.
	leastCost = time.Microsecond
	// refusedCost is that of an answer that refuses work: it comes quickly and must not attract more.
	refusedCost = 50 * time.Millisecond

	mostCredit = 1024

	breakAfter = 3 // transport failures in a row after which a replica is left alone
	firstBreak = 500 * time.Millisecond
	mostBreak  = 30 * time.Second
)

// began is what stamps count from: nanoseconds since then.
var began = time.Now()

func stamp() time.Duration { return time.Since(began) }

// replica is an instance of the called cell, and what this client knows of it. That is kept when its connection ends.
type replica struct {
	instance string

	// Of the pool, under its lock.
	conn    *wire.Conn // nil while there is none
	hangs   bool       // it does not answer a PING
	pinging bool
	alive   time.Duration // when it was asked for a sign of life last

	running atomic.Int32 // calls and streams without an end

	mu       sync.Mutex
	ewma     time.Duration // peak of what it took lately
	measured time.Duration // when ewma was, 0 for never
	moved    time.Duration // when it answered last, or was given a call while it had none
	used     time.Duration // when it was given a call
	latency  histogram
	credit   int           // calls that it answered and that no lost one was made again for
	ended    *wire.Conn    // the last one that failed
	failures int           // of its transport, in a row
	again    time.Duration // when it may be tried after these
}

// cost is what a call of the replica may take: peak EWMA, not less than what the calls that it has take already. It is 0 when
// nothing is known.
func (r *replica) cost(now time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.measured == 0 {
		return 0
	}
	cost := time.Duration(float64(r.ewma) * math.Exp(-float64(now-r.measured)/float64(forget)))
	if r.running.Load() > 0 {
		cost = max(cost, now-r.moved)
	}
	return max(cost, leastCost)
}

// load is what replicas are compared by.
func (r *replica) load(now, unknown time.Duration) float64 {
	cost := r.cost(now)
	if cost == 0 {
		cost = unknown
	}
	return float64(cost) * float64(r.running.Load()+1)
}

// begin counts a call.
func (r *replica) begin(now time.Duration) {
	first := r.running.Add(1) == 1
	r.mu.Lock()
	if r.used = now; first {
		r.moved = now
	}
	r.mu.Unlock()
}

// observe counts an answer that took so long.
func (r *replica) observe(now, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.credit = min(r.credit+1, mostCredit)
	r.latency.add(took)
	r.raise(now, took, true)
	r.moved, r.failures = now, 0
}

// raise makes took count in the cost; what is no measurement counts only when it is worse. r.mu is held.
func (r *replica) raise(now, took time.Duration, measurement bool) {
	keep := math.Exp(-float64(now-r.measured) / float64(forget))
	is := time.Duration(float64(r.ewma) * keep)
	switch {
	case r.measured == 0 || took > is:
		r.ewma = took
	case measurement:
		r.ewma = took + time.Duration(float64(r.ewma-took)*keep)
	default:
		return
	}
	r.measured = now
}

// gaveUp counts a call that was not waited for any longer.
func (r *replica) gaveUp(now, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raise(now, took, false)
}

// pay takes one of the replica's credit for a call that was lost with its connection. So nobody loses a call by a replica that
// worked until it broke, and one that never answers is not given every call twice.
func (r *replica) pay() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.credit == 0 {
		return false
	}
	r.credit--
	return true
}

// failed counts a failure of the transport, once for each connection. Enough of them in a row open the breaker: the replica is left alone, each time for
// twice as long, and then tried with a PING.
func (r *replica) failed(conn *wire.Conn, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if conn == r.ended {
		return
	}
	r.ended = conn
	if r.failures++; r.failures >= breakAfter {
		r.again = now + min(firstBreak<<min(r.failures-breakAfter, 10), mostBreak)
	}
}

// broken tells whether the breaker is open.
func (r *replica) broken(now time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failures >= breakAfter && now < r.again
}

// suspect tells whether the transport failed the last time.
func (r *replica) suspect() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failures > 0
}

// lane is a replica that was chosen for a call, over its connection of that time.
type lane struct {
	r    *replica
	conn *wire.Conn
	at   time.Duration
}

// ended counts the end of a call.
func (l lane) ended(err error) {
	l.r.running.Add(-1)
	now := stamp()
	took := now - l.at
	if err == nil {
		l.r.observe(now, took)
		return
	}
	switch e := err.(type) {
	case *wire.Error:
		if e.Code == wire.CodeOverloaded {
			took = max(took, refusedCost)
		}
		l.r.observe(now, took)
	case *wire.Lost:
		l.r.failed(l.conn, now)
	case *wire.Abandoned:
		l.r.gaveUp(now, took)
	}
}

// dropped counts the end of a call that another one was quicker than.
func (l lane) dropped() { l.ended(&wire.Abandoned{Err: errOvertaken}) }

var errOvertaken = errors.New("another replica answered first")

// release counts the end of what says nothing about latency: a stream, or a call that is not answered.
func (l lane) release(err error) {
	l.r.running.Add(-1)
	if _, lost := errors.AsType[*wire.Lost](err); lost {
		l.r.failed(l.conn, stamp())
	}
}

// histogram counts durations in steps of about a fifth. Half of what it knows is forgotten after every thousand or so.
type histogram struct {
	counts [160]uint16
	total  int
}

const forgetCounts = 1024

func (h *histogram) add(d time.Duration) {
	if h.total == forgetCounts {
		h.total = 0
		for i := range h.counts {
			h.counts[i] /= 2
			h.total += int(h.counts[i])
		}
	}
	h.counts[step(d)]++
	h.total++
}

// step has four steps for each power of two.
func step(d time.Duration) int {
	n := uint64(max(d, 4))
	e := bits.Len64(n) - 3
	return min(4*e+int(n>>e)&3, 159)
}

// quantile is the upper end of the step that q of all durations are below, 0 when there are none.
func (h *histogram) quantile(q float64) time.Duration {
	left := int(math.Ceil(q * float64(h.total)))
	if left == 0 {
		return 0
	}
	for i, n := range h.counts {
		if left -= int(n); left <= 0 {
			return time.Duration(5+i%4) << (i / 4)
		}
	}
	return 0
}
