package replicas

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cell-network/cell/sdk/wire"
)

const (
	tendEvery  = 100 * time.Millisecond
	tendCalls  = 2                // calls in that time that are worth another connection
	tendFor    = 2 * time.Minute  // without a call after which nobody looks
	idleAfter  = time.Minute      // a connection is closed that no call went to, as long as there is another one
	countAgain = 30 * time.Second // for replicas that came, while calls are made; sooner after one went
	retryAfter = time.Second      // when no other replica was there to connect to

	quietFor   = 250 * time.Millisecond // without an answer to calls, after which a replica is asked for a sign of life
	hangsAfter = 250 * time.Millisecond // without one, after which others are preferred
	lostAfter  = 3 * time.Second        // and after which its connection ends
)

var errHangs = errors.New("the cell does not react")

// tend looks after the connections of a pool with several replicas while calls are made: it ends connections to replicas that
// hang and to those not needed, and makes others.
func (p *pool) tend(end <-chan struct{}) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-end:
			return
		case <-tick.C:
		}
		if !p.look(stamp()) {
			return
		}
	}
}

// look is one round; it is false when nobody needs another one.
func (p *pool) look(now time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := time.Duration(0)
	for _, r := range slices.Clone(p.live) {
		if !r.conn.Usable() {
			p.lose(r)
			continue
		}
		r.mu.Lock()
		used, moved := r.used, r.moved
		r.mu.Unlock()
		last = max(last, used)
		switch running := r.running.Load(); {
		case running > 0 && now-max(moved, r.alive) > quietFor && !r.pinging && p.instances > 1:
			r.pinging = true
			go p.ping(r, r.conn)
		case running == 0 && now-used > idleAfter && len(p.live) > 1:
			r.conn.Close()
			p.lose(r)
		}
	}
	wanted := p.crowded || p.calls >= tendCalls
	p.crowded, p.calls = false, 0
	if wanted && p.extending == nil && p.lacks(now) {
		p.extending = make(chan struct{})
		go p.extend(p.extending)
	}
	if now-last > tendFor {
		p.end = nil
		return false
	}
	return true
}

// lacks tells whether another connection may be of use; p.mu is held.
func (p *pool) lacks(now time.Duration) bool {
	if p.closed || now < p.extendAt || len(p.live) >= maxReplicas {
		return false
	}
	if len(p.live) >= p.instances {
		return now-p.looked > p.again
	}
	taken := len(p.live)
	for _, r := range p.known {
		if r.conn == nil && r.broken(now) {
			taken++
		}
	}
	return taken < p.instances
}

// extend connects to one more replica, and closes done.
func (p *pool) extend(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), connectWithin)
	defer cancel()
	p.mu.Lock()
	avoid := p.avoid(false)
	p.mu.Unlock()
	got, err := p.dialer.Connect(ctx, avoid)
	if err == nil {
		p.told(got.Instances)
		if slices.Contains(avoid, got.Instance) { // there is no other one
			got.Conn.Close()
			err = errNoOther
		} else {
			err = p.adopt(ctx, got)
		}
	}
	p.mu.Lock()
	p.again = min(2*p.again, countAgain)
	if p.extending = nil; err != nil {
		p.extendAt = stamp() + retryAfter
	}
	p.mu.Unlock()
	close(done)
}

var errNoOther = errors.New("there is no other replica")

// fill connects to all replicas that it may, for a short time.
func (p *pool) fill(ctx context.Context) {
	limit := time.NewTimer(2 * greetWithin)
	defer limit.Stop()
	for {
		p.mu.Lock()
		if p.instances <= len(p.live) || !p.lacks(stamp()) {
			p.mu.Unlock()
			return
		}
		if p.extending == nil {
			p.extending = make(chan struct{})
			go p.extend(p.extending)
		}
		done := p.extending
		p.mu.Unlock()
		select {
		case <-done:
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// ping asks a replica for a sign of life. Without one it is not chosen as long as there are others, and in the end its connection
// ends, which tells the calls that wait.
func (p *pool) ping(r *replica, conn *wire.Conn) {
	silent := func(within time.Duration) bool {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		return errors.Is(conn.Ping(ctx), context.DeadlineExceeded)
	}
	hangs := func(yes bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		r.hangs = yes && r.conn == conn
	}
	gone := silent(hangsAfter)
	if gone {
		hangs(true)
		if gone = silent(lostAfter); gone {
			conn.Fail(errHangs)
		}
		hangs(false)
	}
	p.mu.Lock()
	r.pinging, r.alive = false, stamp()
	p.mu.Unlock()
}
