// Package celld translates wanted cells into systemd's units and back. systemd supervises: celld may crash, be replaced
// or be stopped and no cell notices, for what it knows it reads again from the bus and the cells' directories.
package celld

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cell-network/cell/celld/reconcile"
	"github.com/cell-network/cell/celld/store"
	"github.com/cell-network/cell/celld/systemd"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

// Server holds one manager's cells.
type Server struct {
	Systemd   *systemd.Conn
	Store     *store.Store
	Runs      *store.Runs // of jobs
	SocketDir string
	LinkDir   string // SocketDir as programs outside of an embedded manager see it
	System    bool   // the machine's manager: cells run as the owners of their directories
	User      bool   // an ordinary user's manager
	Helper    string // path of celld
	Log       *slog.Logger
	Mesh      Mesh // to other machines; nil for none
	GPUs      GPUs // of this machine; nil for none

	Key      ed25519.PrivateKey // signs introductions
	Lifetime time.Duration      // of introductions; 0 is the longest

	known trees // as they were read last
	gpus  gpus

	tables struct {
		sync.Mutex
		of map[string]*table // by instance
	}

	mu       sync.Mutex
	trees    map[string]*sync.Mutex
	limits   map[string]string // last limits set, by instance
	health   map[string]health // by instance
	unwell   map[string]bool   // instances that say so themselves
	watchers map[*watcher]struct{}
	last     map[string]string               // what happened last, by instance
	callers  map[string]map[string]time.Time // of cells, by name: when they were connected last
	rewanted chan struct{}                   // see wanted

	ports        map[string]*served          // by instance: where it is asked for connections to its port
	joined       map[string]map[string]joins // by caller and need
	machine      string                      // name of this machine; see here
	inTissue     bool                        // it is that in a tissue
	changedCells chan struct{}               // see recelled
	turns        map[string]int              // how often a cell was connected to, which chooses among replicas
}

// Error is an answer for a caller: a D-Bus error name and a text.
type Error struct{ Name, Text string }

func (e *Error) Error() string { return e.Text }

func failure(name, format string, args ...any) error {
	return &Error{name, fmt.Sprintf(format, args...)}
}

func owner(st os.FileInfo) (uid, gid int) {
	s := st.Sys().(*syscall.Stat_t)
	return int(s.Uid), int(s.Gid)
}

// lock serialises work on one tree.
func (s *Server) lock(root string) (unlock func()) {
	s.mu.Lock()
	if s.trees == nil {
		s.trees = map[string]*sync.Mutex{}
	}
	m := s.trees[root]
	if m == nil {
		m = &sync.Mutex{}
		s.trees[root] = m
	}
	s.mu.Unlock()
	m.Lock()
	return m.Unlock
}

// place describes where a cell in dir runs; under the machine's manager it runs as uid, who has to own it.
func (s *Server) place(dir string, uid int) (unit.Place, error) {
	at := unit.Place{SocketDir: s.SocketDir, User: s.User, Programs: filepath.Dir(s.Helper), Proxy: "/lib/systemd/systemd-socket-proxyd"}
	st, err := os.Stat(dir)
	if err != nil {
		return at, failure(api.ErrNotFound, "%v", err)
	}
	if !s.System {
		return at, nil
	}
	if now, _ := owner(st); now != uid {
		return at, failure(api.ErrDenied, "%s belongs to user %d and not to user %d, as whom it should run", dir, now, uid)
	}
	if err := safePath(dir, uid); err != nil || uid == 0 {
		return at, err
	}
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return at, failure(api.ErrInvalid, "%s: its owner has no account: %v", dir, err)
	}
	at.Owner = u.Username
	return at, nil
}

// forest is a tree with the units it becomes.
type forest struct {
	tree  *manifest.Tree
	owner int
	pairs map[string]unit.Pair // by instance
	order []string             // instances in the order of starting
}

