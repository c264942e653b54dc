package gen

import (
	"errors"
	"fmt"
	"go/ast"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
)

const whatToWrite = "serve a type with:\n\tfunc main() { sdk.Main(Calculator{}) } // import \"" + sdkPath + "\""

// served is the type that sdk.Main is called with.
type served struct {
	call    *ast.CallExpr
	named   *types.Named
	pointer bool
	methods []*types.Func
}

func (s *served) name() string { return s.named.Obj().Name() }

// mainCalls finds the calls of sdk.Main within d by the name that the file imports the package with.
func mainCalls(f *ast.File, d ast.Decl) (calls []*ast.CallExpr) {
	name := ""
	for _, i := range f.Imports {
		if strings.Trim(i.Path.Value, "\"`") == sdkPath {
			if name = "sdk"; i.Name != nil {
				name = i.Name.Name
			}
		}
	}
	if name == "" {
		return nil
	}
	ast.Inspect(d, func(n ast.Node) bool {
		c, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch fun := ast.Unparen(c.Fun).(type) {
		case *ast.SelectorExpr:
			if x, ok := fun.X.(*ast.Ident); ok && x.Name == name && fun.Sel.Name == "Main" {
				calls = append(calls, c)
			}
		case *ast.Ident:
			if name == "." && fun.Name == "Main" {
				calls = append(calls, c)
			}
		}
		return true
	})
	return calls
}

// served finds the one call of sdk.Main and its argument's type and methods.
func (p *program) served() (*served, error) {
	// A variable may have the import's name: only now it is known what was meant.
	p.calls = slices.DeleteFunc(p.calls, func(c *ast.CallExpr) bool {
		id, ok := ast.Unparen(c.Fun).(*ast.Ident)
		if !ok {
			id = ast.Unparen(c.Fun).(*ast.SelectorExpr).Sel
		}
		obj := p.info.Uses[id]
		return obj == nil || obj.Pkg() == nil || obj.Pkg().Path() != sdkPath
	})
	switch len(p.calls) {
	case 0:
		return nil, fmt.Errorf("%s: no call of sdk.Main; %s", p.pos(p.files[0].Package), whatToWrite)
	case 1:
	default:
		return nil, p.errorf(p.calls[1].Pos(), "a second call of sdk.Main, the first is at %s: a cell serves one type",
			p.pos(p.calls[0].Pos()))
	}
	c := p.calls[0]
	if len(c.Args) != 1 {
		return nil, p.errorf(c.Pos(), "sdk.Main takes one value, the one that is served")
	}
	if err := p.shadowed(); err != nil {
		return nil, err
	}
	s := &served{call: c}
	arg := c.Args[0]
	t := types.Unalias(p.info.TypeOf(arg))
	if ptr, ok := t.(*types.Pointer); ok {
		s.pointer, t = true, types.Unalias(ptr.Elem())
	}
	what := types.ExprString(arg)
	named, ok := t.(*types.Named)
	switch {
	case t == nil || t == types.Typ[types.Invalid]:
		return nil, p.unknownArgument(c, what)
	case !ok:
		return nil, p.errorf(arg.Pos(), "sdk.Main cannot serve %s of type %s: give it a value of a type that this package declares",
			what, p.typeString(t))
	case types.IsInterface(named):
		return nil, p.errorf(arg.Pos(), "sdk.Main cannot serve %s: %s is an interface; give it a value of a concrete type",
			what, p.typeString(t))
	case named.Obj().Pkg() != p.pkg && !p.move(named.Obj().Pkg()):
		return nil, p.errorf(arg.Pos(), "sdk.Main cannot serve %s: %s belongs to a package outside of the cell's directory; declare the "+
			"served type here, it may embed that one", what, p.typeString(t))
	case named.TypeArgs().Len() > 0:
		return nil, p.errorf(arg.Pos(), "sdk.Main cannot serve %s: %s is an instance of a generic type; declare a type of its own, "+
			"it may embed that one", what, p.typeString(t))
	case named.Obj().Parent() != p.pkg.Scope():
		return nil, p.errorf(arg.Pos(), "sdk.Main cannot serve %s: declare the type %s outside of a function", what, p.typeString(t))
	}
	if !named.Obj().Exported() {
		return nil, p.errorf(named.Obj().Pos(), "sdk.Main cannot serve %s: callers get a type of that name, so it must start with a "+
			"capital letter", named.Obj().Name())
	}
	s.named = named
	var own types.Type = named
	if s.pointer {
		own = types.NewPointer(named)
	}
	s.methods = p.methodsOf(own)
	all := p.methodsOf(types.NewPointer(named))
	if len(s.methods) < len(all) {
		for _, m := range all {
			if !slices.Contains(s.methods, m) {
				return nil, p.errorf(arg.Pos(), "%s has a pointer receiver (%s): write sdk.Main(&%s{…})", m.Name(), p.pos(m.Pos()), s.name())
			}
		}
	}
	for sel := range types.NewMethodSet(types.NewPointer(named)).Methods() {
		f := sel.Obj().(*types.Func)
		for i := 1; f.Exported() && i < f.Signature().Params().Len(); i++ {
			if v := f.Signature().Params().At(i); isNamed(v.Type(), "context", "Context") {
				return nil, p.errorf(v.Pos(), "%s: the context must be the first parameter, and the only one", f.Name())
			}
		}
	}
	if len(all) == 0 {
		return nil, p.errorf(named.Obj().Pos(), "%s has no method to serve: served are exported methods whose first parameter is a "+
			"context.Context", s.name())
	}
	return s, nil
}

