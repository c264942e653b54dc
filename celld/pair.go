package celld

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cell-network/cell/celld/systemd"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/api"
)

// cleanUp bounds work that must be done although its caller has gone.
func cleanUp(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}

// open makes the pair and, unless it may sleep, starts the service; one that never becomes ready leaves nothing behind.
func (s *Server) open(ctx context.Context, p unit.Pair, asleep bool) error {
	if err := (release{p.Manifest.Dir}).prepare(p.Name, s.LinkDir); err != nil {
		return err
	}
	if err := s.openPair(ctx, p); err != nil {
		return err
	}
	s.recovered(p.Name)
	var err error
	if p.Door != nil {
		err = s.door(ctx, p)
	}
	if err == nil && !asleep && !p.Job() {
		err = s.start(ctx, p)
	}
	if err != nil {
		clean, cancel := cleanUp(ctx)
		defer cancel()
		return errors.Join(err, s.close(clean, p.Name))
	}
	return nil
}

func (s *Server) openPair(ctx context.Context, p unit.Pair) error {
	if err := s.setSlices(ctx, p); err != nil {
		return err
	}
	if p.Manifest.Resources.GPU != nil {
		return s.openGranted(ctx, p, func(p unit.Pair) error { return s.openUnits(ctx, p) })
	}
	return s.openUnits(ctx, p)
}

func (s *Server) openUnits(ctx context.Context, p unit.Pair) error {
	err := s.Systemd.Open(ctx, p)
	if p.Job() && systemd.IsInvalid(err) {
		return failure(api.ErrInvalid, "schedule %q of %s: %v", p.Manifest.Life.Schedule, p.Manifest.Dir, err)
	}
	if systemd.IsLoaded(err) {
		// A failed unit that is not collected yet keeps its name.
		_ = s.closeUnits(ctx, p.Name)
		for _, u := range unit.All(p.Name) {
			s.Systemd.Forget(ctx, u)
		}
		err = s.Systemd.Open(ctx, p)
	}
	if err == nil {
		s.limitsSet(p)
		s.happened(p.Name, "born", "")
	}
	return err
}

// setSlices makes the slices that are not there with those limits.
func (s *Server) setSlices(ctx context.Context, p unit.Pair) error {
	for _, sl := range p.Slices {
		key := limitsKey(sl.Limits)
		s.mu.Lock()
		last, known := s.limits[sl.Name]
		s.mu.Unlock()
		if last == key || !known && unlimited(sl.Limits) {
			continue
		}
		if err := s.Systemd.SetSlice(ctx, sl); err != nil {
			return err
		}
		s.limitsSet(unit.Pair{Name: sl.Name, Limits: sl.Limits})
	}
	return nil
}

// unlimited tells whether no limit is set: such a slice need not be made, it comes with its first unit. What a celld before
// this one may have limited is found by limitsDiffer, as a cell's own limits say the same.
func unlimited(limits []unit.Property) bool {
	for _, l := range limits {
		switch v := l.Value.Value().(type) {
		case uint64:
			if v != ^uint64(0) && v != 0 {
				return false
			}
		default:
			if l.Value.String() != "@a(st) []" {
				return false
			}
		}
	}
	return true
}

// limit sets changed resource controls in place.
func (s *Server) limit(ctx context.Context, p unit.Pair) error {
	for _, sl := range p.Slices {
		// Also without a limit: it may have had one under a celld before this one.
		if err := s.Systemd.SetSlice(ctx, sl); err != nil {
			return err
		}
		s.limitsSet(unit.Pair{Name: sl.Name, Limits: sl.Limits})
	}
	if err := s.Systemd.SetProperties(ctx, unit.ServiceUnit(p.Name), p.Limits); err != nil {
		return fmt.Errorf("limit %s: %w", p.Name, err)
	}
	s.limitsSet(p)
	return nil
}

// start starts the service and explains a failure in the words of its exit.
func (s *Server) start(ctx context.Context, p unit.Pair) error {
	begun := time.Now()
	return s.ready(ctx, p, begun, s.Systemd.Start(ctx, unit.ServiceUnit(p.Name)))
}

// restart gives a pair's program the version that run/exec names.
func (s *Server) restart(ctx context.Context, p unit.Pair) error {
	begun := time.Now()
	return s.ready(ctx, p, begun, s.Systemd.Restart(ctx, unit.ServiceUnit(p.Name)))
}

// settle is how long a program that notifies nobody must stay up to count as started. It is shorter than RestartSec, so
// that the end of a program is seen before systemd has started it again.
const settle = 200 * time.Millisecond

