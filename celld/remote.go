package celld

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/manifest"
)

// Mesh reaches the cells of other machines; it is cellnetd on the bus.
type Mesh interface {
	// Changed is signalled when a cellnetd came or went; There tells whether one is there now.
	Changed() <-chan struct{}
	There() bool

	// Node is what this machine is called in its tissue, empty without one.
	Node(ctx context.Context) (string, error)

	Announce(ctx context.Context, cells []api.Announced) error
	Dial(ctx context.Context, c api.RemoteCall) (*os.File, api.Reached, error)
	Renew(ctx context.Context, c api.RemoteCall) (api.Reached, error)
}

// noAccount is the user of callers whose own has no account here.
const noAccount = 65534

// member is the role of a machine that is the owner's of this one.
const member = "member"

// from is who calls from another machine, as cellnetd says. A user is taken for the one of the same name here where that machine
// is the same owner's.
func (s *Server) from(c api.RemoteCall) Caller {
	who := Caller{Cell: c.Cell, UID: noAccount, Node: c.Node, Role: c.Role}
	if c.Role != member {
		return who
	}
	if u, err := user.Lookup(c.User); err == nil {
		if uid, err := strconv.Atoi(u.Uid); err == nil {
			who.UID = uid
		}
	}
	return who
}

// ConnectFor connects a caller on another machine to a cell of this one.
func (s *Server) ConnectFor(ctx context.Context, c api.RemoteCall) (*os.File, api.Reached, error) {
	if c.Node == "" {
		return nil, api.Reached{}, failure(api.ErrInvalid, "a call from another machine without its name")
	}
	to, err := s.Call(ctx, s.from(c), Wish{Target: c.Target, Hash: c.Hash, Avoid: c.Avoid})
	if err != nil {
		return nil, api.Reached{}, err
	}
	n, err := s.node(to.Instance)
	if err != nil {
		to.File.Close()
		return nil, api.Reached{}, err
	}
	r := api.Reached{Instance: to.Instance, Replicas: to.Replicas, Takes: to.Takes, Speaks: n.Manifest.Speaks, Nonce: to.Nonce}
	if to.Nonce != nil {
		r.Lifetime = time.Until(to.Expires)
	}
	return to.File, r, nil
}

// RenewFor makes the introduction of a connection of ConnectFor anew.
func (s *Server) RenewFor(c api.RemoteCall) (api.Reached, error) {
	data, expires, err := s.Renew(context.Background(), s.from(c), c.Target, c.Hash, c.Instance, c.Nonce)
	return api.Reached{Instance: c.Instance, Nonce: c.Nonce, Introduction: data, Lifetime: time.Until(expires)}, err
}

// JudgeFor tells whether a caller on another machine may call a cell of this one, and which rule says so.
func (s *Server) JudgeFor(c api.RemoteCall) (allowed bool, rule string, err error) {
	who := s.from(c)
	name, err := s.reaches(who, c.Target, c.Hash)
	if err != nil {
		return false, "", err
	}
	allowed, rule, denied, err := s.judge(who, name)
	if len(denied) > 0 {
		rule += ", but not its methods " + strings.Join(denied, ", ")
	}
	return allowed, rule, err
}

// elsewhere finds the cell of another machine that the caller means by target, when there may be one: a program that is no cell
// names it in full, a cell by a line of its [needs].
func (s *Server) elsewhere(who Caller, target string) (name string, ok bool) {
	if s.Mesh == nil || who.Node != "" || !s.Mesh.There() {
		return "", false
	}
	if who.Cell == "" {
		return target, true
	}
	n, err := s.node(who.Cell)
	if err != nil {
		return "", false
	}
	for _, need := range n.Manifest.Needs {
		name := need.Name // also of a cell whose source is in a repository, or that only runs elsewhere
		if need.Path != "" && need.Git == "" {
			name = s.nameIn(who.Cell, filepath.Join(n.Manifest.Dir, need.Path))
		}
		if name != "" && (need.Name == target || name == target) {
			return name, true
		}
	}
	for _, c := range n.Manifest.Cells { // one that is pinned to another machine
		if full := n.Name + "." + c.Name; c.Name == target || full == target {
			return full, true
		}
	}
	return "", false
}

// nameIn is the name of the cell in dir, read with the rights of the caller's owner; empty where there is none.
func (s *Server) nameIn(caller, dir string) (name string) {
	owner, err := s.OwnerOfCell(caller)
	if err != nil {
		return ""
	}
	_ = s.as(owner, func() { name = fullName(dir) })
	return name
}

// fullName is the name that the cell in dir has when the outermost cell above it that it belongs to is started.
func fullName(dir string) string {
	dir = filepath.Clean(dir)
	m, errs := manifest.Load(dir)
	if len(errs) > 0 {
		return ""
	}
	name, below := m.Name, ""
	for above := filepath.Dir(dir); ; above = filepath.Dir(above) {
		if m, errs := manifest.Load(above); len(errs) == 0 {
			i := slices.IndexFunc(m.Cells, func(c manifest.Child) bool { return filepath.Join(above, c.Path) == dir })
			if i < 0 {
				return name
			}
			below = "." + m.Cells[i].Name + below
			name, dir = m.Name+below, above
		}
		if above == filepath.Dir(above) {
			return name
		}
	}
}

