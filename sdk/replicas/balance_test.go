package replicas

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cell-network/cell/sdk/wire"
)

// simulation has callers that call replicas of a given latency, on a clock of its own.
type simulation struct {
	pool    pool
	latency [3]time.Duration
	calls   [3]int
}

// run lets eight callers call for so long and returns each replica's share of the calls.
func (s *simulation) run(t *testing.T, d time.Duration) (share [3]float64) {
	t.Helper()
	end := time.Now().Add(d)
	s.calls = [3]int{}
	done := make(chan struct{})
	for range 8 {
		go func() {
			for time.Now().Before(end) {
				s.pool.mu.Lock()
				now := stamp()
				r := s.pool.best(now, nil)
				r.begin(now)
				i := slices.Index(s.pool.live, r)
				s.calls[i]++
				took := s.latency[i]
				s.pool.mu.Unlock()
				time.Sleep(took)
				lane{r: r, at: now}.ended(nil)
			}
			done <- struct{}{}
		}()
	}
	for range 8 {
		<-done
	}
	all := s.calls[0] + s.calls[1] + s.calls[2]
	for i, n := range s.calls {
		share[i] = float64(n) / float64(all)
	}
	return share
}

// A replica that becomes slow loses its calls within a second and gets them back when it is well again.
func TestBalance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &simulation{latency: [3]time.Duration{time.Millisecond, time.Millisecond, time.Millisecond}}
		for _, name := range []string{"a", "b", "c"} {
			s.pool.live = append(s.pool.live, s.pool.replicaOf(name))
		}
		if share := s.run(t, 2*time.Second); slices.Min(share[:]) < 0.2 {
			t.Errorf("equal replicas get %.2f", share)
		}
		s.latency[1] = 200 * time.Millisecond
		s.run(t, time.Second)
		if share := s.run(t, 2*time.Second); share[1] > 0.02 || share[0] < 0.3 || share[2] < 0.3 {
			t.Errorf("with b slow they get %.2f", share)
		}
		s.latency[1] = time.Millisecond
		s.run(t, 3*time.Second)
		if share := s.run(t, 2*time.Second); share[1] < 0.2 {
			t.Errorf("with b well again they get %.2f", share)
		}
		s.latency[1] = time.Hour // it does not answer at all: what hangs counts before there is an answer
		go s.run(t, 2*time.Second)
		time.Sleep(time.Second)
		s.pool.mu.Lock()
		s.calls = [3]int{}
		s.pool.mu.Unlock()
		time.Sleep(900 * time.Millisecond)
		s.pool.mu.Lock()
		if s.calls[1] > 0 || s.calls[0]+s.calls[2] < 100 {
			t.Errorf("with b hanging they get %d", s.calls)
		}
		s.pool.mu.Unlock()
		time.Sleep(2 * time.Hour)
	})
}

// Failures in a row open the breaker, each time for longer; an answer closes it.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &replica{}
		lost := func() { r.begin(stamp()); lane{r: r, conn: new(wire.Conn), at: stamp()}.ended(&wire.Lost{}) }
		for range breakAfter - 1 {
			lost()
		}
		if r.broken(stamp()) || !r.suspect() {
			t.Error("it opened too early")
		}
		for _, d := range []time.Duration{firstBreak, 2 * firstBreak, 4 * firstBreak} {
			lost()
			time.Sleep(d - time.Millisecond)
			if !r.broken(stamp()) {
				t.Errorf("closed before %v", d)
			}
			time.Sleep(2 * time.Millisecond)
			if r.broken(stamp()) {
				t.Errorf("still open after %v", d)
			}
		}
		for range 60 {
			lost()
		}
		if time.Sleep(mostBreak + time.Millisecond); r.broken(stamp()) {
			t.Errorf("open for more than %v", mostBreak)
		}
		lost()
		r.begin(stamp())
		lane{r: r, at: stamp()}.ended(&wire.Error{Code: wire.CodeRemote}) // an answer, too
		if r.broken(stamp()) || r.suspect() {
			t.Error("an answer does not close it")
		}
		if n := r.running.Load(); n != 0 {
			t.Errorf("%d calls run", n)
		}
	})
}

// One slow answer counts at once, and replicas that refuse quickly do not attract calls.
func TestCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &replica{}
		r.begin(stamp())
		lane{r: r, at: stamp()}.ended(&wire.Error{Code: wire.CodeOverloaded})
		if c := r.cost(stamp()); c != refusedCost {
			t.Errorf("a refusal costs %v", c)
		}
		time.Sleep(time.Millisecond)
		now := stamp()
		if r.observe(now, time.Second); r.cost(now) != time.Second {
			t.Errorf("a slow answer costs %v", r.cost(now))
		}
	})
}

func TestHistogram(t *testing.T) {
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("nothing has a median")
	}
	var all []time.Duration
	for range forgetCounts {
		d := time.Duration(rand.ExpFloat64() * float64(time.Millisecond))
		all = append(all, d)
		h.add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.05, 0.5, 0.95, 1} {
		exact := all[int(math.Ceil(q*float64(len(all))))-1]
		if got := h.quantile(q); float64(got) < 0.99*float64(exact) || float64(got) > 1.26*float64(exact)+8 {
			t.Errorf("quantile %v is %v, told as %v", q, exact, got)
		}
	}
	// What is new counts more than what is old.
	for range 3 * forgetCounts {
		h.add(time.Second)
	}
	if got := h.quantile(0.25); got < time.Second {
		t.Errorf("a quarter is below %v", got)
	}
	for _, d := range []time.Duration{-1, 0, 1, 3, 4, 7, 8, 1<<63 - 1} {
		h.add(d)
	}
	for d := time.Duration(4); d < 1<<42; d += d/7 + 1 {
		if upper := time.Duration(5+step(d)%4) << (step(d) / 4); d >= upper || float64(upper) > 1.26*float64(d)+1 {
			t.Fatalf("%d is counted below %d", d, upper)
		}
	}
}

// A budget is a twentieth of the calls, and some at the beginning; who only is slow gets half of these.
func TestBudget(t *testing.T) {
	b := budget{budgetBurst}
	n := 0
	for b.hedge() {
		n++
	}
	if n != budgetBurst/2+1 {
		t.Errorf("%d hedges at the beginning", n)
	}
	for range 1000 {
		b.earn()
		if b.hedge() {
			n++
		}
	}
	if n < 60 || n > 70 {
		t.Errorf("%d hedges for 1000 calls", n)
	}
	for n = 0; b.retry(); n++ {
	}
	if n < budgetBurst/2-2 || n > budgetBurst/2 {
		t.Errorf("%d are left to calls that failed", n)
	}
}
