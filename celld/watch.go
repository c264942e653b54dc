package celld

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cell-network/cell/celld/reconcile"
	"github.com/cell-network/cell/celld/systemd"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/manifest"
)

// giveUpAfter is how many bad starts in a row end a cell: systemd itself would go on for ever.
const giveUpAfter = 20

// quick is how short a run must be to count as a bad start when it ended by itself.
const quick = time.Second

// health is what happened to an instance lately; systemd forgets it with the next start.
type health struct {
	text   string // why it ended badly last
	at     time.Time
	bad    int  // bad starts in a row
	gaveUp bool // its socket was closed because of them

	run, counted string // the run seen last, and the one counted last
	started      uint64 // when the former was first seen to have started
}

// recovered forgets the past of an instance that a person has started anew.
func (s *Server) recovered(name string) { s.forgetHealth(name) }

func (s *Server) forgetHealth(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.health, name)
}

func (s *Server) healthOf(name string) health {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health[name]
}

// Watch notes why cells end, gives up on those that never start, re-arms failed sockets and puts programs to sleep that
// cannot do it themselves. It returns when ctx ends or the bus goes.
func (s *Server) Watch(ctx context.Context) error {
	// Who became active while no celld was there.
	if all, err := s.Systemd.List(ctx); err == nil {
		for name, st := range all {
			switch {
			case st.Job:
				s.triggered(ctx, name) // it may have run
			case st.Service == "active":
				s.doze(ctx, name)
			}
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-s.Systemd.Events:
			if !ok {
				return errors.New("the bus has closed the connection")
			}
			switch {
			case e.Unit == unit.DoorSocket(e.Name) || e.Unit == unit.DoorService(e.Name):
			case e.Unit == unit.TimerUnit(e.Name):
				if e.Sub == "running" {
					s.triggered(ctx, e.Name)
				}
			case e.Unit == unit.SocketUnit(e.Name):
				if e.Active == "failed" {
					s.rearm(ctx, e.Name)
				}
			case e.Active == "active":
				if s.gpus.has(e.Name) {
					s.gpus.ring()
				}
				s.doze(ctx, e.Name)
				s.happened(e.Name, "ready", "")
			case e.Sub == "auto-restart" || e.Active == "failed" || e.Active == "inactive":
				s.ended(ctx, e)
			}
		}
	}
}

// ended looks at why a service ended, and counts bad starts. Its news may come when the next run has begun: then only how
// long ago the last one began is known.
func (s *Server) ended(ctx context.Context, e systemd.Event) {
	st := systemd.State{Name: e.Name}
	if err := s.Systemd.Detail(ctx, &st); err != nil || st.Started == 0 {
		return
	}
	s.note(&st)
	s.mu.Lock()
	if s.health == nil {
		s.health = map[string]health{}
	}
	h := s.health[e.Name]
	last, lastStarted := h.run, h.started
	if st.Run != last {
		h.run, h.started = st.Run, st.Started
	}
	runs := st.Exited < st.Started
	failed := !runs && st.Result != "success" && st.Result != ""
	var ran time.Duration
	switch {
	case !runs && h.counted != st.Run:
		h.counted = st.Run
		ran = time.Duration(st.Exited-st.Started) * time.Microsecond
	case runs && last != "" && last != st.Run && h.counted != last:
		h.counted = last
		ran = time.Duration(st.Started-lastStarted) * time.Microsecond
	default: // told before
		s.health[e.Name] = h
		s.mu.Unlock()
		return
	}
	short := quick
	if st.Idle > 0 {
		short = min(quick, st.Idle) // falling asleep is no bad start
	}
	// Who was stopped did not end by itself: a signal's end has another code (CLD_EXITED is 1).
	byItself := !failed && !st.Job && (runs || st.Code == 1)
	switch bad := failed && ran < 10*time.Second || byItself && ran < short; {
	case h.gaveUp: // what starts until its socket is closed changes nothing
	case bad:
		h.bad++
	default:
		h.bad = 0
	}
	over := s.gpus.ended(e.Name)
	if failed {
		h.text, h.at = cmp.Or(over, reason(&st)), time.Now()
	} else if over != "" { // the next run has begun already
		h.text, h.at = over, time.Now()
	} else if h.bad >= giveUpAfter {
		h.text, h.at = "its program ends at once without an error", time.Now()
	}
	giveUp := h.bad >= giveUpAfter && !h.gaveUp
	h.gaveUp = h.gaveUp || giveUp
	s.health[e.Name] = h
	s.mu.Unlock()
	switch {
	case failed:
		s.happened(e.Name, "died", h.text)
	case runs: // it is back already, and how it ended is not known any more
		s.happened(e.Name, "died", cmp.Or(over, "it was started again"))
	default:
		s.happened(e.Name, "asleep", "")
		go s.cleanUpAfter(ctx, e.Name)
	}
	if st.Job && !runs {
		go s.afterRun(ctx, e.Name)
	}
	if !giveUp {
		return
	}
	s.Log.Error("gives up: it never stayed up", "cell", e.Name, "starts", h.bad, "reason", h.text)
	go func() {
		if err := s.close(ctx, e.Name); err != nil {
			s.Log.Error("close", "cell", e.Name, "error", err)
		}
	}()
}

