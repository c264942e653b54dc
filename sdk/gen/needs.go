package gen

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Wanted is a call of sdk.Need in a cell's source: so many replicas are wanted of the cell that the package in Client calls.
type Wanted struct {
	Client   string // directory of the package
	Replicas int
	Pos      token.Position
}

// Needs finds the calls of sdk.Need in the package in dir. The number has to be written as such.
func Needs(dir string) ([]Wanted, error) {
	module, root := findModule(dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []Wanted
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			continue
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if !strings.Contains(string(src), ".Need(") { // most files have none: they are not parsed
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, src, parser.SkipObjectResolution)
		if err != nil {
			continue // the compiler says it better
		}
		names := map[string]string{}
		for _, i := range f.Imports {
			p := strings.Trim(i.Path.Value, "\"`")
			name := clientName(p[strings.LastIndexByte(p, '/')+1:])
			if i.Name != nil {
				name = i.Name.Name
			}
			names[name] = p
		}
		ast.Inspect(f, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok || len(c.Args) != 2 || !isSelector(c.Fun, names, sdkPath, "Need") {
				return true
			}
			cell, ok := c.Args[0].(*ast.SelectorExpr)
			number, isNumber := c.Args[1].(*ast.BasicLit)
			if !ok || !isNumber || cell.Sel.Name != "Cell" {
				return true
			}
			pkg, ok := cell.X.(*ast.Ident)
			if !ok {
				return true
			}
			rel, ours := strings.CutPrefix(names[pkg.Name], module+"/")
			if replicas, err := strconv.Atoi(number.Value); err == nil && ours {
				all = append(all, Wanted{filepath.Join(root, filepath.FromSlash(rel)), replicas, fset.Position(c.Pos())})
			}
			return true
		})
	}
	return all, nil
}

// isSelector tells whether x is name of the package with that path.
func isSelector(x ast.Expr, imports map[string]string, path, name string) bool {
	s, ok := x.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	pkg, ok := s.X.(*ast.Ident)
	return ok && imports[pkg.Name] == path
}