// load reads the tree at dir, which under the machine's manager has to belong to uid as a whole: a tree may not borrow
// the rights of another user's directory that it links to.
func (s *Server) load(dir string, uid int) (*forest, error) {
	tree, errs := s.loadTree(dir, uid)
	if len(errs) > 0 {
		return nil, failure(api.ErrInvalid, "%v", errs)
	}
	s.changed(tree.Root.Name)
	for name, n := range s.Store.Roots()[tree.Root.Name].Replicas {
		if errs := tree.Replicate(name, n); len(errs) > 0 {
			return nil, failure(api.ErrInvalid, "%v", errs)
		}
	}
	f := &forest{tree: tree, owner: uid, pairs: map[string]unit.Pair{}}
	for _, n := range tree.Nodes {
		at, err := s.place(n.Manifest.Dir, uid)
		if err == nil && at.Owner != "" {
			err = mayPublish(n.Manifest)
		}
		if err != nil {
			return nil, err
		}
		for _, p := range unit.Pairs(n, at) {
			f.pairs[p.Name] = p
			f.order = append(f.order, p.Name)
		}
	}
	return f, nil
}

// below tells which instances belong to a cell's subtree.
func below(root string) func(string) bool {
	return func(name string) bool {
		name = unit.Base(name)
		return name == root || strings.HasPrefix(name, root+".")
	}
}

// stopped tells whether an instance, or a cell above it, was stopped by hand.
func stopped(r store.Root, name string) bool {
	return slices.ContainsFunc(r.Stopped, func(n string) bool { return below(n)(name) })
}

