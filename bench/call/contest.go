package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// rival does one thing in its way for about as long as it is told, and returns what it measured, in nanoseconds.
type rival struct {
	name        string
	against     string  // whose time is given in proportion to this one's; nobody's when empty
	goals       []goal  // one for each measure
	allocations float64 // of one call, below 0 when not counted
	run         func(slot time.Duration) []float64
}

// goal is how much of the rival's time Cell may take; 0 is no goal.
type goal float64

// faster is the goal to be so many times as fast.
func faster(times float64) goal { return goal(1 / times) }

// contest runs the rivals in turn, so that neighbours on the machine slow all of them alike, and prints each one's medians
// and, round by round, Cell's times in proportion to them.
func contest(out io.Writer, measures []string, rounds int, slot time.Duration, rivals []rival) {
	for _, r := range rivals {
		r.run(slot)
	}
	times := make([][][]float64, len(rivals)) // by rival, measure and round
	for i := range rivals {
		times[i] = make([][]float64, len(measures))
	}
	for range rounds {
		for i, r := range rivals {
			for m, t := range r.run(slot) {
				times[i][m] = append(times[i][m], t)
			}
		}
	}
	for m, what := range measures {
		for i, r := range rivals {
			fmt.Fprintf(out, "%-24s %-14s %8.1f µs", what, r.name, quantile(times[i][m], 2)/1e3)
			if what = ""; m == 0 && r.allocations >= 0 {
				fmt.Fprintf(out, " %4.0f allocations", r.allocations)
			} else {
				fmt.Fprintf(out, " %16s", "")
			}
			if base := slices.IndexFunc(rivals, func(o rival) bool { return o.name == r.against }); base >= 0 {
				ratios := quotients(times[base][m], times[i][m])
				fmt.Fprintf(out, "   %s takes %s ×  (%s to %s)", r.against, short(quantile(ratios, 2)), short(quantile(ratios, 1)),
					short(quantile(ratios, 3)))
				if m < len(r.goals) {
					fmt.Fprint(out, r.goals[m].verdict(quantile(ratios, 2)))
				}
			}
			fmt.Fprintln(out)
		}
	}
}

// verdict tells the goal, as a rival that is to be faster also how many times, and whether it was reached.
func (g goal) verdict(got float64) string {
	if g == 0 {
		return ""
	}
	text := ", goal ≤ " + short(float64(g))
	if g < 1 {
		text += fmt.Sprintf(" (%.3g × as fast; is %.1f ×)", 1/g, 1/got)
	}
	if got > float64(g) {
		text += ", missed"
	}
	return text
}

func short(v float64) string {
	if v < 0.2 {
		return fmt.Sprintf("%.3f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func quotients(a, b []float64) (all []float64) {
	for i := range a {
		all = append(all, a[i]/b[i])
	}
	return all
}

// quantile is the so many quarters of all.
func quantile(all []float64, quarters int) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[(len(all)-1)*quarters/4]
}

// percentile is p hundredths of all, which it sorts.
func percentile(all []float64, p int) float64 {
	slices.Sort(all)
	return all[(len(all)-1)*p/100]
}

// alone makes one call at a time, at least one, and returns the time of each.
func alone(c call, data []byte, slot time.Duration) (all []float64) {
	see := func(answer []byte) {
		if len(answer) != len(data) {
			panic(fmt.Sprintf("%d bytes came back of %d", len(answer), len(data)))
		}
	}
	for begin, last := time.Now(), time.Duration(0); last < slot || len(all) == 0; {
		try(c(data, see))
		now := time.Since(begin)
		all = append(all, float64(now-last))
		last = now
	}
	return all
}

// together makes calls by many callers at once and returns the time by the number of calls.
func together(calls []call, data []byte, slot time.Duration) float64 {
	var stop atomic.Bool
	var made atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for _, c := range calls {
		wg.Go(func() {
			n := int64(0)
			for ; !stop.Load(); n++ {
				try(c(data, unseen))
			}
			made.Add(n)
		})
	}
	time.Sleep(slot)
	stop.Store(true)
	wg.Wait()
	return float64(time.Since(begin)) / float64(max(1, made.Load()))
}

// allocations counts those of this process for one call, with all processors: with one, calls may take another path.
func allocations(c call, data []byte) float64 {
	const calls = 500
	var before, after runtime.MemStats
	for range calls {
		try(c(data, unseen))
	}
	runtime.ReadMemStats(&before)
	for range calls {
		try(c(data, unseen))
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / calls
}

func unseen([]byte) {}

func must[T any](v T, err error) T {
	try(err)
	return v
}

func try(err error) {
	if err != nil {
		panic(err)
	}
}
