package replicas

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cell-network/cell/sdk/internal/spans"
	"github.com/cell-network/cell/sdk/wire"
)

const (
	firstHedge = 100 * time.Millisecond // while little is known of a method
	leastHedge = time.Millisecond
	mostHedge  = time.Second
	hedgeKnows = 20 // calls after which enough is known
	hedgeEvery = 32 // calls after which the delay is found anew
)

// methodLatency is how long a method's calls take, at whatever replica.
type methodLatency struct {
	latency histogram
	known   int
	delay   time.Duration
}

func (m *methodLatency) add(took time.Duration) {
	m.latency.add(took)
	if m.known++; m.known == hedgeKnows || m.known%hedgeEvery == 0 {
		m.delay = min(max(m.latency.quantile(0.95), leastHedge), mostHedge)
	}
}

// hedgeDelay is how long a call of a method may take before it is made at another replica, too: as long as all but one of
// twenty take.
func (p *pool) hedgeDelay(id uint32) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.methods[id]; m != nil && m.delay > 0 {
		return m.delay
	}
	return firstHedge
}

func (p *pool) took(id uint32, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.methods[id]
	if m == nil {
		if p.methods == nil {
			p.methods = map[uint32]*methodLatency{}
		}
		m = &methodLatency{}
		p.methods[id] = m
	}
	m.add(d)
}

// hedge picks another replica for a call that is slow, if the budget allows.
func (p *pool) hedge(not *tried) (lane, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.untried(not) {
		p.crowded = true // one more would be of use
		return lane{}, false
	}
	if !p.budget.hedge() {
		return lane{}, false
	}
	p.log.hedged++
	return p.other(not)
}

type raceKey struct{}

// Race makes the calls with the context, of methods that are safe to repeat, at all replicas at once that the client is connected to.
func Race(ctx context.Context) context.Context { return context.WithValue(ctx, raceKey{}, true) }

// Repeat is Do for a method that is safe to repeat: a call that takes longer than all but a twentieth of the method's calls is
// made at a second replica, too, and one that was lost with its connection is made again. Calls that are made twice are no more
// than a twentieth of all, a few at the beginning excepted and those that broke with a connection that worked.
func (c *Client) Repeat(ctx context.Context, span *spans.Recording, id uint32, request []byte) ([]byte, error) {
	var not tried
	race := ctx.Value(raceKey{}) != nil
	for attempt := uint32(0); ; {
		l, err := c.pool.lane(ctx, &not)
		if err != nil {
			return nil, err
		}
		h := hedge{c: c, call: c.call(ctx, id, request, attempt), span: span, not: not, race: race}
		result, err := h.run(ctx, l)
		attempt = h.call.Attempt
		if err == nil || !c.again(ctx, h.last, &not, attempt, err, true) {
			wire.Recycle(request)
			if h.last.r != nil {
				span.Answered(h.last.r.instance)
			}
			return result, err
		}
		attempt++
	}
}

// hedge is one call at one replica or at several.
type hedge struct {
	c    *Client
	call wire.Call
	span *spans.Recording // nil when none is recorded
	not  tried            // where it was made
	race bool
	last lane // where it failed

	runs [maxReplicas]attempt
	n    int
}

type attempt struct {
	lane
	started wire.Started
}

func (h *hedge) start(ctx context.Context, l lane) error {
	h.not.add(l.r)
	h.span.Attempt(l.r.instance)
	s, err := l.conn.Start(ctx, h.call)
	if err != nil {
		l.release(err)
		h.last = l
		return err
	}
	for i := range h.runs {
		if h.runs[i].started == (wire.Started{}) {
			h.runs[i] = attempt{l, s}
			h.n++
			break
		}
	}
	return nil
}

// end takes one run out.
func (h *hedge) end(i int) attempt {
	r := h.runs[i]
	h.runs[i] = attempt{}
	h.n--
	return r
}

// drop gives up all runs that are left.
func (h *hedge) drop() {
	for i := range h.runs {
		if h.runs[i].started != (wire.Started{}) {
			r := h.end(i)
			r.started.Abandon()
			r.dropped()
		}
	}
}

var timers = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}}

// run makes the call at l, and at others when that takes long.
func (h *hedge) run(ctx context.Context, l lane) ([]byte, error) {
	p := &h.c.pool
	if !p.several() { // nowhere else to go
		h.span.Attempt(l.r.instance)
		result, err := l.conn.Do(ctx, h.call)
		l.ended(err)
		h.last = l
		return result, err
	}
	if h.race {
		p.fill(ctx)
	}
	if err := h.start(ctx, l); err != nil {
		return nil, err
	}
	for h.race && h.n < maxReplicas {
		p.mu.Lock()
		o, ok := p.other(&h.not)
		p.mu.Unlock()
		if !ok {
			break
		}
		h.call.Attempt++
		_ = h.start(ctx, o) // the others are there
	}
	timer := timers.Get().(*time.Timer)
	defer timers.Put(timer)
	defer timer.Stop()
	delay := p.hedgeDelay(h.call.Method)
	timer.Reset(delay)
	for {
		i := 0
		select {
		case <-h.runs[0].started.Done():
		case <-h.runs[1].started.Done():
			i = 1
		case <-h.runs[2].started.Done():
			i = 2
		case <-h.runs[3].started.Done():
			i = 3
		case <-timer.C:
			if h.n == 1 {
				if o, ok := p.hedge(&h.not); ok {
					h.call.Attempt++
					_ = h.start(ctx, o) // the first is there
				}
				timer.Reset(delay)
			}
			continue
		case <-ctx.Done():
			h.drop()
			return nil, &wire.Abandoned{Err: ctx.Err()}
		}
		r := h.end(i)
		result, err := r.started.Result()
		r.ended(err)
		h.last = r.lane
		if err != nil && h.n > 0 && !answered(err) {
			continue // another one may do better
		}
		if err == nil {
			p.took(h.call.Method, stamp()-l.at)
		}
		h.drop()
		return result, err
	}
}

// answered tells whether an error is what the called method answered.
func answered(err error) bool {
	e, ok := errors.AsType[*wire.Error](err)
	return ok && !(e.Code == wire.CodeOverloaded && e.NotExecuted)
}
