package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cell-network/cell/internal/host"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/gen"
	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/manifest"
)

// acceptedDir holds the genomes of released versions of a cell whose callers it has to serve.
const acceptedDir = "accepted"

// holder is somebody who was built against an older genome of a cell: a caller, or a released version on file.
type holder struct {
	name   string // of the calling cell, or the file
	dir    string // of the calling cell; empty for a file
	need   string
	genome *genome.Genome
}

// holders finds who holds a genome of the cell in dir: callers in the tree, beside its root and among the cells that are
// wanted on this machine, and accepted/.
func holders(tree *manifest.Tree, dir string, wanted []string) ([]holder, error) {
	var all []holder
	add := func(name string, m *manifest.Manifest) error {
		for _, need := range m.Needs {
			if need.Git != "" {
				continue
			}
			to, err := filepath.EvalSymlinks(filepath.Join(m.Dir, need.Path))
			if err != nil || to != dir {
				continue
			}
			g, err := readGenome(filepath.Join(gen.ClientPath(m.Dir, need.Name), genome.File))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			all = append(all, holder{name, m.Dir, need.Name, g})
		}
		return nil
	}
	known := map[string]bool{}
	for _, n := range tree.Nodes {
		known[n.Manifest.Dir] = true
		if err := add(n.Name, n.Manifest); err != nil {
			return nil, err
		}
	}
	look := func(at string) error {
		at, err := filepath.EvalSymlinks(at)
		if err != nil || known[at] {
			return nil
		}
		known[at] = true
		// Another cell that is broken itself is not this cell's business.
		if m, errs := manifest.Load(at); len(errs) == 0 {
			return add(m.Name, m)
		}
		return nil
	}
	for _, near := range []string{filepath.Dir(tree.Root.Manifest.Dir), filepath.Dir(dir)} {
		files, err := filepath.Glob(filepath.Join(near, "*", manifest.File))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if err := look(filepath.Dir(f)); err != nil {
				return nil, err
			}
		}
	}
	for _, at := range wanted {
		if err := look(at); err != nil {
			return nil, err
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, acceptedDir, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		g, err := readGenome(f)
		if err != nil {
			return nil, err
		}
		all = append(all, holder{name: relative(f), genome: g})
	}
	return all, nil
}

// mayBreak tells whether a cell of version now owes nothing to callers that were built against version then: before 1.0.0
// nothing is promised, and another major version is another promise.
func mayBreak(then, now string) bool {
	return major(now) == "0" || major(then) != major(now)
}

func major(version string) string {
	m, _, _ := strings.Cut(version, ".")
	return m
}

// wantedDirs are the directories of the cells that celld knows; none where it is not reached. It is asked once.
func (x *interfaces) wantedDirs(ctx context.Context) []string {
	x.asked.Do(func() { x.wanted = askDirs(ctx) })
	return x.wanted
}

func askDirs(ctx context.Context) []string {
	h, err := host.Find(ctx, "")
	if err != nil {
		return nil
	}
	conn, err := h.Dial(ctx)
	if err != nil {
		return nil
	}
	defer conn.Close()
	cells, err := api.Manager{Conn: conn}.List(ctx, "")
	if err != nil {
		return nil
	}
	var dirs []string
	for _, c := range cells {
		dirs = append(dirs, c.Dir)
	}
	return dirs
}

// compatible refuses a new genome that breaks who holds an older one.
func (x *interfaces) compatible(ctx context.Context, tree *manifest.Tree, n *manifest.Node, r *reading) error {
	g := r.genome
	var elsewhere []string
	if old := r.source.Old; old != nil && (old.WireHash() != g.WireHash() || genome.Worst(genome.Compare(old, g)) == genome.Break) {
		elsewhere = x.wantedDirs(ctx)
	}
	all, err := holders(tree, n.Manifest.Dir, elsewhere)
	if err != nil {
		return err
	}
	type broken struct {
		change genome.Change
		by     []string
	}
	var found []*broken
	for _, h := range all {
		if h.genome.FullHash() == g.FullHash() || mayBreak(h.genome.Version, g.Version) {
			continue
		}
		for _, c := range genome.Compare(h.genome, g) {
			if c.Verdict != genome.Break {
				continue
			}
			i := slices.IndexFunc(found, func(b *broken) bool { return b.change.Where == c.Where && b.change.What == c.What })
			if i < 0 {
				i = len(found)
				found = append(found, &broken{change: c})
			}
			found[i].by = append(found[i].by, h.places(c)...)
		}
	}
	if len(found) == 0 {
		return nil
	}
	var text strings.Builder
	for _, b := range found {
		fmt.Fprintf(&text, "%s.%s: breaks %s\n", n.Name, says(b.change), count(len(b.by), "place"))
		for _, line := range b.by {
			fmt.Fprintf(&text, "    %s\n", line)
		}
	}
	text.WriteString("it would break callers")
	next := genome.Bump(g.Version, []genome.Change{found[0].change})
	return &codeError{exitError, text.String(), []string{
		"keep what is there and add something new beside it, or",
		fmt.Sprintf("cell build --new-major %s   makes version %s beside %s", relative(n.Manifest.Dir), next, g.Version),
	}}
}

// places are the lines of a caller that a change breaks; the caller itself when it is not seen to use what changed.
func (h holder) places(c genome.Change) []string {
	version := "built against " + h.genome.Version
	if h.dir == "" {
		return []string{fmt.Sprintf("%-22s %s", h.name, version)}
	}
	var lines []string
	uses, err := gen.Uses(h.dir, gen.ClientPath(h.dir, h.need), gen.Target{Method: c.Method, Type: c.Type, Field: c.Field})
	for _, at := range uses {
		lines = append(lines, fmt.Sprintf("%-14s %s:%d:%d   %s", h.name, relative(at.Filename), at.Line, at.Column, version))
	}
	if err != nil || len(lines) == 0 {
		lines = []string{fmt.Sprintf("%-14s %s   %s, and does not name it", h.name, relative(h.dir), version)}
	}
	return lines
}

// release keeps the genome of a version that is left behind, for callers that were built against it.
func release(dir string, old, g *genome.Genome) error {
	if old == nil || old.Version == g.Version || major(old.Version) == "0" || old.WireHash() == g.WireHash() {
		return nil
	}
	data, err := old.Marshal()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, acceptedDir), 0o755); err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, acceptedDir, old.Version+".json"), data)
}

// changed says what a build does to a cell's interface, and which version that makes; "" when nothing changed.
func changed(old, g *genome.Genome) string {
	if old == nil || major(old.Version) == "0" && major(g.Version) == "0" { // nothing is promised yet
		return ""
	}
	changes := slices.DeleteFunc(genome.Compare(old, g), func(c genome.Change) bool { return c.ID == "doc" })
	if len(changes) == 0 {
		return ""
	}
	text := fmt.Sprintf("%s: %s", genome.Worst(changes), says(changes[0]))
	if len(changes) > 1 {
		text += fmt.Sprintf(" and %d more", len(changes)-1)
	}
	if next := genome.Bump(old.Version, changes); genome.CompareVersions(g.Version, next) < 0 {
		text += fmt.Sprintf("; the version should be %s, not %s", next, g.Version)
	}
	return text
}

// says is a change as a line.
func says(c genome.Change) string { return c.Where + ": " + c.What }
