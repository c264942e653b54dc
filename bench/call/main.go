// Command call measures calls between two processes over a Unix socket, side by side in one run: what sdk/wire takes, what
// nothing but the socket takes, and what other libraries do. The server is this program once more.
package main

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"
)

const (
	small       = 64
	large       = 64 << 10
	manyCallers = 64
	itemSize    = 64 << 10
	idleConns   = 10000
)

// limit is when a run is given up; it takes about half of that.
const limit = 2 * time.Minute

func main() {
	child()
	rounds := flag.Int("rounds", 31, "how often each rival runs")
	only := flag.String("only", "", "what is measured, by a part of its name")
	flag.Parse()
	time.AfterFunc(limit, func() {
		fmt.Fprintln(os.Stderr, "call: given up after", limit)
		os.Exit(1)
	})
	if err := run(os.Stdout, *rounds, *only); err != nil {
		fmt.Fprintln(os.Stderr, "call:", err)
		os.Exit(1)
	}
}

// run does all parts whose name has only in it.
func run(out io.Writer, rounds int, only string) error {
	b, err := newBed()
	if err != nil {
		return err
	}
	defer b.close()
	for _, part := range []struct {
		name string
		run  func(io.Writer, int) error
	}{
		{"one call at a time", b.single},
		{"many callers", b.many},
		{"stream", b.stream},
		{"fairness", b.fairness},
		{"idle connections", b.idle}, // last: its connections weigh on this process, too
	} {
		if !strings.Contains(part.name, only) {
			continue
		}
		if err := part.run(out, rounds); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// message has so many bytes, which do not compress.
func message(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// aims are the goals for a rival: a small call's median, a large one's, and that of many callers at once.
type aims struct{ small, large, many goal }

var goals = map[string]aims{
	kindRaw:     {small: 1.3, large: 1.2},
	kindGRPC:    {small: faster(4), large: faster(4), many: faster(12)},
	kindTTRPC:   {small: faster(2.3), large: faster(3), many: faster(7)},
	kindDRPC:    {small: faster(2.3), large: faster(3), many: faster(7)},
	kindConnect: {small: faster(2.3), large: faster(3), many: faster(7)},
}

// opponent is whose time is compared with a kind's: the one that does as much with the message.
func opponent(kind string) string {
	switch kind {
	case kindCell, kindMessage:
		return ""
	case kindRaw:
		return kindCell
	}
	return kindMessage
}

func (b *bed) single(out io.Writer, rounds int) error {
	for _, part := range []struct {
		name string
		size int
		goal func(aims) goal
	}{
		{"64 B", small, func(a aims) goal { return a.small }},
		{"64 KiB", large, func(a aims) goal { return a.large }},
	} {
		data := message(part.size)
		var rivals []rival
		for _, t := range transports() {
			c, err := b.dial(t)
			if err != nil {
				return err
			}
			defer c.close()
			rivals = append(rivals, rival{
				name: t.name, against: opponent(t.name), goals: []goal{part.goal(goals[t.name])},
				allocations: allocations(c.call, data),
				run: func(slot time.Duration) []float64 {
					all := alone(c.call, data, slot)
					return []float64{percentile(all, 50), percentile(all, 99)}
				},
			})
		}
		contest(out, []string{part.name + ": p50", part.name + ": p99"}, rounds, 25*time.Millisecond, rivals)
	}
	return nil
}

func (b *bed) dial(t transport) (client, error) {
	s, err := b.server(t.name)
	if err != nil {
		return client{}, err
	}
	return t.dial(s.socket)
}

func (b *bed) many(out io.Writer, rounds int) error {
	data := message(small)
	var rivals []rival
	for _, t := range transports() {
		s, err := b.server(t.name)
		if err != nil {
			return err
		}
		calls, closeAll, err := dialMany(t, s.socket, manyCallers)
		if err != nil {
			return err
		}
		defer closeAll()
		rivals = append(rivals, rival{
			name: t.name, against: opponent(t.name), goals: []goal{goals[t.name].many}, allocations: -1,
			run: func(slot time.Duration) []float64 { return []float64{together(calls, data, slot)} },
		})
	}
	contest(out, []string{"64 callers, 64 B: a call"}, rounds, 30*time.Millisecond, rivals)
	return nil
}
