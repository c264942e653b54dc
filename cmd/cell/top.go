package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/sdk/manifest"
	"github.com/cell-network/cell/sdk/stats"
)

func newTop() *cobra.Command {
	var every time.Duration
	var once bool
	c := &cobra.Command{
		Use: "top [NAME]", ValidArgsFunction: cellNames, Short: "Watch what running cells do", Args: args(0, 1, "at most one name"),
		Long: `Watch what running cells do: calls and errors a second, the times within which half and 99 of a hundred
calls ended, calls in flight, cores and memory, of the last interval. Cells that sleep are not shown
and are not woken. Without a terminal, or with --once, one interval is printed.`,
		Example: "  cell top\n  cell top shop --every 5s\n  cell top --once",
		RunE: func(c *cobra.Command, words []string) error {
			if every < 100*time.Millisecond {
				return &codeError{exitUsage, fmt.Sprintf("--every: %v is less than 100ms", every), nil}
			}
			rows, terminal := terminalRows(c.OutOrStdout())
			if once || !terminal {
				return watchOnce(c, words, every)
			}
			return watchTerminal(c, words, every, rows)
		},
	}
	c.Flags().DurationVar(&every, "every", time.Second, "how long an interval is")
	c.Flags().BoolVar(&once, "once", false, "print one interval and end")
	return c
}

// terminalRows tells whether out is a terminal, and a function that says how many lines it has at the moment.
func terminalRows(out io.Writer) (rows func() int, ok bool) {
	f, ok := out.(*os.File)
	if !ok {
		return nil, false
	}
	size := func() int {
		w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			return 0
		}
		return int(w.Row)
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return size, err == nil
}

func watchOnce(c *cobra.Command, words []string, every time.Duration) error {
	before, err := measure(c, words)
	if err != nil {
		return err
	}
	begun := time.Now()
	select {
	case <-c.Context().Done():
		return c.Context().Err()
	case <-time.After(every):
	}
	now, err := measure(c, words)
	if err != nil {
		return err
	}
	_, err = c.OutOrStdout().Write(table(before, now, time.Since(begun)))
	return err
}

func watchTerminal(c *cobra.Command, words []string, every time.Duration, rows func() int) error {
	out := c.OutOrStdout()
	fmt.Fprint(out, "\x1b[?1049h\x1b[?25l")       // another screen, without a cursor
	defer fmt.Fprint(out, "\x1b[?25h\x1b[?1049l") // what was there before
	var before []stats.Instance
	begun := time.Now().Add(-every)
	for {
		now, err := measure(c, words)
		if c.Context().Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		at := time.Now()
		if before == nil {
			before = now
		}
		lines := bytes.SplitAfter(table(before, now, at.Sub(begun)), []byte("\n"))
		if n := rows() - 1; n > 0 && len(lines) > n {
			lines = lines[:n]
		}
		fmt.Fprintf(out, "\x1b[H%s\x1b[J", bytes.ReplaceAll(bytes.Join(lines, nil), []byte("\n"), []byte("\x1b[K\n")))
		before, begun = now, at
		select {
		case <-c.Context().Done():
			return nil
		case <-time.After(every):
		}
	}
}

// table is what happened between two measurements: who is called most comes first.
func table(before, now []stats.Instance, passed time.Duration) []byte {
	was := map[string]stats.Instance{}
	for _, i := range before {
		was[i.Name] = i
	}
	var all []rates
	for _, i := range now {
		all = append(all, between(was[i.Name], i, passed))
	}
	slices.SortStableFunc(all, func(a, b rates) int {
		return cmp.Or(cmp.Compare(b.calls, a.calls), cmp.Compare(b.cpu, a.cpu), cmp.Compare(a.Name, b.Name))
	})
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tCALLS/S\tERRORS/S\tP50\tP99\tIN FLIGHT\tCPU\tMEMORY")
	for _, r := range all {
		if len(r.Methods) == 0 { // it speaks http or tcp, which nobody counts
			fmt.Fprintf(w, "%s\t–\t–\t–\t–\t–\t%.2f\t%s\n", r.Name, r.cpu, manifest.FormatBytes(int64(r.Memory)))
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%.2f\t%s\n", r.Name, three(r.calls), three(r.errors), short(r.latency.Quantile(0.5)), short(r.latency.Quantile(0.99)),
			r.inFlight, r.cpu, manifest.FormatBytes(int64(r.Memory)))
	}
	w.Flush()
	return b.Bytes()
}

// short is a time with three digits at most.
func short(d time.Duration) string {
	switch {
	case d == 0:
		return "–"
	case d < time.Millisecond:
		return three(float64(d)/1e3) + "µs"
	case d < time.Second:
		return three(float64(d)/1e6) + "ms"
	}
	return three(d.Seconds()) + "s"
}

// three writes a number with three digits, or all in front of the point.
func three(x float64) string {
	digits := 2
	for limit := 10.0; digits > 0 && x >= limit; limit *= 10 {
		digits--
	}
	text := strconv.FormatFloat(x, 'f', digits, 64)
	if digits > 0 {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}
