// Package gen reads a cell's Go source and writes what follows from it: genome.json and cell_gen.go. It type-checks the
// cell's own module only, without running the go command, so it takes milliseconds and works while other parts of the
// program do not compile yet. It knows nothing of connections and of cell.toml.
package gen

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cell-network/cell/sdk/genome"
)

// Output is the name of the generated file.
const Output = "cell_gen.go"

// sdkPath is the package whose Main serves a cell, wirePath the one with the helpers of generated code.
const (
	sdkPath  = "github.com/cell-network/cell/sdk"
	wirePath = sdkPath + "/wire"
)

// Build reads the package in dir, writes its genome.json and cell_gen.go where they change, and returns the genome. Ids
// come from the genome.json that is there. After an error nothing is written; errors are lines "file:line:col: message".
func Build(dir, cellName, version string) (*genome.Genome, error) {
	old, err := oldGenome(dir)
	if err != nil {
		return nil, err
	}
	p, err := load(dir)
	if err != nil {
		return nil, err
	}
	s, err := p.served()
	if err != nil {
		return nil, err
	}
	x, err := extract(p, s)
	if err != nil {
		return nil, err
	}
	g := x.genome
	g.Cell, g.Version = cellName, version
	g.Merge(old)
	if err := g.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", p.pos(s.call.Pos()), err)
	}
	data, err := g.Marshal()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, genome.File), err)
	}
	code, err := emit(x)
	if err != nil {
		return nil, err
	}
	return g, write(dir, []file{{genome.File, data}, {Output, code}})
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
