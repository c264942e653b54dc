package gpu

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cell-network/cell/sdk/api"
)

// Hung is the error of a driver that has not answered yet.
type Hung struct {
	What  string
	Since time.Time
}

func (e *Hung) Error() string {
	return fmt.Sprintf("the driver has not answered %q for %v; what runs on its devices is left alone", e.What, time.Since(e.Since).Round(time.Second))
}

// errBusy says that somebody else is waited for.
var errBusy = errors.New("the driver is busy")

// Guard makes the calls of a driver one at a time, and waits for none longer than its patience: a library that hangs for minutes, as
// NVML does when a device falls off its bus, must not take those with it who ask. While a call hangs all others fail at once.
type Guard struct {
	driver   Driver
	patience time.Duration

	turn chan struct{} // has a value while nobody calls

	mu    sync.Mutex
	what  string
	since time.Time
}

// NewGuard guards d.
func NewGuard(d Driver, patience time.Duration) *Guard {
	g := &Guard{driver: d, patience: patience, turn: make(chan struct{}, 1)}
	g.turn <- struct{}{}
	return g
}

// run calls f as soon as nobody else calls.
func run[T any](g *Guard, what string, f func() (T, error)) (v T, err error) {
	wait := time.NewTimer(g.patience)
	defer wait.Stop()
	select {
	case <-g.turn:
	case <-wait.C:
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.what == "" { // it has just answered
			return v, errBusy
		}
		return v, &Hung{g.what, g.since}
	}
	g.mu.Lock()
	g.what, g.since = what, time.Now()
	g.mu.Unlock()
	type answer struct {
		v   T
		err error
	}
	done := make(chan answer, 1)
	go func() {
		v, err := safely(what, f)
		g.mu.Lock()
		g.what = ""
		g.mu.Unlock()
		g.turn <- struct{}{}
		done <- answer{v, err}
	}()
	select {
	case a := <-done:
		return a.v, a.err
	case <-time.After(g.patience):
		g.mu.Lock()
		defer g.mu.Unlock()
		return v, &Hung{what, g.since}
	}
}

// safely turns a panic, as of a library that is told more than it asked for, into an error.
func safely[T any](what string, f func() (T, error)) (v T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the driver's library failed at %q: %v", what, r)
		}
	}()
	return f()
}

// Stuck tells whether a call is under way for longer than the patience.
func (g *Guard) Stuck() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.what != "" && time.Since(g.since) > g.patience {
		return &Hung{g.what, g.since}
	}
	return nil
}

// Inventory is the driver's.
func (g *Guard) Inventory() (api.GPUs, error) {
	if err := g.Stuck(); err != nil {
		return api.GPUs{}, err
	}
	return run(g, "inventory", g.driver.Inventory)
}

// Sample is the driver's.
func (g *Guard) Sample() ([]Sample, error) {
	if err := g.Stuck(); err != nil {
		return nil, err
	}
	return run(g, "sample", g.driver.Sample)
}

// Limit is the driver's.
func (g *Guard) Limit(uuid, cgroup string, bytes uint64) error {
	if err := g.Stuck(); err != nil {
		return err
	}
	_, err := run(g, "limit", func() (struct{}, error) { return struct{}{}, g.driver.Limit(uuid, cgroup, bytes) })
	return err
}
