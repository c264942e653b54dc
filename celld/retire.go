package celld

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/cell-network/cell/celld/store"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/manifest"
)

// noteEvery is how often the last call of a cell is written down: retirement needs it over restarts, and not to the second.
const noteEvery = time.Minute

// Called notes that caller was connected to an instance of a cell.
func (s *Server) Called(instance, caller string) {
	name, now := unit.Base(instance), time.Now()
	s.mu.Lock()
	if s.callers == nil {
		s.callers = map[string]map[string]time.Time{}
	}
	if s.callers[name] == nil {
		s.callers[name] = map[string]time.Time{}
	}
	s.callers[name][caller] = now
	s.mu.Unlock()
	root, r, err := s.rootOf(name)
	if last, counts := r.Called[name]; err == nil && counts && now.Sub(time.Unix(last, 0)) > noteEvery {
		s.noteCall(root, name, now)
	}
}

func (s *Server) noteCall(root, name string, at time.Time) {
	note := func(all map[string]store.Root) {
		r, ok := all[root]
		if !ok {
			return
		}
		if r.Called == nil {
			r.Called = map[string]int64{}
		}
		r.Called[name] = at.Unix()
		all[root] = r
	}
	if err := s.Store.Update(note); err != nil {
		s.Log.Error("note a call", "cell", name, "error", err)
		s.Store.Hold(note)
	}
}

// callersOf are who was connected to a cell since this celld runs.
func (s *Server) callersOf(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.callers[name]))
}

// lastCall is when somebody was connected to a cell last, as far as is known.
func (s *Server) lastCall(r store.Root, name string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := time.Unix(r.Called[name], 0)
	for _, at := range s.callers[name] {
		if at.After(last) {
			last = at
		}
	}
	return last
}

// lookAgain is the longest that cells which retire are left alone: who is connected now counts as a caller until the next look.
const lookAgain = time.Hour

// Retire stops cells that nobody has called for as long as their manifests say, until ctx ends. While no cell retires it sleeps.
func (s *Server) Retire(ctx context.Context) {
	for {
		var next <-chan time.Time
		if after := s.retireOnce(ctx); after > 0 {
			next = time.After(after)
		}
		select {
		case <-ctx.Done():
			return
		case <-next:
		case <-s.wanted():
		}
	}
}

// wanted has a value after the wanted trees have changed.
func (s *Server) wanted() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rewanted == nil {
		s.rewanted = make(chan struct{}, 1)
	}
	return s.rewanted
}

// want writes down a change of what is wanted.
func (s *Server) want(change func(map[string]store.Root)) error {
	err := s.Store.Update(change)
	s.cellsChanged()
	select {
	case s.wanted() <- struct{}{}:
	default:
	}
	return err
}

// retireOnce looks at all cells and returns after which time to look again, 0 when no cell retires.
func (s *Server) retireOnce(ctx context.Context) time.Duration {
	next := time.Duration(0)
	for root, r := range s.Store.Roots() {
		tree, err := s.tree(root, r, time.Now().Add(-recent))
		if err != nil {
			if next == 0 {
				next = lookAgain // somebody may mend it
			}
			continue
		}
		for _, n := range tree.Nodes {
			limit := n.Manifest.Life.RetireAfter
			if limit == 0 || stopped(r, n.Name) {
				continue
			}
			if after := min(max(limit/4, 250*time.Millisecond), lookAgain); next == 0 || after < next {
				next = after
			}
			if _, counts := r.Called[n.Name]; !counts || s.inUse(ctx, n) {
				s.noteCall(root, n.Name, time.Now())
				continue
			}
			if idle := time.Since(s.lastCall(r, n.Name)); idle >= limit {
				s.retireCell(ctx, root, n.Name, idle)
			}
		}
	}
	return next
}

// inUse tells whether somebody is connected to one of a cell's instances: who got a connection long ago may still use it.
func (s *Server) inUse(ctx context.Context, n *manifest.Node) bool {
	for _, inst := range unit.Instances(n) {
		if open, err := connections(s.listensOn(ctx, inst)); err != nil || open > 0 {
			return true
		}
	}
	return false
}

func (s *Server) retireCell(ctx context.Context, root, name string, idle time.Duration) {
	s.Log.Info("retired: nobody has called it", "cell", name, "for", idle.Truncate(time.Second).String())
	if err := s.Stop(ctx, name, false); err != nil {
		s.Log.Error("retire", "cell", name, "error", err)
		return
	}
	err := s.Store.Update(func(all map[string]store.Root) {
		r := all[root]
		if r.Retired == nil {
			r.Retired = map[string]int64{}
		}
		r.Retired[name] = time.Now().Unix()
		delete(r.Called, name)
		all[root] = r
	})
	if err != nil {
		s.Log.Error("retire", "cell", name, "error", err)
	}
}
