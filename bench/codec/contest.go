package main

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"time"
)

// rival does one thing in its way, once.
type rival struct {
	name string
	run  func()
}

// slot is about how long a rival runs before the next one does: neighbours on the machine then slow all of them alike.
const slot = 2 * time.Millisecond

// contest runs the rivals in turn and prints each one's time, its allocations, and the first one's time in proportion to it.
func contest(out io.Writer, what string, rounds int, rivals []rival) {
	counts := make([]int, len(rivals))
	for i, r := range rivals {
		for counts[i] = 1; measure(r, counts[i]) < slot; counts[i] *= 2 {
		}
	}
	times := make([][]float64, len(rivals)) // nanoseconds
	ratios := make([][]float64, len(rivals))
	for range rounds {
		for i, r := range rivals {
			times[i] = append(times[i], float64(measure(r, counts[i]))/float64(counts[i]))
		}
		for i := range rivals {
			ratios[i] = append(ratios[i], times[0][len(times[0])-1]/times[i][len(times[i])-1])
		}
	}
	for i, r := range rivals {
		fmt.Fprintf(out, "%-32s %-18s %6.0f ns %4.0f allocations", what, r.name, quantile(times[i], 2), testing.AllocsPerRun(100, r.run))
		if i > 0 {
			fmt.Fprintf(out, "   cell takes %.2f ×  (%.2f to %.2f)", quantile(ratios[i], 2), quantile(ratios[i], 1), quantile(ratios[i], 3))
		}
		fmt.Fprintln(out)
		what = ""
	}
}

func measure(r rival, times int) time.Duration {
	begin := time.Now()
	for range times {
		r.run()
	}
	return time.Since(begin)
}

// quantile is the so many quarters of all.
func quantile(all []float64, quarters int) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[(len(all)-1)*quarters/4]
}
