package celld

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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
		}
		all = append(all, i)
	}
	return all, nil
}
