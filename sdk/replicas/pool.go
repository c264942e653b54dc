package replicas

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cell-network/cell/sdk/wire"
)

const (
	maxReplicas   = 4                      // connections of a client
	maxKnown      = 16                     // replicas that are remembered
	greetWithin   = 100 * time.Millisecond // after which another replica is tried beside one that does not greet
	connectWithin = 10 * time.Second       // for a connection that nobody waits for
)

// Reached is a connection that was not greeted yet.
type Reached struct {
	Conn      *wire.Conn
	Instance  string
	Instances int           // that the cell has
	Takes     time.Duration // what celld knows that calls take, or 0
}

// Dialer connects to replicas of a cell.
type Dialer interface {
	// Connect reaches a replica, if possible none of those to avoid.
	Connect(ctx context.Context, avoid []string) (Reached, error)
	// Greeted waits for the greeting of a connection, and closes the connection with an error.
	Greeted(context.Context, *wire.Conn) error
}

// pool keeps connections to some replicas of a cell, and chooses among them.
type pool struct {
	dialer Dialer

	mu        sync.Mutex
	live      []*replica // with a connection
	known     []*replica // all, those of live too
	instances int        // that the cell has, as was told last
	looked    time.Duration
	again     time.Duration // after looked, when others are looked for although all that celld told of are live
	dialing   chan struct{} // not nil while a call connects; closed afterwards
	extending chan struct{} // not nil while one more is connected to in the background; closed afterwards
	extendAt  time.Duration // not before
	crowded   bool          // calls waited for one another since the last look
	calls     int           // since the last look
	closed    bool
	end       chan struct{} // closed with closed; nil while nobody tends the pool
	budget    budget
	methods   map[uint32]*methodLatency
	log       raceLog
}

// tried are the replicas that a call was made at.
type tried struct {
	all [maxAttempts]*replica
	n   int
}

func (t *tried) add(r *replica) {
	if t.n < len(t.all) {
		t.all[t.n] = r
		t.n++
	}
}

func (t *tried) has(r *replica) bool { return slices.Contains(t.all[:t.n], r) }

// choose picks a replica that was not tried, else any, and counts the call; p.mu is held.
func (p *pool) choose(not *tried) (lane, bool) {
	for len(p.live) > 0 {
		if p.instances > len(p.live) && !slices.ContainsFunc(p.live, func(r *replica) bool { return !r.hangs }) {
			break
		}
		r := p.live[0]
		var now time.Duration
		if len(p.live) > 1 {
			now = stamp()
			r = p.best(now, not)
		}
		if !r.conn.Usable() {
			p.lose(r)
			continue
		}
		if now == 0 {
			now = stamp()
		}
		p.take(r, now)
		return lane{r, r.conn, now}, true
	}
	return lane{}, false
}

// other picks a replica that was not tried, for the same call; p.mu is held.
func (p *pool) other(not *tried) (lane, bool) {
	if !p.untried(not) {
		return lane{}, false
	}
	l, ok := p.choose(not)
	if ok && not.has(l.r) { // the other one has just gone
		l.r.running.Add(-1)
		return lane{}, false
	}
	return l, ok
}

// untried tells whether there is a replica that was not tried; p.mu is held.
func (p *pool) untried(not *tried) bool {
	return slices.ContainsFunc(p.live, func(r *replica) bool { return !not.has(r) && !r.hangs })
}

// best takes two at random and of these the one with less load.
func (p *pool) best(now time.Duration, not *tried) *replica {
	var fit [maxReplicas]*replica
	n := 0
	for _, r := range p.live {
		if n < len(fit) && !r.hangs && (not == nil || !not.has(r)) {
			fit[n] = r
			n++
		}
	}
	switch n {
	case 0:
		return p.live[rand.IntN(len(p.live))]
	case 1:
		return fit[0]
	}
	i := rand.IntN(n)
	j := rand.IntN(n - 1)
	if j >= i {
		j++
	}
	a, b := fit[i], fit[j]
	unknown := max((a.cost(now)+b.cost(now))/2, leastCost)
	if b.load(now, unknown) < a.load(now, unknown) {
		return b
	}
	return a
}

// take counts a call at r.
func (p *pool) take(r *replica, now time.Duration) {
	r.begin(now)
	p.calls++
	p.log.calls++
	p.budget.earn()
	if p.instances > 1 {
		p.crowded = p.crowded || r.running.Load() > 1
		if len(p.live) > 1 {
			p.log.chose(p, r, now)
		}
		if p.end == nil {
			p.end = make(chan struct{})
			go p.tend(p.end)
		}
	}
}

// lose forgets a replica's connection; p.mu is held. Whoever left may come back soon, and celld may not have counted it meanwhile.
func (p *pool) lose(r *replica) {
	p.again = retryAfter
	r.conn, r.hangs = nil, false
	p.live = slices.DeleteFunc(p.live, func(o *replica) bool { return o == r })
}

