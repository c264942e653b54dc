package gen

import (
	"go/ast"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Target is a part of a cell's interface: a method, or a type, or a field of one.
type Target struct{ Method, Type, Field string }

// Uses finds where the source of the cell in dir uses a part of the interface of the package in client, in the order of the
// source. It reads bodies, and finds what it can where other packages are missing.
func Uses(dir, client string, t Target) ([]token.Position, error) {
	module, root := findModule(dir)
	if module == "" {
		return nil, nil
	}
	rel, err := filepath.Rel(root, client)
	if err != nil {
		return nil, err
	}
	importPath := path.Join(module, filepath.ToSlash(rel))
	var all []token.Position
	err = filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if at != dir {
			if _, err := os.Stat(filepath.Join(at, "cell.toml")); err == nil || at == client || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" {
				return fs.SkipDir
			}
		}
		found, err := usesIn(at, importPath, t)
		all = append(all, found...)
		return err
	})
	slices.SortFunc(all, func(a, b token.Position) int {
		if c := strings.Compare(a.Filename, b.Filename); c != 0 {
			return c
		}
		return a.Offset - b.Offset
	})
	return slices.Compact(all), err
}

func usesIn(dir, importPath string, t Target) ([]token.Position, error) {
	imp := &localImporter{fset: token.NewFileSet(), have: map[string]*types.Package{}, files: map[*types.Package][]*ast.File{}}
	imp.module, imp.root = findModule(dir)
	files, err := parseDir(imp.fset, dir)
	if err != nil || len(files) == 0 {
		return nil, nil // what does not parse is the compiler's to tell
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}
	conf := types.Config{Importer: imp, FakeImportC: true, Error: func(error) {}}
	_, _ = conf.Check(files[0].Name.Name, imp.fset, files, info)
	pkg := imp.have[importPath]
	if pkg == nil {
		return nil, nil
	}
	wanted := map[types.Object]bool{}
	for _, name := range pkg.Scope().Names() {
		obj, ok := pkg.Scope().Lookup(name).(*types.TypeName)
		if !ok {
			continue
		}
		if name == t.Type && t.Field == "" {
			wanted[obj] = true
		}
		if s, ok := obj.Type().Underlying().(*types.Struct); ok && name == t.Type {
			for f := range s.Fields() {
				if f.Name() == t.Field {
					wanted[f] = true
				}
			}
		}
		for m := range types.NewMethodSet(types.NewPointer(obj.Type())).Methods() {
			if m.Obj().Name() == t.Method && t.Method != "" {
				wanted[m.Obj()] = true
			}
		}
	}
	var all []token.Position
	for id, obj := range info.Uses {
		if wanted[obj] {
			all = append(all, imp.fset.Position(id.Pos()))
		}
	}
	return all, nil
}
