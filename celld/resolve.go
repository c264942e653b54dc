package celld

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cell-network/cell/celld/reconcile"
	"github.com/cell-network/cell/celld/store"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/manifest"
)

// Resolve finds the cell that one of the instances means by target: a line of its [needs] or [cells], or the full name of a
// cell that such a line names or that is below the caller. Nothing else is reached. hash is the wire hash that the caller was
// built with: where an older major version is kept beside the cell for its callers, they get that one.
func (s *Server) Resolve(caller, target, hash string) (string, error) {
	now := time.Now()
	name, err := s.resolve(caller, target, hash, now.Add(-recent))
	if err != nil { // what was read may be older than a line that was just written
		name, err = s.resolve(caller, target, hash, now)
	}
	return name, err
}

func (s *Server) resolve(caller, target, hash string, since time.Time) (string, error) {
	self := unit.Base(caller)
	root, r, err := s.rootOf(self)
	if err != nil {
		return "", err
	}
	tree, err := s.tree(root, r, since)
	if err != nil {
		return "", err
	}
	n := tree.Find(self)
	if n == nil {
		return "", failure(api.ErrNotFound, "%s is no longer in the tree of %s", self, r.Dir)
	}
	for _, need := range n.Manifest.Needs {
		name, err := s.needed(tree, n, need, r.Owner, hash, since)
		if need.Name != target && (err != nil || name != target) {
			continue
		}
		if err != nil {
			return "", err
		}
		return s.kept(name, hash, since), nil
	}
	for _, c := range n.Children {
		if c.Name == target || c.Name == self+"."+target {
			return s.kept(c.Name, hash, since), nil
		}
	}
	if strings.HasPrefix(target, self+".") && tree.Find(target) != nil {
		return s.kept(target, hash, since), nil
	}
	for _, c := range n.Manifest.Cells {
		if c.Name == target || self+"."+c.Name == target {
			return "", failure(api.ErrNotReady, "%s.%s is pinned to another machine", self, c.Name)
		}
	}
	return "", failure(api.ErrDenied, "%s does not name %q in [needs] or [cells] of %s", self, target, filepath.Join(n.Manifest.Dir, manifest.File))
}

// needed is the name of the cell that a line of [needs] means: in the caller's own tree or in another one of its
// owner. What root runs may reach what others run. A cell whose source is in a repository is known by its name.
func (s *Server) needed(tree *manifest.Tree, n *manifest.Node, need manifest.Need, owner int, hash string, since time.Time) (name string, err error) {
	if need.Git != "" {
		switch r, ok := s.Store.Roots()[need.Name]; {
		case !ok:
			return "", failure(api.ErrNotReady, "need %s of %s: no cell %s was started: clone %s and start it with cell mitosis", need.Name, n.Name, need.Name, need.Git)
		case s.System && r.Owner != owner && owner != 0 && !s.Invites(need.Name):
			return "", failure(api.ErrDenied, "need %s of %s: the cell %s belongs to another user", need.Name, n.Name, need.Name)
		}
		return need.Name, nil
	}
	var dir string
	if aerr := s.as(owner, func() { dir, err = filepath.EvalSymlinks(filepath.Join(n.Manifest.Dir, need.Path)) }); aerr != nil {
		return "", aerr
	}
	if err != nil {
		return "", failure(api.ErrNotFound, "need %s of %s: %v", need.Name, n.Name, err)
	}
	for _, other := range tree.Nodes {
		if other.Manifest.Dir == dir {
			return other.Name, nil
		}
	}
	foreign, broken, older := false, error(nil), ""
	for root, r := range s.Store.Roots() {
		if strings.HasPrefix(r.Dir, dir+"-v") && r.Owner == owner && hash != "" { // an older version, kept for its callers
			if other, err := s.tree(root, r, since); err == nil && s.serves(other.Root, r.Owner, hash) {
				older = root
			}
		}
		if dir != r.Dir && !strings.HasPrefix(dir, r.Dir+string(filepath.Separator)) {
			continue
		}
		other, err := s.tree(root, r, since)
		if err != nil {
			broken = err
			continue // the cell may be another tree's, further in
		}
		for _, o := range other.Nodes {
			switch {
			case o.Manifest.Dir != dir:
			case s.System && r.Owner != owner && owner != 0 && o.Manifest.Auth.Allow == nil:
				foreign = true
			default:
				return o.Name, nil
			}
		}
	}
	switch {
	case older != "":
		return older, nil
	case foreign:
		return "", failure(api.ErrDenied, "need %s of %s: %s belongs to another user", need.Name, n.Name, dir)
	case broken != nil:
		return "", broken
	}
	return "", failure(api.ErrNotReady, "need %s of %s: the cell in %s was not started: cell mitosis %s", need.Name, n.Name, dir, dir)
}