// rearm opens a failed socket again: systemd's limit on activations needs its window of two seconds to empty before the
// socket stays up. A failed socket has no unit any more, and while a service of its name runs no new pair can be made; the
// service is ended then, as nobody can reach it.
func (s *Server) rearm(ctx context.Context, name string) {
	if s.healthOf(name).gaveUp || strings.HasSuffix(name, unit.BridgeSuffix) {
		return
	}
	s.Log.Warn("its socket failed, and is opened again", "cell", name)
	go func() {
		var err error
		for try := range 6 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(2500 * time.Millisecond << try):
			}
			if err = s.reopen(ctx, name); err == nil {
				return
			}
		}
		s.Log.Error("re-arm socket", "cell", name, "error", err)
	}()
}

func (s *Server) reopen(ctx context.Context, name string) error {
	root, _, err := s.rootOf(name)
	if err != nil {
		return err
	}
	defer s.lock(root)()
	r, ok := s.Store.Roots()[root]
	if !ok || stopped(r, name) {
		return nil // ended by hand meanwhile
	}
	f, err := s.load(r.Dir, r.Owner)
	if err != nil {
		return err
	}
	p, ok := f.pairs[name]
	if !ok {
		return nil
	}
	if v, err := s.Systemd.One(ctx, unit.SocketUnit(name), "Unit", "ActiveState"); err == nil && v == "active" {
		return nil
	}
	if err := s.close(ctx, name); err != nil {
		return err
	}
	return s.open(ctx, p, !p.Manifest.Life.Warm)
}

// Restore opens what is wanted and absent, after a reboot or a crash, and finishes upgrades that were cut off. It stops
// nothing.
func (s *Server) Restore(ctx context.Context) {
	for root, r := range s.Store.Roots() {
		if _, err := os.Stat(filepath.Join(r.Dir, manifest.File)); err != nil {
			// It may be on a disk that is not mounted yet: it stays wanted.
			s.Log.Warn("not restored: its directory is away", "cell", root, "dir", r.Dir)
			continue
		}
		if err := s.restore(ctx, root); err != nil {
			s.Log.Error("not restored", "cell", root, "error", err)
		}
	}
}

func (s *Server) restore(ctx context.Context, root string) error {
	defer s.lock(root)()
	r, ok := s.Store.Roots()[root]
	if !ok {
		return nil // forgotten while this waited for its turn
	}
	f, err := s.load(r.Dir, r.Owner)
	if err != nil {
		return err
	}
	all, err := s.plan(ctx, f, nil, true)
	if err != nil {
		return err
	}
	var sleepers, warm []reconcile.Step
	for _, st := range all {
		p, known := f.pairs[st.Name]
		if !known || stopped(r, st.Name) {
			continue
		}
		switch {
		case st.Verb == reconcile.Restart && (release{p.Manifest.Dir}).upgrading():
			warm = append(warm, st)
		case st.Verb == reconcile.Open && p.Manifest.Life.Warm:
			warm = append(warm, st)
		case st.Verb == reconcile.Open:
			sleepers = append(sleepers, st)
		}
	}
	for _, steps := range []struct {
		list   []reconcile.Step
		asleep bool
	}{{sleepers, true}, {warm, false}} {
		if len(steps.list) == 0 {
			continue
		}
		for _, st := range s.run(ctx, f, steps.list, steps.asleep, nil) {
			if st.Error != "" {
				s.Log.Error("not restored", "cell", st.Cell, "error", st.Error)
			}
		}
	}
	return nil
}