// move makes pkg the package that is served, when it lies in the cell's directory: generated code then goes there.
func (p *program) move(pkg *types.Package) bool {
	files := p.imp.files[pkg]
	if len(files) == 0 {
		return false
	}
	home := filepath.Dir(p.fset.Position(files[0].Package).Filename)
	dir, err := filepath.Abs(p.dir)
	if err != nil || !strings.HasPrefix(home, dir+string(filepath.Separator)) {
		return false
	}
	p.pkg, p.home = pkg, home
	return true
}

// unknownArgument names the mistake that hides the argument's type.
func (p *program) unknownArgument(c *ast.CallExpr, what string) error {
	for _, f := range p.files {
		for _, d := range f.Decls {
			if c.Pos() < d.Pos() || c.Pos() >= d.End() {
				continue
			}
			for _, e := range p.bad {
				if e.Pos >= d.Pos() && e.Pos <= c.End() && !strings.Contains(e.Msg, "not used") {
					return errors.Join(p.errorf(c.Args[0].Pos(), "the type of %s is not known", what), fmt.Errorf("%s: %s", p.pos(e.Pos), e.Msg))
				}
			}
		}
	}
	return p.errorf(c.Args[0].Pos(), "the type of %s is not known: declare it in this package", what)
}

// methodsOf returns t's exported methods with a context first, in the order of the source.
func (p *program) methodsOf(t types.Type) (ms []*types.Func) {
	set := types.NewMethodSet(t)
	for sel := range set.Methods() {
		f := sel.Obj().(*types.Func)
		params := f.Signature().Params()
		if f.Exported() && params.Len() > 0 && isNamed(params.At(0).Type(), "context", "Context") {
			ms = append(ms, f)
		}
	}
	slices.SortFunc(ms, func(a, b *types.Func) int { return int(a.Pos()) - int(b.Pos()) })
	return ms
}

func isNamed(t types.Type, pkg, name string) bool {
	n, ok := types.Unalias(t).(*types.Named)
	return ok && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == pkg && n.Obj().Name() == name
}

func isError(t types.Type) bool { return types.Identical(t, types.Universe.Lookup("error").Type()) }

func (p *program) typeString(t types.Type) string {
	return types.TypeString(t, func(q *types.Package) string {
		if q == p.pkg {
			return ""
		}
		return q.Name()
	})
}
