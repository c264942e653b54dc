package celld

import (
	"time"

	"github.com/cell-network/cell/celld/unit"
)

// Event is something that happened to an instance; What is one of the words that package sdk knows.
type Event struct {
	Instance    string
	What, Cause string
	Time        time.Time
}

// eventQueue is how far a watcher may fall behind.
const eventQueue = 1024

// watcher gets the events of a cell and of those below it.
type watcher struct {
	want   func(string) bool
	events chan Event
}

// Events are what happens from now on to a cell and below it, to all cells when name is empty. The channel is closed when the
// reader falls behind, and by stop.
func (s *Server) Events(name string) (events <-chan Event, stop func()) {
	w := &watcher{want: func(string) bool { return true }, events: make(chan Event, eventQueue)}
	if name != "" {
		w.want = below(name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watchers == nil {
		s.watchers = map[*watcher]struct{}{}
	}
	s.watchers[w] = struct{}{}
	return w.events, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unwatch(w)
	}
}

// unwatch ends a watcher once; s.mu is held.
func (s *Server) unwatch(w *watcher) {
	if _, ok := s.watchers[w]; ok {
		delete(s.watchers, w)
		close(w.events)
	}
}

// happened tells those who watch.
func (s *Server) happened(instance, what, cause string) {
	if len(instance) > len(unit.BridgeSuffix) && instance[len(instance)-len(unit.BridgeSuffix):] == unit.BridgeSuffix {
		return // it only stands in while a definition is exchanged
	}
	e := Event{instance, what, cause, time.Now()}
	if what == "born" || what == "gone" || what == "replaced" {
		s.cellsChanged()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last[instance] == what && cause == "" {
		return // systemd says most things twice
	}
	if s.last == nil {
		s.last = map[string]string{}
	}
	if s.last[instance] = what; what == "gone" {
		delete(s.last, instance)
	}
	for w := range s.watchers {
		if !w.want(instance) {
			continue
		}
		select {
		case w.events <- e:
		default:
			s.unwatch(w)
		}
	}
}
