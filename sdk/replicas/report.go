package replicas

import (
	"math"
	"slices"
	"strings"
	"sync"
	"time"
	"weak"
)

const (
	logEvery = 100 * time.Millisecond // at most one choice in that time is kept
	logKeeps = 16
)

// raceLog keeps the last choices of a pool, and counts.
type raceLog struct {
	last    *replica
	kept    [logKeeps]Choice
	n       int
	at      time.Duration
	calls   uint64
	hedged  uint64
	retried uint64
}

// Report says how a client chooses among the replicas of a cell.
type Report struct {
	Need       string      `json:"need"` // as the caller names the cell
	Replicas   int         `json:"replicas"`
	Calls      uint64      `json:"calls"`
	Hedged     uint64      `json:"hedged"`  // calls made at a second replica because the first was slow
	Retried    uint64      `json:"retried"` // calls made again because they failed
	Winner     string      `json:"winner"`  // of the last choice
	Candidates []Candidate `json:"candidates"`
	Choices    []Choice    `json:"choices,omitempty"` // some of the last ones, oldest first
}

// Candidate is a replica as the client sees it.
type Candidate struct {
	Instance string  `json:"instance"`
	P50      float64 `json:"p50_us"`
	Score    float64 `json:"score"` // expected microseconds times calls; the least wins. 0 when nothing is known
	InFlight int     `json:"in_flight"`
	State    string  `json:"state"` // ready, away (no connection), hangs (does not answer a PING), broken (left alone for a while)
}

// Choice is one choice.
type Choice struct {
	Time       time.Time   `json:"time"`
	Winner     string      `json:"winner"`
	Candidates []Candidate `json:"candidates"`
}

// chose notes a choice among several; p.mu is held.
func (l *raceLog) chose(p *pool, r *replica, now time.Duration) {
	l.last = r
	if l.n > 0 && now-l.at < logEvery {
		return
	}
	l.at = now
	l.kept[l.n%logKeeps] = Choice{time.Now(), r.instance, p.candidates(now, r)}
	l.n++
}

// candidates describes all known replicas. chosen has been given its call already.
func (p *pool) candidates(now time.Duration, chosen *replica) []Candidate {
	all := make([]Candidate, len(p.known))
	for i, r := range p.known {
		cost, running := r.cost(now), r.running.Load()
		if r == chosen {
			running--
		}
		r.mu.Lock()
		p50 := r.latency.quantile(0.5)
		r.mu.Unlock()
		state := "ready"
		switch {
		case r.broken(now):
			state = "broken"
		case r.conn == nil || !r.conn.Usable():
			state = "away"
		case r.hangs:
			state = "hangs"
		}
		all[i] = Candidate{
			Instance: r.instance, P50: micros(p50), Score: math.Round(micros(cost) * float64(running+1)), InFlight: int(running), State: state,
		}
	}
	slices.SortFunc(all, func(a, b Candidate) int { return strings.Compare(a.Instance, b.Instance) })
	return all
}

func micros(d time.Duration) float64 {
	return float64(d.Round(100*time.Nanosecond)) / float64(time.Microsecond)
}

// report is what the log has.
func (p *pool) report(need string) Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &p.log
	r := Report{
		Need: need, Replicas: p.instances, Calls: l.calls, Hedged: l.hedged, Retried: l.retried,
		Candidates: p.candidates(stamp(), nil),
	}
	if l.last != nil {
		r.Winner = l.last.instance
	}
	for i := max(0, l.n-logKeeps); i < l.n; i++ {
		r.Choices = append(r.Choices, l.kept[i%logKeeps])
	}
	return r
}

// clients are those of this process that somebody has.
var clients struct {
	mu  sync.Mutex
	all []weak.Pointer[Client]
}

func register(c *Client) {
	clients.mu.Lock()
	defer clients.mu.Unlock()
	clients.all = append(slices.DeleteFunc(clients.all, func(w weak.Pointer[Client]) bool { return w.Value() == nil }), weak.Make(c))
}

func unregister(c *Client) {
	clients.mu.Lock()
	defer clients.mu.Unlock()
	clients.all = slices.DeleteFunc(clients.all, func(w weak.Pointer[Client]) bool { return w.Value() == c })
}

// Reports says what the clients of this process chose.
func Reports() []Report {
	clients.mu.Lock()
	all := slices.Clone(clients.all)
	clients.mu.Unlock()
	reports := []Report{}
	for _, w := range all {
		if c := w.Value(); c != nil {
			reports = append(reports, c.pool.report(c.Target))
		}
	}
	return reports
}
