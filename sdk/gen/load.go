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
	"path/filepath"
	"slices"
	"strings"
)

// program is a parsed package and what its type check found.
type program struct {
	dir   string
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

// load parses and checks the package in dir. Of all functions only those keep their bodies that call sdk.Main.
func load(dir string) (*program, error) {
	p := &program{dir: dir, fset: token.NewFileSet()}
	p.imp = &localImporter{fset: p.fset, have: map[string]*types.Package{}, files: map[*types.Package][]*ast.File{}}
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
}

// Import never fails: what is missing shows where it is used.
func (m *localImporter) Import(path string) (*types.Package, error) {
	if p := m.have[path]; p != nil {
		return p, nil
	}
	if p := stub(path); p != nil {
		m.have[path] = p
		return p, nil
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

// stub makes the packages whose types mean something here.
func stub(path string) *types.Package {
	named := map[string]types.Type{}
	switch path {
	case "context":
		named["Context"] = types.NewInterfaceType(nil, nil)
	case "time":
		named["Duration"] = types.Typ[types.Int64]
		named["Time"] = types.NewStruct(nil, nil)
		named["Month"] = types.Typ[types.Int]
		named["Weekday"] = types.Typ[types.Int]
	case sdkPath:
	default:
		return nil
	}
	p := types.NewPackage(path, path[strings.LastIndexByte(path, '/')+1:])
	for name, t := range named {
		obj := types.NewTypeName(token.NoPos, p, name, nil)
		types.NewNamed(obj, t, nil)
		p.Scope().Insert(obj)
	}
	if path == sdkPath {
		arg := types.NewVar(token.NoPos, p, "cell", types.NewInterfaceType(nil, nil))
		sig := types.NewSignatureType(nil, nil, nil, types.NewTuple(arg), nil, false)
		p.Scope().Insert(types.NewFunc(token.NoPos, p, "Main", sig))
	}
	p.MarkComplete()
	return p
}

// shadowed finds a declaration that hides one of the type names that generated code is written with.
func (p *program) shadowed() error {
	basic := []string{
		"any", "bool", "byte", "error", "float32", "float64", "int", "int8", "int16", "int32", "int64", "string",
		"uint", "uint8", "uint16", "uint32", "uint64",
	}
	for _, name := range p.pkg.Scope().Names() {
		if slices.Contains(basic, name) {
			return p.errorf(p.pkg.Scope().Lookup(name).Pos(), "the name %s hides Go's own type: choose another one", name)
		}
	}
	return nil
}
