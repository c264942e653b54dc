// Package gen reads a cell's Go source and writes what follows from it: genome.json and cell_gen.go. It type-checks the
// cell's own module only, without running the go command, so it takes milliseconds and works while other parts of the
// program do not compile yet. It knows nothing of connections and of cell.toml.
package gen

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cell-network/cell/sdk/genome"
)

// Output is the name of the generated file beside the served type, ClientOutput that of a caller's package.
const (
	Output       = "cell_gen.go"
	ClientOutput = "client_gen.go"
)

// sdkPath is the package whose Main serves a cell, wirePath the one with the helpers of generated code.
const (
	sdkPath  = "github.com/cell-network/cell/sdk"
	stubPath = sdkPath + "/stub"
	wirePath = sdkPath + "/wire"
)

// Source is what the source of a cell says, before anything is written.
type Source struct {
	Genome *genome.Genome
	Old    *genome.Genome // in genome.json until now; nil when there is none

	dir, home  string // of the cell and, when it is another, of the served type's package
	data, code []byte
}

// Read reads the package in dir. Ids come from the genome.json that is there. Errors are lines "file:line:col: message".
func Read(dir, cellName, version string) (*Source, error) {
	old, err := oldGenome(dir)
	if err != nil {
		return nil, err
	}
	x, err := readSource(dir)
	if err != nil {
		return nil, err
	}
	g := x.genome
	g.Cell, g.Version = cellName, version
	g.Merge(old)
	if err := g.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", x.p.pos(x.served.call.Pos()), err)
	}
	g.Accepts = accepts(old, g)
	s := &Source{Genome: g, Old: old, dir: dir, home: x.p.home}
	if s.data, err = g.Marshal(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, genome.File), err)
	}
	s.code, err = emit(x, s.data)
	return s, err
}

// accepts are the older genomes whose callers g serves: those of old and old itself, unless g breaks with it.
func accepts(old, g *genome.Genome) []string {
	if old == nil || old.WireHash() == g.WireHash() {
		if old == nil {
			return nil
		}
		return old.Accepts
	}
	if genome.Worst(genome.Compare(old, g)) == genome.Break {
		return nil
	}
	all := append(slices.Clone(old.Accepts), old.WireHash())
	all = slices.DeleteFunc(all, func(h string) bool { return h == g.WireHash() })
	return all[max(0, len(all)-genome.MaxAccepts):]
}

// Write writes genome.json and cell_gen.go where they change: both or, after an error, none.
func (s *Source) Write() error {
	return write(s.files())
}

// files are the genome, beside cell.toml, and the code, beside the served type.
func (s *Source) files() []file {
	home := s.home
	if home == "" {
		home = s.dir
	}
	return []file{{filepath.Join(s.dir, genome.File), s.data}, {filepath.Join(home, Output), s.code}}
}

// Build reads the package in dir and writes its genome.json and cell_gen.go where they change. After an error nothing is
// written.
func Build(dir, cellName, version string) (*genome.Genome, error) {
	s, err := Read(dir, cellName, version)
	if err != nil {
		return nil, err
	}
	return s.Genome, s.Write()
}

// readSource extracts the genome of the package in dir, without ids. Where a type is made of one of Go's own packages that is read
// in a second pass: such packages have up to a hundred times as much source as a cell.
func readSource(dir string) (*extractor, error) {
	var real map[string]bool
	for {
		p, err := load(dir, real)
		if err != nil {
			return nil, err
		}
		s, err := p.served()
		if err != nil {
			return nil, err
		}
		x, err := extract(p, s)
		if err == nil || len(x.wants) == 0 || real != nil {
			return x, err
		}
		real = x.wants
	}
}

func oldGenome(dir string) (*genome.Genome, error) {
	path := filepath.Join(dir, genome.File)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	g, err := genome.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (repair it or take it from version control: the ids in it must not be lost)", path, err)
	}
	return g, nil
}

// Stale names those of the two files, by path, that Write would change.
func (s *Source) Stale() (names []string, err error) {
	for _, f := range s.files() {
		have, err := os.ReadFile(f.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err != nil || !bytes.Equal(have, f.data) {
			names = append(names, f.path)
		}
	}
	return names, nil
}
