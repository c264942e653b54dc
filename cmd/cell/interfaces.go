package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/cell-network/cell/internal/nearest"
	"github.com/cell-network/cell/sdk/gen"
	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/manifest"
)

// interfaces reads the genomes of cells from their source, each once for a command: many cells may need one.
type interfaces struct {
	mu   sync.Mutex
	read map[string]*reading

	asked  sync.Once
	wanted []string // directories of the cells that celld knows
}

// reading is one cell's interface: from Go source, or from its genome.json where the source is in another language.
type reading struct {
	once     sync.Once
	manifest *manifest.Manifest
	source   *gen.Source // nil for other languages
	genome   *genome.Genome
	err      error
}

func newInterfaces() *interfaces { return &interfaces{read: map[string]*reading{}} }

// generated tells whether a cell's genome is made from its source.
func generated(m *manifest.Manifest) bool { return m.Speaks == "cell" && m.Build != "" && isGo(m.Dir) }

// of reads the cell in dir. Its genome is nil when it has no methods: it speaks http or tcp.
func (x *interfaces) of(dir string) *reading {
	x.mu.Lock()
	r := x.read[dir]
	if r == nil {
		r = &reading{}
		x.read[dir] = r
	}
	x.mu.Unlock()
	r.once.Do(func() {
		m, errs := manifest.Load(dir)
		if len(errs) > 0 {
			r.err = errs
			return
		}
		if r.manifest = m; m.Speaks != "cell" {
			return
		}
		if generated(m) {
			if r.source, r.err = gen.Read(m.Dir, m.Name, m.Version); r.err == nil {
				r.genome = r.source.Genome
			}
			return
		}
		r.genome, r.err = readGenome(filepath.Join(m.Dir, genome.File))
		if errors.Is(r.err, fs.ErrNotExist) {
			r.err = &codeError{exitError, fmt.Sprintf("%s has neither Go source nor %s", relative(m.Dir), genome.File), nil}
		}
	})
	return r
}

func readGenome(file string) (*genome.Genome, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	g, err := genome.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", relative(file), err)
	}
	return g, nil
}

// binding is the package through which a cell calls one that it needs.
type binding struct {
	need   manifest.Need
	dir    string // of the provider; empty when its source is in a repository
	to     string // of the package
	genome *genome.Genome
}

// clients are the packages that a cell's source should have, for Go cells and the needs that have methods.
func (x *interfaces) clients(m *manifest.Manifest) ([]binding, error) {
	if !isGo(m.Dir) {
		return nil, nil
	}
	var all []binding
	for _, need := range m.Needs {
		if need.Git != "" { // read by cell sync alone: a build asks nobody
			to := gen.ClientPath(m.Dir, need.Name)
			g, err := readGenome(filepath.Join(to, genome.File))
			if errors.Is(err, fs.ErrNotExist) {
				return nil, &codeError{exitError, fmt.Sprintf("need %s: what it serves was not fetched yet", need.Name), []string{fmt.Sprintf("cell sync %s   fetches it from %s", relative(m.Dir), need.Git)}}
			}
			if err != nil {
				return nil, err
			}
			all = append(all, binding{need, "", to, g})
			continue
		}
		dir, err := filepath.EvalSymlinks(filepath.Join(m.Dir, need.Path))
		if err != nil {
			return nil, fmt.Errorf("need %s: %w", need.Name, err)
		}
		r := x.of(dir)
		if r.err != nil {
			return nil, fmt.Errorf("need %s: %w", need.Name, r.err)
		}
		if r.genome != nil {
			all = append(all, binding{need, dir, gen.ClientPath(m.Dir, need.Name), r.genome})
		}
	}
	return all, nil
}

// stale tells whether the package is not what the provider's source makes it: "" when it is.
func (c binding) stale() (string, error) {
	if c.held() {
		return "", nil
	}
	have, err := readGenome(filepath.Join(c.to, genome.File))
	if errors.Is(err, fs.ErrNotExist) {
		return "is not there yet", nil
	}
	if err != nil {
		return "", err
	}
	if have.FullHash() == c.genome.FullHash() {
		return "", nil
	}
	changes := genome.Compare(have, c.genome)
	if len(changes) == 0 {
		return "is older", nil
	}
	return fmt.Sprintf("is older (%s)", says(changes[0])), nil
}

// held tells whether the package is for an older major version that is kept beside the provider: it stays until cell sync.
func (c binding) held() bool {
	have, err := readGenome(filepath.Join(c.to, genome.File))
	if err != nil || c.dir == "" || major(have.Version) == major(c.genome.Version) {
		return false
	}
	kept, err := readGenome(filepath.Join(c.dir+"-v"+major(have.Version), genome.File))
	return err == nil && (kept.WireHash() == have.WireHash() || slices.Contains(kept.Accepts, have.WireHash()))
}

// generate writes the packages through which a cell calls what it needs, and then its own code.
func (x *interfaces) generate(m *manifest.Manifest) error {
	clients, err := x.clients(m)
	if err != nil {
		return err
	}
	for _, c := range clients {
		if c.held() {
			continue
		}
		if _, err := gen.Client(m.Dir, c.need.Name, c.genome); err != nil {
			return err
		}
	}
	return nil
}

// rules refuses an [auth.methods] that names a method which the cell has not: it would protect nothing.
func (x *interfaces) rules(m *manifest.Manifest) error {
	if len(m.Auth.Methods) == 0 {
		return nil
	}
	r := x.of(m.Dir)
	if r.err != nil {
		return r.err
	}
	var names []string
	for _, method := range r.genome.Methods {
		names = append(names, method.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Auth.Methods)) {
		if slices.Contains(names, name) {
			continue
		}
		hints := []string{r.genome.Serves + " has " + strings.Join(names, ", ")}
		if near := nearest.Word(name, names); near != "" {
			hints = []string{"did you mean " + near + "?"}
		}
		return &codeError{exitError, fmt.Sprintf("%s: [auth.methods] %s: %s has no such method", relative(filepath.Join(m.Dir, manifest.File)), name, r.genome.Serves), hints}
	}
	return nil
}

// drift lists what of a cell's committed generated code is not what its source and its needs make it.
func (x *interfaces) drift(m *manifest.Manifest) ([]string, error) {
	var lines []string
	clients, err := x.clients(m)
	if err != nil {
		return nil, err
	}
	for _, c := range clients {
		why, err := c.stale()
		if err != nil {
			return nil, err
		}
		if why != "" {
			lines = append(lines, fmt.Sprintf("%s: the package for calls of %s %s", relative(c.to), c.need.Name, why))
		}
	}
	if !generated(m) {
		return lines, nil
	}
	r := x.of(m.Dir)
	if r.err != nil {
		return nil, r.err
	}
	stale, err := r.source.Stale()
	if err != nil {
		return nil, err
	}
	for _, name := range stale {
		lines = append(lines, fmt.Sprintf("%s: is not what the source makes it", relative(name)))
	}
	return lines, nil
}
