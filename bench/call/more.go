package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/cell-network/cell/sdk/wire"
)

// stream compares the items of a stream with a copy through a raw socket.
func (b *bed) stream(out io.Writer, rounds int) error {
	s, err := b.server(kindCell)
	if err != nil {
		return err
	}
	conn, err := dialWire(s.socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if s, err = b.server(kindCopy); err != nil {
		return err
	}
	nc, err := net.Dial("unix", s.socket)
	if err != nil {
		return err
	}
	defer nc.Close()

	const items = 512 // 32 MiB
	count := binary.LittleEndian.AppendUint32(nil, items)
	item := make([]byte, itemSize)
	contest(out, []string{"items out, 64 KiB: each"}, rounds, 0, []rival{
		{name: kindCell, allocations: -1, run: func(time.Duration) []float64 {
			begin := time.Now()
			s := must(conn.Open(context.Background(), wire.Call{Method: methodItems, Request: count}, false, true))
			defer s.Close()
			n := 0
			for {
				item, err := s.Recv()
				if err == io.EOF {
					break
				}
				try(err)
				n += len(item)
				wire.Recycle(item) // as package sdk does
			}
			if n != items*itemSize {
				panic(fmt.Sprintf("%d bytes of items came", n))
			}
			return []float64{float64(time.Since(begin)) / items}
		}},
		{name: kindRaw, against: kindCell, goals: []goal{1 / 0.8}, allocations: -1, run: func(time.Duration) []float64 {
			begin := time.Now()
			must(nc.Write(count))
			for range items {
				must(io.ReadFull(nc, item))
			}
			return []float64{float64(time.Since(begin)) / items}
		}},
	})
	return nil
}

// fairness measures how long a light caller waits while a heavy one, another process with another connection, has 64 calls
// of 64 KiB under way all the time.
func (b *bed) fairness(out io.Writer, rounds int) error {
	const (
		calls   = 400 // of a round: its p99 leaves four out
		longest = 500 * time.Millisecond
	)
	data := message(small)
	type caller struct {
		transport
		client
		heavy                *process
		idle, loaded, ratios []float64
	}
	var all []*caller
	for _, kind := range []string{kindCell, kindRaw, kindGRPC} {
		t, _ := named(kind)
		c, err := b.dial(t)
		if err != nil {
			return err
		}
		defer c.close()
		heavy, err := start(roleLoad, kind, b.servers[kind].socket)
		if err != nil {
			return err
		}
		defer heavy.stop()
		all = append(all, &caller{transport: t, client: c, heavy: heavy})
	}
	p99 := func(c *caller) float64 {
		var times []float64
		for begin := time.Now(); len(times) < calls && time.Since(begin) < longest; {
			times = append(times, alone(c.call, data, 0)...)
		}
		return percentile(times, 99)
	}
	for range max(1, rounds/3) {
		for _, c := range all {
			c.idle = append(c.idle, p99(c))
			if err := c.heavy.toggle(); err != nil {
				return err
			}
			c.loaded = append(c.loaded, p99(c))
			if err := c.heavy.toggle(); err != nil {
				return err
			}
		}
	}
	what := "light caller: p99"
	for _, c := range all {
		c.ratios = quotients(c.loaded, c.idle)
		fmt.Fprintf(out, "%-24s %-14s %8.1f µs, with a heavy one %8.1f µs: %.2f ×  (%.2f to %.2f)", what, c.name, quantile(c.idle, 2)/1e3,
			quantile(c.loaded, 2)/1e3, quantile(c.ratios, 2), quantile(c.ratios, 1), quantile(c.ratios, 3))
		if what = ""; c.name == kindCell {
			fmt.Fprint(out, goal(2).verdict(quantile(c.ratios, 2)))
		}
		fmt.Fprintln(out)
	}
	return nil
}

// idle measures how much a server grows with connections that have made one call each and wait.
func (b *bed) idle(out io.Writer, _ int) error {
	what := fmt.Sprintf("%d idle connections", idleConns)
	for _, kind := range []string{kindCell, kindRaw} {
		t, _ := named(kind)
		grown, err := b.growth(t)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%-24s %-14s %8.1f kB each\n", what, kind, float64(grown)/idleConns/1e3)
		what = ""
	}
	return nil
}

func (b *bed) growth(t transport) (grown int64, err error) {
	s, err := start(roleServe, t.name, filepath.Join(b.dir, "idle-"+strings.ReplaceAll(t.name, " ", "-")))
	if err != nil {
		return 0, err
	}
	defer s.stop()
	data := message(small)
	var before int64
	for i := range idleConns + 1 {
		c, err := t.dial(s.socket)
		if err != nil {
			return 0, err
		}
		defer c.close()
		if err := c.call(data, unseen); err != nil {
			return 0, err
		}
		if i == 0 { // the first also brings in what all share
			if before, err = s.resident(); err != nil {
				return 0, err
			}
		}
	}
	time.Sleep(200 * time.Millisecond)
	after, err := s.resident()
	if err == nil && after <= before {
		err = errors.New("the server did not grow")
	}
	return after - before, err
}
