// Command client is a cell that calls the probe, wherever that runs.
package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cell-network/cell/sdk"
	"github.com/cell-network/cell/tests/mesh/testdata/client/cells/probe"
)

// Client keeps one client of the probe.
type Client struct {
	probe func() (*probe.Probe, error)
}

// Ask calls the probe n times and returns where it ran and how it failed, and how often.
func (c *Client) Ask(ctx context.Context, n int64) (times map[string]int64, err error) {
	p, err := c.probe()
	if err != nil {
		return nil, err
	}
	times = map[string]int64{}
	for range n {
		home, err := p.Home(ctx)
		if err != nil {
			home = fmt.Sprint("failed: ", err)
		}
		times[home]++
	}
	return times, nil
}

// Time calls the probe n times, one after the other, and returns what half of the calls took at most, in nanoseconds.
func (c *Client) Time(ctx context.Context, n int64) (median int64, err error) {
	p, err := c.probe()
	if err != nil {
		return 0, err
	}
	var all []time.Duration
	for range n {
		begun := time.Now()
		if _, err := p.Home(ctx); err != nil {
			return 0, err
		}
		all = append(all, time.Since(begun))
	}
	slices.Sort(all)
	return int64(all[len(all)/2]), nil
}

func main() {
	sdk.Main(&Client{sync.OnceValues(func() (*probe.Probe, error) { return probe.Dial(context.Background()) })})
}