// Invites tells whether a cell says itself who may call it, so that others than its owner's may be meant.
func (s *Server) Invites(name string) bool {
	n, err := s.node(name)
	return err == nil && n.Manifest.Auth.Allow != nil
}

// kept is the cell that serves callers built against hash: name itself, or an older major version NAME-vN beside it.
func (s *Server) kept(name, hash string, since time.Time) string {
	root, r, err := s.rootOf(name)
	if err != nil || hash == "" {
		return name
	}
	tree, err := s.tree(root, r, since)
	if err != nil || tree.Find(name) == nil || s.serves(tree.Find(name), r.Owner, hash) {
		return name
	}
	for _, n := range tree.Nodes {
		if strings.HasPrefix(n.Name, name+"-v") && s.serves(n, r.Owner, hash) {
			return n.Name
		}
	}
	for root, r2 := range s.Store.Roots() {
		if !strings.HasPrefix(root, name+"-v") || r2.Owner != r.Owner {
			continue
		}
		if other, err := s.tree(root, r2, since); err == nil && s.serves(other.Root, r2.Owner, hash) {
			return root
		}
	}
	return name
}

// serves tells whether a cell's genome is that of hash, or one that accepts it; true where it has none.
func (s *Server) serves(n *manifest.Node, owner int, hash string) bool {
	var data []byte
	var err error
	if aerr := s.as(owner, func() { data, err = os.ReadFile(filepath.Join(n.Manifest.Dir, genome.File)) }); aerr != nil || err != nil {
		return true
	}
	g, err := genome.Parse(data)
	return err != nil || g.WireHash() == hash || slices.Contains(g.Accepts, hash)
}

// Replicate makes n replicas of a cell run, until its tree is applied again.
func (s *Server) Replicate(ctx context.Context, name string, n int) ([]api.Step, error) {
	root, r, err := s.rootOf(name)
	if err != nil {
		return nil, err
	}
	defer s.lock(root)()
	tree, errs := s.loadTree(r.Dir, r.Owner)
	if len(errs) > 0 {
		return nil, failure(api.ErrInvalid, "%v", errs)
	}
	if tree.Find(name) == nil {
		return nil, failure(api.ErrNotFound, "%s has no cell %q", root, name)
	}
	if name == root {
		return nil, failure(api.ErrInvalid, "%s is the root of its tree: only what is below it has replicas", name)
	}
	for other, has := range r.Replicas {
		if other != name {
			tree.Replicate(other, has)
		}
	}
	if errs := tree.Replicate(name, n); len(errs) > 0 {
		return nil, failure(api.ErrInvalid, "%v", errs)
	}
	before := r.Replicas[name]
	set := func(n int) error {
		return s.want(func(all map[string]store.Root) {
			r := all[root]
			if r.Replicas == nil {
				r.Replicas = map[string]int{}
			}
			if r.Replicas[name] = n; n == 0 {
				delete(r.Replicas, name)
			}
			all[root] = r
		})
	}
	if err := set(n); err != nil {
		return nil, err
	}
	f, err := s.load(r.Dir, r.Owner)
	var steps []reconcile.Step
	if err == nil {
		steps, err = s.plan(ctx, f, nil, false)
	}
	if err != nil {
		return nil, errors.Join(err, set(before))
	}
	steps = slices.DeleteFunc(steps, func(st reconcile.Step) bool { return unit.Base(st.Name) != name })
	return s.run(ctx, f, steps, false, nil), nil
}

// Below finds the cell that one of the instances means by target when it manages cells: a child, or another one below it.
func (s *Server) Below(caller, target string) (string, error) {
	self := unit.Base(caller)
	_, r, err := s.rootOf(self)
	if err != nil {
		return "", err
	}
	tree, errs := s.loadTree(r.Dir, r.Owner)
	if len(errs) > 0 {
		return "", failure(api.ErrInvalid, "%v", errs)
	}
	for _, name := range []string{self + "." + target, target} {
		if strings.HasPrefix(name, self+".") && tree.Find(name) != nil {
			return name, nil
		}
	}
	return "", failure(api.ErrDenied, "%s is not below %s, which manages only its own subtree", target, self)
}

// reaches finds the cell that the caller means by target. A program that is no cell names cells in full; whether it may call
// one is mayCall's to say.
func (s *Server) reaches(who Caller, target, hash string) (string, error) {
	if who.Cell != "" && who.Node == "" {
		return s.Resolve(who.Cell, target, hash)
	}
	if _, _, err := s.rootOf(target); err != nil {
		return "", err
	}
	if who.Node != "" {
		return s.kept(target, hash, time.Now().Add(-recent)), nil
	}
	return target, nil
}

