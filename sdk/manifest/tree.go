package manifest

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxCells bounds a tree, replicas not counted.
const maxCells = 10000

// maxReplicas bounds the replicas of one cell.
const maxReplicas = 1000

// Tree is a root cell with everything below it.
type Tree struct {
	Root  *Node
	Nodes []*Node // in the order of starting: children before their parent, needed cells before those that need them

	byName map[string]*Node
}

// Node is a cell in its tree.
type Node struct {
	Name     string // dotted path from the root
	Manifest *Manifest
	Parent   *Node
	Children []*Node
	Needs    []*Node // of the same tree
	Replicas int
}

// Leave takes the cells out that are pinned to other machines than here, each with its subtree. It returns their names.
func (t *Tree) Leave(here string) (elsewhere []string) {
	away := map[*Node]bool{}
	for i := len(t.Nodes) - 1; i >= 0; i-- { // parents come after their children
		n := t.Nodes[i]
		away[n] = n.Manifest.Pin != "" && n.Manifest.Pin != here || n.Parent != nil && away[n.Parent]
	}
	gone := func(n *Node) bool { return away[n] }
	for _, n := range t.Nodes {
		if away[n] {
			elsewhere = append(elsewhere, n.Name)
			delete(t.byName, n.Name)
		}
		n.Children = slices.DeleteFunc(n.Children, gone)
		n.Needs = slices.DeleteFunc(n.Needs, gone)
	}
	t.Nodes = slices.DeleteFunc(t.Nodes, gone)
	return elsewhere
}

// Find returns the node of a dotted name, or nil.
func (t *Tree) Find(name string) *Node { return t.byName[name] }

// Replicate changes how many replicas of a cell the tree has. The errors are those of a number that is not allowed or does not
// fit the limits above; a name that the tree does not have changes nothing.
func (t *Tree) Replicate(name string, n int) Errors {
	node := t.byName[name]
	if node == nil {
		return nil
	}
	l := &loader{tree: t}
	switch {
	case n < 1 || n > maxReplicas:
		l.errs.add(node.file(), Pos{1, 1}, "%s: %d replicas, allowed are 1 to %d", name, n, maxReplicas)
	case n > 1 && len(node.Children) > 0:
		l.errs.add(node.file(), Pos{1, 1}, "%s: a cell with children of its own cannot have replicas", name)
	}
	if len(l.errs) > 0 {
		return l.errs
	}
	node.Replicas = n
	l.sums(t.Root)
	return l.errs
}

type loader struct {
	tree  *Tree
	errs  Errors
	byDir map[string]*Node
}

// LoadTree reads the tree rooted at dir. It returns every error of every file at once; the tree is then nil.
func LoadTree(dir string) (*Tree, Errors) {
	m, errs := Load(dir)
	if m == nil {
		return nil, errs
	}
	l := &loader{tree: &Tree{byName: map[string]*Node{}}, errs: errs, byDir: map[string]*Node{}}
	if _, given := m.pos["cell.name"]; !given && m.Name != "" && !ValidName(m.Name) { // without a name the file did not parse
		l.errs.add(filepath.Join(dir, File), m.at("cell"), "the directory's name %q cannot name a cell", short(m.Name)).
			hint(`write [cell] name = "…" with a to z, digits and dashes`)
	}
	l.tree.Root = l.add(&Node{Name: m.Name, Manifest: m, Replicas: 1})
	for _, n := range l.tree.byName {
		l.needs(n)
	}
	l.sums(l.tree.Root)
	if len(l.errs) == 0 {
		l.order()
	}
	if len(l.errs) > 0 {
		l.errs.sort()
		return nil, l.errs
	}
	return l.tree, nil
}

func (n *Node) file() string { return filepath.Join(n.Manifest.Dir, File) }

// add takes a node with its subtree into the tree.
func (l *loader) add(n *Node) *Node {
	l.tree.byName[n.Name] = n
	l.byDir[n.Manifest.Dir] = n
	for _, c := range n.Manifest.Cells {
		name := n.Name + "." + c.Name
		fail := func(format string, args ...any) *Error { return l.errs.add(n.file(), c.Pos, format, args...) }
		dir, err := filepath.EvalSymlinks(filepath.Join(n.Manifest.Dir, c.Path))
		switch {
		case err != nil:
			fail("%s: there is no directory %s", c.Name, short(c.Path)).hint(`make it, or name another with %s = { path = "…" }`, c.Name)
			continue
		case l.ancestor(n, dir) != nil:
			fail("%s: cycle: %s contains itself", name, l.ancestor(n, dir).Name).hint("remove one of the lines in [cells]; to call a cell without owning it write it in [needs]")
			continue
		case l.byDir[dir] != nil:
			fail("%s: the directory is already the cell %s", c.Name, l.byDir[dir].Name).hint("for several of one cell write replicas = N")
			continue
		case len(name) > maxPath:
			fail("%s: the path of names is longer than %d bytes", c.Name, maxPath).hint("choose shorter names")
			continue
		case len(l.tree.byName) >= maxCells:
			fail("%s: the tree has more than %d cells", c.Name, maxCells)
			continue
		}
		m, errs := Load(dir)
		l.errs = append(l.errs, errs...)
		if m == nil {
			continue
		}
		if c.Replicas > 1 && len(m.Cells) > 0 {
			fail("%s: a cell with children of its own cannot have replicas", c.Name).hint("give the replicas to its children")
		}
		n.Children = append(n.Children, l.add(&Node{Name: name, Manifest: m, Parent: n, Replicas: c.Replicas}))
	}
	return n
}