// each runs f for every item, sixteen at a time, and returns the first error.
func each[T any](items []T, f func(T) error) error {
	var wg sync.WaitGroup
	errs := make(chan error, len(items))
	slots := make(chan struct{}, 16)
	for _, it := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := f(it); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// seen reads all loaded instances of want with what read fills in.
func (s *Server) seen(ctx context.Context, want func(string) bool, read func(context.Context, *systemd.State) error) (map[string]*systemd.State, error) {
	all, err := s.Systemd.List(ctx)
	if err != nil {
		return nil, err
	}
	var list []*systemd.State
	for name, st := range all {
		if want(name) {
			list = append(list, st)
		} else {
			delete(all, name)
		}
	}
	return all, each(list, func(st *systemd.State) error { return read(ctx, st) })
}

// Plan says what Apply would do; changed are cells that a build would replace.
func (s *Server) Plan(ctx context.Context, dir string, owner int, changed []string) ([]api.Step, error) {
	f, err := s.load(dir, owner)
	if err != nil {
		return nil, err
	}
	steps, err := s.plan(ctx, f, changed, false)
	if err != nil {
		return nil, err
	}
	out := make([]api.Step, len(steps))
	for i, st := range steps {
		out[i] = api.Step{Verb: string(st.Verb), Cell: st.Name, Reason: st.Reason}
	}
	return out, nil
}

func (s *Server) plan(ctx context.Context, f *forest, changed []string, asleep bool) ([]reconcile.Step, error) {
	root := f.tree.Root
	r, ok := s.Store.Roots()[root.Name]
	if ok && s.System && r.Owner != f.owner {
		return nil, failure(api.ErrExists, "%s is the name of another user's cell, in %s; choose another", root.Name, r.Dir)
	}
	if ok && r.Dir != root.Manifest.Dir {
		if _, err := os.Stat(filepath.Join(r.Dir, manifest.File)); err == nil {
			return nil, failure(api.ErrExists, "%s is already wanted from %s", root.Name, r.Dir)
		}
	}
	if err := s.partOfAnother(root, f.owner); err != nil {
		return nil, err
	}
	states, err := s.seen(ctx, below(root.Name), s.Systemd.Definition)
	if err != nil {
		return nil, err
	}
	seen := map[string]reconcile.Seen{}
	for name, st := range states {
		if p, ok := f.pairs[name]; ok && st.Dir != "" && st.Dir != p.Manifest.Dir {
			if _, err := os.Stat(filepath.Join(st.Dir, manifest.File)); err == nil {
				return nil, failure(api.ErrExists, "%s already runs from %s", name, st.Dir)
			}
		}
		seen[name] = reconcile.Seen{
			Name: name, Hash: st.Hash, Socket: st.Trigger == "active",
			Active: st.Service == "active" || st.Service == "activating" || st.Service == "reloading",
		}
	}
	var wanted []reconcile.Wanted
	for _, name := range f.order {
		p := f.pairs[name]
		w := reconcile.Wanted{
			Name: name, Hash: p.Hash, Asleep: asleep || p.Job(),
			Changed: release{p.Manifest.Dir}.pending() || slices.Contains(changed, unit.Base(name)),
		}
		if st := states[name]; st != nil {
			if w.Limits, err = s.limitsDiffer(ctx, p, st); err != nil {
				return nil, err
			}
		}
		wanted = append(wanted, w)
	}
	return reconcile.Plan(wanted, seen, below(root.Name)), nil
}

// partOfAnother refuses a tree that overlaps with another wanted one: two cells cannot share a directory.
func (s *Server) partOfAnother(root *manifest.Node, uid int) error {
	inside := func(dir, of string) bool { return strings.HasPrefix(dir, of+string(filepath.Separator)) }
	for name, r := range s.Store.Roots() {
		if name == root.Name || !inside(root.Manifest.Dir, r.Dir) && !inside(r.Dir, root.Manifest.Dir) && r.Dir != root.Manifest.Dir {
			continue
		}
		outer, inner, other := r.Dir, root.Manifest.Dir, name
		if !inside(inner, outer) {
			outer, inner = inner, outer
		}
		if outer == r.Dir {
			uid = r.Owner
		}
		tree, errs := s.loadTree(outer, uid)
		if len(errs) > 0 {
			continue
		}
		for _, n := range tree.Nodes {
			if n.Manifest.Dir != inner {
				continue
			}
			if outer == r.Dir {
				return failure(api.ErrExists, "%s is the cell %s of the tree in %s; run cell mitosis there", inner, n.Name, outer)
			}
			return failure(api.ErrExists, "%s runs as the tree %s already; end that first: cell apoptosis %s", inner, other, other)
		}
	}
	return nil
}

func limitsKey(props []unit.Property) string {
	var b strings.Builder
	for _, p := range props {
		b.WriteString(p.Value.String())
		b.WriteByte(' ')
	}
	return b.String()
}

// limitsDiffer compares with the limits last set or, after a restart of celld, with the unit's.
func (s *Server) limitsDiffer(ctx context.Context, p unit.Pair, st *systemd.State) (bool, error) {
	key := limitsKey(p.Limits)
	s.mu.Lock()
	known, ok := s.limits[p.Name]
	s.mu.Unlock()
	if ok {
		return known != key, nil
	}
	if err := s.Systemd.Detail(ctx, st); err != nil {
		return false, err
	}
	for _, pr := range p.Limits {
		want, _ := pr.Value.Value().(uint64)
		if want == ^uint64(0) {
			want = 0
		}
		is, known := map[string]uint64{"MemoryMax": st.MemoryMax, "TasksMax": st.TasksMax, "CPUQuotaPerSecUSec": st.CPUMax, "IOWeight": st.IOWeight}[pr.Name]
		if known && is != want {
			return true, nil
		}
	}
	s.limitsSet(p)
	return false, nil
}

func (s *Server) limitsSet(p unit.Pair) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limits == nil {
		s.limits = map[string]string{}
	}
	s.limits[p.Name] = limitsKey(p.Limits)
}

// rootOf finds the wanted tree that a cell belongs to.
func (s *Server) rootOf(name string) (string, store.Root, error) {
	root, _, _ := strings.Cut(unit.Base(name), ".")
	r, ok := s.Store.Roots()[root]
	if !ok {
		return "", store.Root{}, failure(api.ErrNotFound, "no cell %q is known here", name)
	}
	return root, r, nil
}
