package celld

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cell-network/cell/celld/reconcile"
	"github.com/cell-network/cell/celld/store"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

// Apply makes the tree at dir run, reporting each step as it ends. After a failed step it goes on with what does not
// depend on it; the steps carry the errors.
func (s *Server) Apply(ctx context.Context, dir string, owner int, asleep bool, report func(api.Step)) ([]api.Step, error) {
	f, err := s.load(dir, owner)
	if err != nil {
		return nil, err
	}
	root := f.tree.Root.Name
	defer s.lock(root)()
	steps, err := s.plan(ctx, f, nil, asleep)
	if err != nil {
		return nil, err
	}
	_, before := s.Store.Roots()[root]
	if err := s.want(func(r map[string]store.Root) { r[root] = store.Root{Dir: f.tree.Root.Manifest.Dir, Owner: owner} }); err != nil {
		return nil, err
	}
	out := s.run(ctx, f, steps, asleep, report)
	alive := slices.ContainsFunc(out, func(st api.Step) bool { return st.Error == "" && st.Verb != string(reconcile.Stop) })
	if !before && !alive {
		// A tree of which nothing ever ran is not wanted at the next boot.
		if err := s.want(func(r map[string]store.Root) { delete(r, root) }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Start opens a stopped cell and its subtree. A job that is named runs, and its end is waited for.
func (s *Server) Start(ctx context.Context, name string, report func(api.Step)) ([]api.Step, error) {
	root, r, err := s.rootOf(name)
	if err != nil {
		return nil, err
	}
	unlock := s.lock(root)
	f, err := s.load(r.Dir, r.Owner)
	var steps []api.Step
	if err == nil {
		steps, err = s.startCells(ctx, f, name, report)
	}
	unlock() // a run may take hours
	n := (*manifest.Node)(nil)
	if err == nil {
		n = f.tree.Find(name)
	}
	if n == nil || n.Manifest.Speaks != "job" || slices.ContainsFunc(steps, func(st api.Step) bool { return st.Error != "" }) {
		return steps, err
	}
	return append(steps, s.runNow(ctx, f, n, report)...), nil
}

func (s *Server) startCells(ctx context.Context, f *forest, name string, report func(api.Step)) ([]api.Step, error) {
	root := f.tree.Root.Name
	in := below(name)
	if !slices.ContainsFunc(f.order, in) {
		return nil, failure(api.ErrNotFound, "%s has no cell %q", root, name)
	}
	steps, err := s.plan(ctx, f, nil, false)
	if err != nil {
		return nil, err
	}
	steps = slices.DeleteFunc(steps, func(st reconcile.Step) bool { return st.Verb == reconcile.Stop || !in(st.Name) })
	if err := s.want(func(m map[string]store.Root) {
		r := m[root]
		r.Stopped = slices.DeleteFunc(r.Stopped, in)
		for retired := range r.Retired {
			if in(retired) {
				delete(r.Retired, retired)
			}
		}
		m[root] = r
	}); err != nil {
		return nil, err
	}
	return s.run(ctx, f, steps, false, report), nil
}

// run carries out the steps: stops first, then every cell after its children and what it needs, eight cells at once.
func (s *Server) run(ctx context.Context, f *forest, steps []reconcile.Step, asleep bool, report func(api.Step)) []api.Step {
	var mu sync.Mutex
	var out []api.Step
	tell := func(st reconcile.Step, begin time.Time, err error) {
		r := api.Step{Verb: string(st.Verb), Cell: st.Name, Reason: st.Reason, Millis: time.Since(begin).Milliseconds()}
		if err != nil {
			r.Error = err.Error()
		}
		mu.Lock()
		out = append(out, r)
		mu.Unlock()
		if report != nil {
			report(r)
		}
		if err == nil && (st.Verb == reconcile.Restart || st.Verb == reconcile.Replace) {
			s.happened(st.Name, "replaced", st.Reason)
		}
	}
	byCell := map[string][]reconcile.Step{}
	for _, st := range steps {
		if st.Verb == reconcile.Stop {
			begin := time.Now()
			tell(st, begin, s.close(ctx, st.Name))
			if base := unit.Base(st.Name); f.tree.Find(base) == nil {
				s.dropSlice(ctx, unit.SliceName(base))
			}
			continue
		}
		byCell[unit.Base(st.Name)] = append(byCell[unit.Base(st.Name)], st)
	}
	// An outcome is written before done is closed and read after.
	type outcome struct {
		done   chan struct{}
		failed bool
	}
	outcomes := map[*manifest.Node]*outcome{}
	for _, n := range f.tree.Nodes {
		outcomes[n] = &outcome{done: make(chan struct{})}
	}
	slots := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for _, n := range f.tree.Nodes {
		wg.Go(func() {
			o := outcomes[n]
			defer close(o.done)
			var missing []string
			for _, before := range slices.Concat(n.Children, n.Needs) {
				<-outcomes[before].done
				if outcomes[before].failed {
					missing = append(missing, before.Name)
				}
			}
			todo := byCell[n.Name]
			// Also where nothing is to be done for the cell itself: one below it may have come.
			if err := (release{n.Manifest.Dir}).children(childDirs(n)); err != nil {
				o.failed = true
				for _, st := range todo {
					tell(st, time.Now(), err)
				}
				return
			}
			if len(todo) == 0 {
				return
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			if len(missing) > 0 && todo[0].Verb == reconcile.Open {
				o.failed = true
				for _, st := range todo {
					tell(st, time.Now(), failure(api.ErrNotReady, "not started: %s failed", strings.Join(missing, " and ")))
				}
				return
			}
			o.failed = !s.cell(ctx, f, todo, asleep, tell)
		})
	}
	wg.Wait()
	return out
}

// childDirs are the directories of a cell's children that lie in its own, relative to it.
func childDirs(n *manifest.Node) (dirs []string) {
	for _, c := range n.Children {
		if d, ok := strings.CutPrefix(c.Manifest.Dir, n.Manifest.Dir+"/"); ok && !strings.Contains(d, "\n") {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// cell carries out the steps of one cell's instances and tells whether all worked. A new version or definition goes to
// one instance after the other; when one does not become ready all return to the old version.
func (s *Server) cell(ctx context.Context, f *forest, steps []reconcile.Step, asleep bool, tell func(reconcile.Step, time.Time, error)) bool {
	var rolling, rest []reconcile.Step
	for _, st := range steps {
		if st.Verb == reconcile.Restart || st.Verb == reconcile.Replace {
			rolling = append(rolling, st)
		} else {
			rest = append(rest, st)
		}
	}
	r := release{f.pairs[steps[0].Name].Manifest.Dir}
	if err := r.switchOver(); err != nil {
		for _, st := range steps {
			tell(st, time.Now(), err)
		}
		return false
	}
	s.storage(ctx, f.pairs[steps[0].Name])
	ok := true
	if len(rolling) > 0 {
		ok = s.roll(ctx, r, f, rolling, asleep, tell)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, st := range rest {
		wg.Go(func() {
			begin, p := time.Now(), f.pairs[st.Name]
			var err error
			switch st.Verb {
			case reconcile.Open:
				err = s.open(ctx, p, asleep)
			case reconcile.Wake:
				err = s.start(ctx, p)
			case reconcile.Limit:
				err = s.limit(ctx, p)
			}
			tell(st, begin, err)
			mu.Lock()
			ok = ok && err == nil
			mu.Unlock()
		})
	}
	wg.Wait()
	if !ok {
		return false
	}
	if err := r.done(); err != nil {
		s.Log.Error("end upgrade", "cell", steps[0].Name, "error", err)
	}
	return true
}

func (s *Server) roll(ctx context.Context, r release, f *forest, steps []reconcile.Step, asleep bool, tell func(reconcile.Step, time.Time, error)) bool {
	for i, st := range steps {
		begin, p := time.Now(), f.pairs[st.Name]
		var err error
		switch {
		case st.Verb == reconcile.Replace && p.Job():
			var runs bool
			if runs, err = s.replaceJob(ctx, p); runs {
				st.Reason += "; holds from the next run on"
			}
		case st.Verb == reconcile.Replace:
			err = s.exchange(ctx, p)
		case asleep, p.Job(): // the next run is one of the new version
		default:
			err = s.restart(ctx, p)
		}
		if err == nil {
			s.recovered(p.Name)
			tell(st, begin, nil)
			continue
		}
		tell(st, begin, s.rollBack(ctx, r, f, steps[:i+1], err))
		for _, skipped := range steps[i+1:] {
			tell(skipped, time.Now(), failure(api.ErrNotReady, "not tried: %s failed", st.Name))
		}
		return false
	}
	return true
}

// rollBack returns the instances to the version before. It runs even when the caller has gone: half an upgrade must not
// stay.
func (s *Server) rollBack(ctx context.Context, r release, f *forest, steps []reconcile.Step, cause error) error {
	ctx, cancel := cleanUp(ctx)
	defer cancel()
	was, err := r.back()
	if err != nil {
		return errors.Join(cause, err)
	}
	last := len(steps) - 1
	for i, st := range steps {
		if i == last && st.Verb == reconcile.Replace {
			continue // its old pair never went away
		}
		if !was {
			continue
		}
		if err := s.restart(ctx, f.pairs[st.Name]); err != nil {
			return fmt.Errorf("%w; the old version does not start either: %w", cause, err)
		}
	}
	if was || steps[last].Verb == reconcile.Replace {
		return fmt.Errorf("%w; rolled back to the old version", cause)
	}
	return cause
}

// Stop ends a cell and its subtree, parents first as they call their children; forget also drops a whole tree from what
// is wanted.
func (s *Server) Stop(ctx context.Context, name string, forget bool) error {
	root, _, err := s.rootOf(name)
	if err != nil {
		return err
	}
	in := below(name)
	resume := s.gpus.giveUp(in)
	unlock := s.lock(root)
	resume()
	defer unlock()
	_, r, err := s.rootOf(name)
	if err != nil {
		return nil // it was being started for the first time, which has failed, or somebody else made it go
	}
	states, err := s.Systemd.List(ctx)
	if err != nil {
		return err
	}
	var names []string
	for n := range states {
		if in(n) {
			names = append(names, n)
		}
	}
	if len(names) == 0 && name != root {
		if f, err := s.load(r.Dir, r.Owner); err == nil && !slices.ContainsFunc(f.order, in) {
			return failure(api.ErrNotFound, "%s has no cell %q", root, name)
		}
	}
	// Wanted first: a celld that ends here must not bring back what is being stopped. A disk that is full keeps nobody from stopping what
	// fills it.
	change := func(m map[string]store.Root) {
		if forget && name == root {
			delete(m, root)
			return
		}
		r := m[root]
		if !slices.Contains(r.Stopped, name) {
			r.Stopped = append(r.Stopped, name)
		}
		m[root] = r
	}
	unwritten := s.want(change)
	if unwritten != nil {
		s.Store.Hold(change)
		unwritten = fmt.Errorf("%s is stopped, but starts again with celld: %w", name, unwritten)
	}
	slices.SortFunc(names, s.stopOrder(r))
	for _, n := range names {
		if forget && states[n].Job {
			if err := s.Systemd.ForgetTimer(ctx, n); err != nil {
				s.Log.Warn("forget a job's last run", "cell", n, "error", err)
			}
			if err := s.Runs.Forget(n); err != nil {
				s.Log.Warn("forget a job's runs", "cell", n, "error", err)
			}
		}
		if err := s.close(ctx, n); err != nil {
			return err
		}
		s.forgetHealth(n)
	}
	if forget {
		// An empty slice stays active for ever otherwise; after a mere stop it waits for the next start.
		all, err := s.Systemd.Slices(ctx, name)
		if err != nil {
			return err
		}
		for _, sl := range all {
			s.dropSlice(ctx, sl)
		}
	}
	return unwritten
}

// stopOrder is the reverse of the order of starting; what is not in the tree any more goes first.
func (s *Server) stopOrder(r store.Root) func(a, b string) int {
	at := map[string]int{}
	if f, err := s.load(r.Dir, r.Owner); err == nil {
		for i, n := range f.order {
			at[n] = i + 1
		}
	}
	return func(a, b string) int {
		if d := at[b] - at[a]; d != 0 && at[a] != 0 && at[b] != 0 {
			return d
		}
		if (at[a] == 0) != (at[b] == 0) {
			return at[a] - at[b]
		}
		return strings.Compare(a, b)
	}
}

// dropSlice stops a cell's empty slice.
func (s *Server) dropSlice(ctx context.Context, name string) {
	s.mu.Lock()
	delete(s.limits, name)
	s.mu.Unlock()
	if err := s.Systemd.Stop(ctx, name); err != nil {
		s.Log.Warn("stop slice", "slice", name, "error", err)
	}
}

// dial connects to an instance's socket, which wakes it. While a pair is exchanged or re-armed a refusal is tried again.
func (s *Server) dial(ctx context.Context, name string) (*net.UnixConn, error) {
	var d net.Dialer
	path := unit.SocketPath(s.SocketDir, name)
	for try := 0; ; try++ {
		c, err := d.DialContext(ctx, "unix", path)
		if err == nil {
			return c.(*net.UnixConn), nil
		}
		refused := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EAGAIN)
		if !refused || try == 4 {
			return nil, failure(api.ErrNotReady, "%s does not listen: %s", name, s.why(ctx, name))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond << try):
		}
	}
}