// settled waits until a program has stayed up for settle. Only what it computed and slept counts: on a busy machine it may otherwise
// not have come to what it fails at. Where it does not get there, settledAnyway ends the waiting.
func (s *Server) settled(ctx context.Context, st *systemd.State) error {
	const tick, settledAnyway = settle / 10, 50 * settle
	begun, last := time.Now(), time.Now()
	var slept time.Duration
	for {
		select {
		case <-time.After(tick):
		case <-ctx.Done():
			return ctx.Err()
		}
		// The program is looked at before its state is asked for: one that ends in between is not taken for one that goes on.
		pid := st.PID
		computed, sleeps, ended := pulse(pid)
		now := time.Now()
		if sleeps {
			slept += min(now.Sub(last), 2*tick) // more, and this process was the one that waited
		}
		last = now
		if err := s.Systemd.Detail(ctx, st); err == nil && st.Service != "active" {
			return failure(api.ErrNotReady, "%s", reason(st))
		}
		if st.PID != pid {
			slept = 0 // the first look, or its next run
		}
		if !ended && st.PID == pid && computed+slept >= settle || now.Sub(begun) > settledAnyway {
			return nil
		}
	}
}

// pulse is how long the busiest thread of a process has computed, whether now all of them sleep rather than wait for a processor or a
// disk, and whether it has ended without its parent having noticed yet (schedstat and stat of proc(5)). One that cannot be seen sleeps.
func pulse(pid uint32) (computed time.Duration, sleeps, ended bool) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	sleeps, ended = true, len(threads) > 0
	for _, t := range threads {
		b, _ := os.ReadFile(t + "/schedstat")
		if fields := strings.Fields(string(b)); len(fields) == 3 {
			n, _ := strconv.ParseInt(fields[0], 10, 64)
			computed = max(computed, time.Duration(n))
		}
		b, _ = os.ReadFile(t + "/stat")
		switch i := bytes.LastIndex(b, []byte(") ")); { // the name before it may have a parenthesis of its own
		case i < 0 || len(b) < i+3 || b[i+2] == 'Z' || b[i+2] == 'X':
		case b[i+2] == 'R' || b[i+2] == 'D':
			sleeps, ended = false, false
		default:
			ended = false
		}
	}
	return computed, sleeps && !ended, ended
}

// ready waits for what ends a start beyond systemd's job, and turns a failed job into the reason of the failure. The start was begun then.
func (s *Server) ready(ctx context.Context, p unit.Pair, begun time.Time, err error) error {
	st := systemd.State{Name: p.Name}
	if err == nil && p.Manifest.Life.Ready == "started" && !p.Job() {
		return s.settled(ctx, &st)
	}
	var job *systemd.JobError
	if !errors.As(err, &job) {
		return err
	}
	if derr := s.Systemd.Detail(context.WithoutCancel(ctx), &st); derr == nil {
		if st.Result == "timeout" {
			return failure(api.ErrNotReady, "it was not ready within %v", p.Manifest.Life.ReadyWithin)
		}
		if h := s.healthOf(p.Name); st.Result == "success" && h.text != "" && h.at.After(begun) {
			return failure(api.ErrNotReady, "%s", h.text) // the next run has begun, which knows nothing of this one
		}
		return failure(api.ErrNotReady, "%s", reason(&st))
	}
	return failure(api.ErrNotReady, "it did not become ready")
}

// close stops the socket first, so that no caller wakes the service again, then the service.
func (s *Server) close(ctx context.Context, name string) error {
	path := s.listensOn(ctx, name)
	if err := s.closeUnits(ctx, name); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.limits, name)
	s.mu.Unlock()
	_ = os.Remove(path)
	_ = os.Remove(unit.SocketPath(s.SocketDir, name))
	return nil
}

// listensOn is the path that a pair's socket was bound to: after an exchange not its public one.
func (s *Server) listensOn(ctx context.Context, name string) string {
	if on := s.Systemd.Listens(ctx, unit.SocketUnit(name)); len(on) > 0 {
		return on[0]
	}
	return unit.SocketPath(s.SocketDir, name)
}

// door opens a cell to the outside as its manifest says, or closes it.
func (s *Server) door(ctx context.Context, p unit.Pair) error {
	if unit.Base(p.Name) != p.Name {
		return nil
	}
	socket, service := unit.DoorSocket(p.Name), unit.DoorService(p.Name)
	if p.Door != nil && slices.Equal(s.Systemd.Listens(ctx, socket), p.Door.Publish) {
		return nil
	}
	if err := s.stopUnits(ctx, socket, service); err != nil || p.Door == nil {
		return err
	}
	if err := s.Systemd.OpenDoor(ctx, p.Name, p.Door); err != nil {
		return failure(api.ErrNotReady, "publish %s: the address cannot be opened (is it in use?)", strings.Join(p.Door.Publish, ", "))
	}
	return nil
}