// replicaOf is what is known of an instance; p.mu is held.
func (p *pool) replicaOf(instance string) *replica {
	for _, r := range p.known {
		if r.instance == instance {
			return r
		}
	}
	if len(p.known) >= maxKnown {
		if i := slices.IndexFunc(p.known, func(r *replica) bool { return r.conn == nil }); i >= 0 {
			p.known = slices.Delete(p.known, i, i+1)
		}
	}
	r := &replica{instance: instance}
	p.known = append(p.known, r)
	return r
}

// add makes a greeted connection one to choose. It closes one that is not wanted.
func (p *pool) add(got Reached) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.replicaOf(got.Instance)
	if r.conn != nil && !r.conn.Usable() {
		p.lose(r)
	}
	if p.closed || r.conn != nil || len(p.live) >= maxReplicas {
		got.Conn.Close()
		return
	}
	r.conn, r.hangs = got.Conn, false
	r.mu.Lock()
	r.again, r.used = 0, stamp()
	if r.measured == 0 && got.Takes > 0 {
		r.ewma, r.measured = got.Takes, stamp()
	}
	r.mu.Unlock()
	p.live = append(p.live, r)
}

// lane waits for a replica to call. Only one goroutine connects, the others wait for it.
func (p *pool) lane(ctx context.Context, not *tried) (lane, error) {
	for dials := 0; ; {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return lane{}, &wire.NotSent{Err: errClosed}
		}
		if l, ok := p.choose(not); ok {
			p.mu.Unlock()
			return l, nil
		}
		if p.dialing == nil {
			done := make(chan struct{})
			p.dialing = done
			avoid := p.avoid(true)
			p.mu.Unlock()
			err := p.first(ctx, avoid)
			p.mu.Lock()
			p.dialing = nil
			p.mu.Unlock()
			close(done)
			if dials++; err == nil && dials > maxAttempts {
				err = &wire.NotSent{Err: errFlapping}
			}
			if err != nil {
				return lane{}, err
			}
			continue
		}
		wait := p.dialing
		p.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return lane{}, &wire.NotSent{Err: ctx.Err()}
		}
	}
}

var (
	errClosed   = errors.New("the client was closed")
	errFlapping = errors.New("every connection ended as soon as it was made")
)

// avoid are the replicas that another connection should not go to: those that have one, those that are left alone and, when it
// is urgent, those that failed the last time. p.mu is held.
func (p *pool) avoid(urgent bool) (names []string) {
	now := stamp()
	for _, r := range p.known {
		if r.conn != nil || r.broken(now) || urgent && r.suspect() {
			names = append(names, r.instance)
		}
	}
	return names
}

// first connects to a replica for a call that waits. When the cell has several and one does not greet, another one is tried.
func (p *pool) first(ctx context.Context, avoid []string) error {
	results := make(chan error, maxReplicas)
	running, more := 0, true
	for n := 1; ; n++ {
		got, err := p.dialer.Connect(ctx, avoid)
		switch {
		case err != nil && running == 0:
			return err
		case err != nil:
			more = false
		default:
			p.told(got.Instances)
			avoid = append(avoid, got.Instance)
			if more = n < min(got.Instances, maxReplicas); n == 1 && !more {
				return p.adopt(ctx, got)
			}
			running++
			go func() { // goes on when the call does not wait for it any longer
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectWithin)
				defer cancel()
				results <- p.adopt(ctx, got)
			}()
		}
		for wait := true; wait; {
			var next <-chan time.Time
			if more {
				next = time.After(greetWithin)
			}
			select {
			case err := <-results:
				if running--; err == nil || running == 0 && !more {
					return err
				}
				wait = !more
			case <-next:
				wait = false
			case <-ctx.Done():
				return &wire.NotSent{Err: ctx.Err()}
			}
		}
	}
}

// adopt waits for the greeting of a connection and makes it one to choose.
func (p *pool) adopt(ctx context.Context, got Reached) error {
	p.mu.Lock()
	r := p.replicaOf(got.Instance)
	p.mu.Unlock()
	err := p.dialer.Greeted(ctx, got.Conn)
	if err == nil && r.suspect() { // half open: it has to answer first
		if err = got.Conn.Ping(ctx); err != nil {
			got.Conn.Close()
			err = &wire.NotSent{Err: err}
		}
	}
	switch {
	case err == nil:
		p.add(got)
	case !errors.Is(ctx.Err(), context.Canceled): // which the caller did
		r.failed(got.Conn, stamp())
	}
	return err
}

func (p *pool) told(instances int) {
	p.mu.Lock()
	p.instances, p.looked = instances, stamp()
	p.mu.Unlock()
}

// several tells whether the cell has more than one replica.
func (p *pool) several() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.instances > 1
}

// retry tells whether a call may be made again that l refused or, when it was lost there, may have run. Who
// refuses is only asked again elsewhere.
func (p *pool) retry(l lane, not *tried, lost bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case lost && l.r.pay():
	case !lost && !p.untried(not), !p.budget.retry():
		return false
	}
	p.log.retried++
	return true
}

// close ends all connections.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed && p.end != nil {
		close(p.end)
	}
	p.closed = true
	for _, r := range p.live {
		r.conn.Close()
	}
	p.live = nil
}