// ancestor returns n or the parent of it that lives in dir.
func (l *loader) ancestor(n *Node, dir string) *Node {
	for ; n != nil; n = n.Parent {
		if n.Manifest.Dir == dir {
			return n
		}
	}
	return nil
}

// needs resolves a node's needs; those outside of the tree only have to exist.
func (l *loader) needs(n *Node) {
	taken := map[string]string{}
	for i := range n.Manifest.Needs {
		need := &n.Manifest.Needs[i]
		if need.Git != "" {
			l.junction(n, need, nil, taken)
			continue
		}
		dir, err := filepath.EvalSymlinks(filepath.Join(n.Manifest.Dir, need.Path))
		if err == nil {
			_, err = os.Stat(filepath.Join(dir, File))
		}
		if err != nil {
			l.errs.add(n.file(), need.Pos, "%s: there is no cell in %s", need.Name, short(need.Path)).hint("the path is relative to %s", n.Manifest.Dir)
			continue
		}
		switch other := l.byDir[dir]; {
		case other == n:
			l.errs.add(n.file(), need.Pos, "%s: a cell cannot need itself", need.Name)
		case other != nil:
			n.Needs = append(n.Needs, other)
			l.junction(n, need, other.Manifest, taken)
		default:
			m, _ := Load(dir) // its errors are its own tree's
			l.junction(n, need, m, taken)
		}
	}
}

// junction finds out by which name and port a program of n reaches the cell of a need, whose manifest is called where it can be read.
func (l *loader) junction(n *Node, need *Need, called *Manifest, taken map[string]string) {
	switch {
	case called == nil:
	case called.Speaks == "job":
		l.errs.add(n.file(), need.Pos, "%s: it is a job, which nobody can call", need.Name).hint("remove it from [needs]; what runs together belongs into one tree")
		return
	case called.Speaks == "cell" && need.At != "":
		l.errs.add(n.file(), need.Pos, "%s: at: the cell speaks \"cell\", which a program without the SDK does not", need.Name).
			hint("remove at, and call it with the SDK or through cell-http")
		return
	case called.Speaks == "cell" || need.At != "":
	case called.Port > 0:
		need.Host, need.Port = need.Name, called.Port
	case called.Speaks == "http":
		need.Host, need.Port = need.Name, 80
	}
	if need.Port == 0 {
		return
	}
	at := fmt.Sprintf("%s:%d", need.Host, need.Port)
	if other := taken[at]; other != "" {
		l.errs.add(n.file(), need.Pos, "%s: %s is %s already", need.Name, at, other).hint(`give one of them another place with at = "HOST:PORT"`)
	}
	taken[at] = need.Name
}

// sums checks that what children may use together, or need where they have no limit, stays within their parent, so that the
// kernel's limit on the parent is a backstop and not the tool.
func (l *loader) sums(n *Node) {
	r := n.Manifest.Resources
	number := func(f float64) string { return fmt.Sprint(f) }
	size := func(f float64) string { return FormatBytes(int64(f)) }
	l.sum(n, "cpu", "max", r.CPUMax, func(r Resources) float64 { return cmp.Or(r.CPUMax, r.CPUMin) }, number)
	l.sum(n, "memory", "max", float64(r.MemoryMax), func(r Resources) float64 { return float64(cmp.Or(r.MemoryMax, r.MemoryMin)) }, size)
	l.sum(n, "storage", "max", float64(r.StorageMax), func(r Resources) float64 { return float64(r.StorageMax) }, size)
	l.sum(n, "tasks", "", float64(r.Tasks), func(r Resources) float64 { return float64(r.Tasks) }, number)
	for _, c := range n.Children {
		l.sums(c)
	}
}

func (l *loader) sum(n *Node, what, key string, allowed float64, of func(Resources) float64, format func(float64) string) {
	if allowed == 0 {
		return
	}
	var total float64
	var notes []string
	for _, c := range n.Children {
		need := of(c.Manifest.Resources) * float64(c.Replicas)
		if need == 0 {
			continue
		}
		total += need
		label := strings.TrimPrefix(c.Name, n.Name+".")
		if c.Replicas > 1 {
			label += fmt.Sprintf(" ×%d", c.Replicas)
		}
		notes = append(notes, fmt.Sprintf("%-20s %s", label, format(need)))
	}
	if total <= allowed {
		return
	}
	if key != "" {
		key = "." + key
	}
	e := l.errs.add(n.file(), n.Manifest.at("resources."+what, "resources"), "%s: children need %s, %s allows %s", what, format(total), n.Name, format(allowed))
	e.Notes = notes
	e.hint("raise [resources] %s%s of %s to %s, or lower its children's", what, key, n.Name, format(total))
}

// order lists the nodes so that each follows its children and what it needs; a cycle of needs has no order.
func (l *loader) order() {
	const (
		visiting = 1
		done     = 2
	)
	mark := map[*Node]int{}
	var path []*Node
	var visit func(n *Node) bool
	visit = func(n *Node) bool {
		switch mark[n] {
		case done:
			return true
		case visiting:
			at := slices.Index(path, n)
			names := []string{}
			for _, p := range path[at:] {
				names = append(names, p.Name)
			}
			l.errs.add(n.file(), n.Manifest.at("needs", "cells"), "cycle: %s → %s", strings.Join(names, " → "), n.Name).
				hint("move what both need into a third cell")
			return false
		}
		mark[n] = visiting
		path = append(path, n)
		for _, next := range slices.Concat(n.Children, n.Needs) {
			if !visit(next) {
				return false
			}
		}
		path = path[:len(path)-1]
		mark[n] = done
		l.tree.Nodes = append(l.tree.Nodes, n)
		return true
	}
	visit(l.tree.Root)
}
