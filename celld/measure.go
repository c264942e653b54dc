package celld

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cell-network/cell/celld/systemd"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/stats"
)

// table is the memory in which a running instance counts its calls.
type table struct {
	reader *stats.Reader
	end    func() // ends the connection that it came over
}

// Counts takes the table of an instance, whose descriptor stays the caller's, in place of an earlier one, whose end is called.
// It is read until release is called.
func (s *Server) Counts(instance string, fd int, end func()) (release func(), err error) {
	if _, _, err := s.rootOf(instance); err != nil {
		return nil, err
	}
	r, err := stats.Open(fd)
	if err != nil {
		return nil, failure(api.ErrInvalid, "%s: %v", instance, err)
	}
	t := &table{r, end}
	s.tables.Lock()
	if s.tables.of == nil {
		s.tables.of = map[string]*table{}
	}
	before := s.tables.of[instance]
	s.tables.of[instance] = t
	s.tables.Unlock()
	if before != nil {
		before.end()
	}
	return func() {
		s.tables.Lock()
		defer s.tables.Unlock()
		if s.tables.of[instance] == t {
			delete(s.tables.of, instance)
		}
		_ = t.reader.Close() // nobody reads: the lock is held
	}, nil
}

// calls is what a running instance says of its calls; nil when it counts none.
func (s *Server) calls(instance string, st *systemd.State, now time.Time) *api.Calls {
	s.tables.Lock()
	defer s.tables.Unlock()
	t := s.tables.of[instance]
	if t == nil || st == nil || st.PID == 0 {
		return nil
	}
	c := &api.Calls{}
	for _, m := range t.reader.Read() {
		for code, n := range m.Ended {
			if c.Total += n; code > 0 {
				c.Errors += n
			}
		}
		c.InFlight += uint64(max(m.InFlight, 0))
	}
	recent := t.reader.Recent(now)
	c.P50, c.P99 = uint64(recent.Latency.Quantile(0.5)), uint64(recent.Latency.Quantile(0.99))
	c.PerSecond = float64(recent.Calls()) / min(recent.Over, max(now.Sub(time.UnixMicro(int64(st.Started))), time.Second)).Seconds()
	return c
}

// reputation is what a call of a running instance takes, lately or else since it started, and how many it has under way; 0 when
// it has answered none.
func (s *Server) reputation(instance string) (took time.Duration, inFlight int) {
	s.tables.Lock()
	defer s.tables.Unlock()
	t := s.tables.of[instance]
	if t == nil {
		return 0, 0
	}
	known := t.reader.Recent(time.Now()).Latency
	lately := known.Quantile(0.5) > 0
	for _, m := range t.reader.Read() {
		inFlight += int(max(m.InFlight, 0))
		if !lately {
			for i, n := range m.Latency {
				known[i] += n
			}
		}
	}
	return known.Quantile(0.5), inFlight
}

// Measure reads what the running instances of a cell and of those below it used and counted; of all cells when name is empty.
func (s *Server) Measure(ctx context.Context, name string) ([]stats.Instance, error) {
	if name != "" {
		if _, _, err := s.rootOf(name); err != nil {
			return nil, err
		}
	}
	states, err := s.seen(ctx, func(inst string) bool {
		base := unit.Base(inst)
		return !strings.HasSuffix(inst, unit.BridgeSuffix) && (name == "" || inst == name || base == name || strings.HasPrefix(base, name+"."))
	}, s.Systemd.Detail)
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	all := []stats.Instance{}
	s.tables.Lock()
	defer s.tables.Unlock()
	for _, inst := range slices.Sorted(maps.Keys(states)) {
		st := states[inst]
		if st.PID == 0 {
			continue
		}
		i := stats.Instance{
			Name: inst, Cell: unit.Base(inst), Memory: st.Memory, CPU: time.Duration(st.CPU), Tasks: st.Tasks, Restarts: uint64(st.Restarts),
			Since: time.UnixMicro(int64(st.Started)).UTC(),
		}
		if t := s.tables.of[inst]; t != nil {
			i.Methods = t.reader.Read()
			recent := t.reader.Recent(time.Now())
			i.Recent = &recent
		}
		all = append(all, i)
	}
	return all, nil
}