// callElsewhere connects a caller to a cell on another machine. Whether it may call is decided there.
func (s *Server) callElsewhere(ctx context.Context, who Caller, name, hash string, avoid []string) (*Introduced, error) {
	f, r, err := s.Mesh.Dial(ctx, api.RemoteCall{Target: name, Hash: hash, Avoid: avoid, Cell: who.Cell, User: UserName(who.UID)})
	if err != nil {
		return nil, fromMesh(err)
	}
	return &Introduced{File: f, Instance: r.Instance, Replicas: r.Replicas, Takes: r.Takes, Nonce: r.Nonce, Expires: time.Now().Add(r.Lifetime)}, nil
}

// renewElsewhere has an introduction made anew where the called cell is.
func (s *Server) renewElsewhere(ctx context.Context, who Caller, instance, hash string, nonce []byte) ([]byte, time.Time, error) {
	r, err := s.Mesh.Renew(ctx, api.RemoteCall{Target: instance, Hash: hash, Cell: who.Cell, User: UserName(who.UID), Instance: instance, Nonce: nonce})
	return r.Introduction, time.Now().Add(r.Lifetime), fromMesh(err)
}

// fromMesh keeps the name of an error of cellnetd.
func fromMesh(err error) error {
	if name := api.ErrorName(err); strings.HasPrefix(name, "network.cell.Error.") {
		return failure(name, "%s", api.ErrorText(err))
	}
	return err
}

// notHere tells whether err says that no such cell runs on this machine.
func notHere(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Name == api.ErrNotFound || e.Name == api.ErrNotReady)
}

// AnnounceCells tells cellnetd which cells run here, whenever that changes or a cellnetd comes, until ctx ends.
func (s *Server) AnnounceCells(ctx context.Context) {
	var last []api.Announced
	var rules string
	told := false
	for {
		var looks <-chan time.Time // without a mesh nothing is looked at: celld rests
		if s.Mesh.There() {
			if !s.named() {
				s.nameNode(ctx)
			}
			ticker := time.NewTicker(rulesEvery) // one that nobody holds any more is collected
			looks = ticker.C
			rules = s.rules()
			cells := s.announced()
			if !told || !reflect.DeepEqual(cells, last) {
				if err := s.Mesh.Announce(ctx, cells); err != nil {
					s.Log.Warn("tell the mesh of the cells", "error", err)
				} else {
					last, told = cells, true
				}
			}
		}
		for again := false; !again; {
			select {
			case <-ctx.Done():
				return
			case <-s.Mesh.Changed():
				told, again = false, true
				s.unname()
			case <-s.recelled():
				again = true
			case <-looks: // who may call holds from the moment that it is written down
				again = s.Mesh.There() && (!s.named() || s.rules() != rules)
			}
		}
		select { // what happens together is told together
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// rulesEvery is how often the mesh looks whether somebody has changed a cell.toml.
const rulesEvery = 2 * time.Second

// rules changes when a cell.toml of a tree that is wanted does. No file is read.
func (s *Server) rules() string {
	var all []string
	for root, r := range s.Store.Roots() {
		tree, err := s.tree(root, r, time.Time{})
		if err != nil {
			continue
		}
		for _, n := range tree.Nodes {
			if info, err := os.Stat(filepath.Join(n.Manifest.Dir, manifest.File)); err == nil {
				all = append(all, fmt.Sprintln(n.Name, info.ModTime().UnixNano(), info.Size()))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, "")
}

// here is the name of this machine: that in its tissue or, without one, its host name.
func (s *Server) here() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.machine == "" {
		name, _ := os.Hostname()
		s.machine, _, _ = strings.Cut(strings.ToLower(name), ".")
	}
	return s.machine
}

// named tells whether it is known what this machine is called in its tissue; unname asks anew.
func (s *Server) named() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inTissue
}

func (s *Server) unname() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inTissue = false
}

// nameNode asks what this machine is called. Where that is news, cells that are pinned to the name come.
func (s *Server) nameNode(ctx context.Context) {
	name, err := s.Mesh.Node(ctx)
	if err != nil || name == "" {
		return
	}
	was := s.here()
	s.mu.Lock()
	s.machine, s.inTissue = name, true
	s.mu.Unlock()
	if name == was {
		return
	}
	for root := range s.Store.Roots() {
		s.changed(root)
	}
	go s.Restore(ctx)
}

// recelled has a value after cells came, went or were replaced.
func (s *Server) recelled() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changedCells == nil {
		s.changedCells = make(chan struct{}, 1)
	}
	return s.changedCells
}

func (s *Server) cellsChanged() {
	if s.Mesh == nil {
		return
	}
	select {
	case s.recelled() <- struct{}{}:
	default:
	}
}

// announced are the cells that are wanted and not stopped.
func (s *Server) announced() []api.Announced {
	all := []api.Announced{}
	for root, r := range s.Store.Roots() {
		tree, err := s.tree(root, r, time.Now())
		if err != nil {
			continue
		}
		for _, n := range tree.Nodes {
			m := n.Manifest
			if stopped(r, n.Name) || m.Speaks == "job" { // which nobody calls
				continue
			}
			a := api.Announced{
				Name: n.Name, Instances: len(unit.Instances(n)), Version: m.Version, Speaks: m.Speaks, Port: m.Port, Owner: UserName(r.Owner), Open: m.Auth.Allow == nil,
			}
			for _, p := range m.Auth.Allow {
				a.Callers = append(a.Callers, p.String())
			}
			if m.Speaks == "http" {
				a.Port = 80
			}
			var data []byte
			_ = s.as(r.Owner, func() { data, _ = os.ReadFile(filepath.Join(m.Dir, genome.File)) })
			if g, err := genome.Parse(data); err == nil {
				a.Hash, a.Accepts = g.WireHash(), g.Accepts
			}
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b api.Announced) int { return strings.Compare(a.Name, b.Name) })
	return all
}
