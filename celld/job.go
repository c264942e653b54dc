package celld

import (
	"context"
	"sync"
	"time"

	"github.com/cell-network/cell/celld/reconcile"
	"github.com/cell-network/cell/celld/store"
	"github.com/cell-network/cell/celld/systemd"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

// runNow runs a job, each of its replicas, and waits for the end. Only one run of each goes on at a time.
func (s *Server) runNow(ctx context.Context, f *forest, n *manifest.Node, report func(api.Step)) []api.Step {
	instances := unit.Instances(n)
	steps := make([]api.Step, len(instances))
	var wg sync.WaitGroup
	for i, name := range instances {
		wg.Go(func() {
			begun, st := time.Now(), systemd.State{Name: name}
			err := s.Systemd.Detail(ctx, &st)
			switch {
			case err != nil:
			case busy(&st):
				err = failure(api.ErrExists, "it runs already, since %s", time.UnixMicro(int64(st.Since)).Format(time.TimeOnly))
			default:
				s.recovered(name)
				err = s.start(ctx, f.pairs[name])
			}
			steps[i] = api.Step{Verb: "run", Cell: name, Reason: "asked for", Millis: time.Since(begun).Milliseconds()}
			if err != nil {
				steps[i].Error = err.Error()
			}
			if report != nil {
				report(steps[i])
			}
		})
	}
	wg.Wait()
	return steps
}

// note writes down a run of a job as it is now.
func (s *Server) note(st *systemd.State) {
	if st.Run == "" || st.Started == 0 || !st.Job {
		return
	}
	r := store.Run{ID: st.Run, Start: st.Started}
	switch {
	case busy(st):
		r.Start = st.Since // of the process, the one before may still be told
	case st.Exited >= st.Started:
		r.End, r.Result = st.Exited, "done"
		if st.Result != "success" {
			r.Result = reason(st)
		}
	}
	if err := s.Runs.Note(st.Name, r); err != nil {
		s.Log.Error("note a run", "cell", st.Name, "error", err)
	}
}

// triggered notes that a timer has begun a run.
func (s *Server) triggered(ctx context.Context, name string) {
	st := systemd.State{Name: name}
	if err := s.Systemd.Detail(ctx, &st); err == nil {
		s.note(&st)
	}
}

// busy tells whether a run goes on.
func busy(st *systemd.State) bool {
	return st.Service == "active" || st.Service == "activating" || st.Service == "deactivating"
}

// replaceJob gives a job another definition. A run that goes on keeps its own to its end; afterRun comes back to it.
func (s *Server) replaceJob(ctx context.Context, p unit.Pair) (runs bool, err error) {
	st := systemd.State{Name: p.Name}
	if err := s.Systemd.Detail(ctx, &st); err != nil {
		return false, err
	}
	if busy(&st) {
		return true, nil
	}
	if err := s.close(ctx, p.Name); err != nil {
		return false, err
	}
	return false, s.open(ctx, p, true)
}

// afterRun does what had to wait for the end of a job's run.
func (s *Server) afterRun(ctx context.Context, name string) {
	root, _, err := s.rootOf(name)
	if err != nil {
		return
	}
	defer s.lock(root)()
	r, ok := s.Store.Roots()[root]
	if !ok || stopped(r, name) {
		return
	}
	f, err := s.load(r.Dir, r.Owner)
	if err != nil {
		return // its next mitosis says what is wrong
	}
	steps, err := s.plan(ctx, f, nil, true)
	if err != nil {
		return
	}
	for _, st := range steps {
		if st.Name == name && st.Verb == reconcile.Replace {
			if _, err := s.replaceJob(ctx, f.pairs[name]); err != nil {
				s.Log.Error("replace the job", "cell", name, "error", err)
			}
		}
	}
}

// scheduled says when a job ran and runs, for people.
func (s *Server) scheduled(ctx context.Context, c *api.Cell) {
	last, next := s.Systemd.Times(ctx, c.Name)
	c.Next = next
	for _, r := range s.Runs.Of(c.Name) {
		c.Runs = append(c.Runs, api.Run{Start: r.Start, End: r.End, Result: r.Result})
	}
	switch {
	case next > 0 && c.Note == "":
		c.Note = "next run " + time.UnixMicro(int64(next)).Format("2006-01-02 15:04:05")
	case c.Note == "" && last == 0:
		c.Note = "runs when it is told to: cell start " + c.Name
	}
}
