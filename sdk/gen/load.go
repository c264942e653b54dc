package gen

import (
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/scanner"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// program is a parsed package and what its type check found.
type program struct {
	dir   string
	home  string // of the package of the served type, when it is not dir
	fset  *token.FileSet
	files []*ast.File
	pkg   *types.Package
	info  *types.Info
	bad   []types.Error // mistakes in the source; only those in the way matter
	calls []*ast.CallExpr
	imp   *localImporter
}

func (p *program) pos(at token.Pos) string { return p.fset.Position(at).String() }

func (p *program) errorf(at token.Pos, format string, args ...any) error {
	return fmt.Errorf("%s: %s", p.pos(at), fmt.Sprintf(format, args...))
}

// load parses and checks the package in dir, and reads the standard packages in real. Of all functions only those keep their
// bodies that call sdk.Main.
func load(dir string, real map[string]bool) (*program, error) {
	p := &program{dir: dir, fset: token.NewFileSet()}
	p.imp = &localImporter{fset: p.fset, have: map[string]*types.Package{}, files: map[*types.Package][]*ast.File{}, real: real}
	p.imp.module, p.imp.root = findModule(dir)
	var err error
	if p.files, err = parseDir(p.fset, dir); err != nil {
		return nil, err
	}
	if len(p.files) == 0 {
		return nil, fmt.Errorf("%s: no Go source for this system; %s", dir, whatToWrite)
	}
	for _, f := range p.files {
		for _, d := range f.Decls {
			calls := mainCalls(f, d)
			p.calls = append(p.calls, calls...)
			if fn, ok := d.(*ast.FuncDecl); ok && len(calls) == 0 {
				fn.Body = nil
			}
		}
	}
	p.info = &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{},
		Uses:  map[*ast.Ident]types.Object{},
	}
	conf := types.Config{Importer: p.imp, FakeImportC: true, Error: func(err error) {
		if e, ok := errors.AsType[types.Error](err); ok {
			p.bad = append(p.bad, e)
		}
	}}
	p.pkg, _ = conf.Check(p.files[0].Name.Name, p.fset, p.files, p.info) // mistakes are in p.bad
	p.imp.files[p.pkg] = p.files
	return p, nil
}

// parseDir parses what the go command would build here now, without tests and generated code.
func parseDir(fset *token.FileSet, dir string) ([]*ast.File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || name == Output {
			continue
		}
		if match, err := build.Default.MatchFile(dir, name); err == nil && !match {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			if list, ok := errors.AsType[scanner.ErrorList](err); ok && len(list) > 0 {
				return nil, list[0]
			}
			return nil, err
		}
		if len(files) > 0 && files[0].Name.Name != f.Name.Name {
			return nil, fmt.Errorf("%s: package %s, but %s is package %s: one directory holds one package",
				fset.Position(f.Name.Pos()), f.Name.Name, fset.Position(files[0].Package).Filename, files[0].Name.Name)
		}
		files = append(files, f)
	}
	return files, nil
}

// findModule returns the path and directory of the module around dir, or nothing.
func findModule(dir string) (path, root string) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", ""
	}
	for {
		if data, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil {
			for line := range strings.Lines(string(data)) {
				if f := strings.Fields(line); len(f) >= 2 && f[0] == "module" {
					return strings.Trim(f[1], "\"`"), dir
				}
			}
			return "", ""
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", ""
		}
		dir = up
	}
}

// localImporter reads the module's own packages. All others are empty, except for the few types that a genome knows.
type localImporter struct {
	fset         *token.FileSet
	module, root string
	have         map[string]*types.Package
	files        map[*types.Package][]*ast.File // for doc comments
	real         map[string]bool                // standard packages that are read, too
}

// standard reads a package of Go's own, whose imports stay empty: enough for its constants and for the types behind names.
func (m *localImporter) standard(path string) *types.Package {
	files, err := parseDir(m.fset, filepath.Join(goroot(), "src", filepath.FromSlash(path)))
	if err != nil || len(files) == 0 {
		return nil
	}
	empty := &localImporter{fset: m.fset, have: map[string]*types.Package{}, files: map[*types.Package][]*ast.File{}}
	conf := types.Config{Importer: empty, IgnoreFuncBodies: true, FakeImportC: true, Error: func(error) {}}
	p, _ := conf.Check(path, m.fset, files, nil)
	m.have[path] = p
	return p
}

// Import never fails: what is missing shows where it is used.
func (m *localImporter) Import(path string) (*types.Package, error) {
	if p := m.have[path]; p != nil {
		return p, nil
	}
	if p := m.stub(path); p != nil {
		m.have[path] = p
		return p, nil
	}
	if m.real[path] {
		if p := m.standard(path); p != nil {
			return p, nil
		}
	}
	rest, ours := strings.CutPrefix(path+"/", m.module+"/")
	if m.module == "" || !ours {
		p := types.NewPackage(path, path[strings.LastIndexByte(path, '/')+1:])
		p.MarkComplete()
		m.have[path] = p
		return p, nil
	}
	// A package that imports itself in a circle finds this one, and nothing in it.
	empty := types.NewPackage(path, filepath.Base(path))
	empty.MarkComplete()
	m.have[path] = empty
	dir := filepath.Join(m.root, filepath.FromSlash(rest))
	files, err := parseDir(m.fset, dir)
	if err != nil || len(files) == 0 {
		return empty, nil
	}
	conf := types.Config{Importer: m, IgnoreFuncBodies: true, FakeImportC: true, Error: func(error) {}}
	p, _ := conf.Check(path, m.fset, files, nil)
	m.have[path], m.files[p] = p, files
	return p, nil
}

// goroot is where Go is installed.
var goroot = sync.OnceValue(func() string {
	if build.Default.GOROOT != "" {
		return build.Default.GOROOT
	}
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
})

// stubs are the packages whose types mean something here.
var stubs = map[string]string{
	"context":       "package context\ntype Context interface{}",
	"encoding/json": "package json\ntype RawMessage []byte",
	"iter":          "package iter\ntype Seq[V any] func(yield func(V) bool)\ntype Seq2[K, V any] func(yield func(K, V) bool)",
	"time":          "package time\ntype Duration int64\ntype Time struct{ of int64 }\ntype Month int\ntype Weekday int",
	sdkPath:         "package sdk\nfunc Main(cell interface{})\ntype Topic[T any] struct{ of T }",
}

// stub makes such a package, nil for any other.
func (m *localImporter) stub(path string) *types.Package {
	text, ok := stubs[path]
	if !ok {
		return nil
	}
	f, err := parser.ParseFile(m.fset, "stub/"+path, text, parser.SkipObjectResolution)
	if err != nil {
		panic(err) // the text is above
	}
	conf := types.Config{IgnoreFuncBodies: true, Error: func(error) {}}
	p, _ := conf.Check(path, m.fset, []*ast.File{f}, nil)
	return p
}

var basicNames = []string{
	"any", "bool", "byte", "error", "float32", "float64", "int", "int8", "int16", "int32", "int64", "string",
	"uint", "uint8", "uint16", "uint32", "uint64",
}

// shadowed finds a declaration that hides one of the type names that generated code is written with.
func (p *program) shadowed() error {
	for _, name := range p.pkg.Scope().Names() {
		if slices.Contains(basicNames, name) {
			return p.errorf(p.pkg.Scope().Lookup(name).Pos(), "the name %s hides Go's own type: choose another one", name)
		}
	}
	return nil
}