// MayManage refuses a program of user uid, which is no cell, a cell of somebody else.
func (s *Server) MayManage(uid int, name string) error {
	owner, err := s.OwnerOfCell(name)
	if err != nil {
		return err
	}
	if uid == 0 || uid == os.Geteuid() || s.System && uid == owner {
		return nil
	}
	return failure(api.ErrDenied, "%s belongs to another user", name)
}

// Wish is what a caller wants to be connected to.
type Wish struct {
	Target string   // as the caller calls the cell, or an instance
	Hash   string   // wire hash that the caller was built with
	Avoid  []string // instances that come last
	TCP    bool     // a TCP connection, where the cell's program listens on a port
}

// Call connects a caller to the cell that it means: to one of its instances, in turn, or to the one that is named. A cell that sleeps wakes.
// One that does not run here is looked for on other machines.
func (s *Server) Call(ctx context.Context, who Caller, w Wish) (*Introduced, error) {
	to, err := s.callHere(ctx, who, w)
	if notHere(err) {
		if name, ok := s.elsewhere(who, w.Target); ok {
			return s.callElsewhere(ctx, who, name, w.Hash, w.Avoid)
		}
	}
	return to, err
}

func (s *Server) callHere(ctx context.Context, who Caller, w Wish) (*Introduced, error) {
	name, err := s.reaches(who, w.Target, w.Hash)
	if err != nil {
		return nil, err
	}
	denied, err := s.mayCall(who, name)
	if err != nil {
		return nil, err
	}
	n, err := s.node(name)
	if err != nil {
		return nil, err
	}
	to, err := s.connectAny(ctx, n, name, w)
	if err != nil {
		return nil, err
	}
	if to.Replicas > 1 {
		to.Takes, _ = s.reputation(to.Instance)
	}
	if n.Manifest.Speaks == "cell" {
		if to.Nonce, to.Expires, err = s.introduce(to.File, who, to.Instance, denied); err != nil {
			to.File.Close()
			return nil, err
		}
	}
	s.Called(to.Instance, who.String())
	return to, nil
}

// connectAny connects to the instance name, or to one of those of n when name is the cell: if possible to none of those to avoid.
func (s *Server) connectAny(ctx context.Context, n *manifest.Node, name string, w Wish) (*Introduced, error) {
	instances := []string{name}
	if name == n.Name {
		instances = unit.Instances(n)
	}
	s.mu.Lock()
	if s.turns == nil {
		s.turns = map[string]int{}
	}
	turn := s.turns[name]
	s.turns[name]++
	s.mu.Unlock()
	var order []string
	for _, last := range []bool{false, true} {
		for i := range instances {
			if at := instances[(turn+i)%len(instances)]; (slices.Contains(w.Avoid, at) || !s.isWell(at)) == last {
				order = append(order, at)
			}
		}
		if !last {
			s.preferFaster(order)
		}
	}
	for _, at := range order {
		if w.TCP && n.Manifest.Port > 0 && !n.Manifest.Net.Internet { // in the machine's network a socket leads everywhere
			if f, err := s.connectPort(ctx, at, n.Manifest.Port); err == nil {
				return &Introduced{File: f, Instance: at, Replicas: len(order), Confined: true}, nil
			}
		}
		var d net.Dialer
		if c, err := d.DialContext(ctx, "unix", unit.SocketPath(s.SocketDir, at)); err == nil {
			return introduced(c.(*net.UnixConn), at, len(order))
		}
	}
	// Nobody listens at this moment: the first one is waited for, as long as it may take to be exchanged.
	c, err := s.dial(ctx, order[0])
	if err != nil {
		return nil, err
	}
	return introduced(c, order[0], len(order))
}

func introduced(c *net.UnixConn, at string, replicas int) (*Introduced, error) {
	defer c.Close()
	f, err := c.File()
	if err != nil {
		return nil, failure(api.ErrNotReady, "hand over the connection to %s: %v", at, err)
	}
	return &Introduced{File: f, Instance: at, Replicas: replicas, Confined: true}, nil // a Unix socket stays connected
}

// preferFaster exchanges the first two instances when the second is known to answer in less than half the time. Nobody waits
// long for his turn at one that is as good as others.
func (s *Server) preferFaster(order []string) {
	if len(order) < 2 {
		return
	}
	var load [2]time.Duration
	for i := range load {
		took, inFlight := s.reputation(order[i])
		load[i] = took * time.Duration(inFlight+1)
	}
	if load[1] > 0 && load[1] < load[0]/2 {
		order[0], order[1] = order[1], order[0]
	}
}
