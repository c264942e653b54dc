package gen

import (
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"slices"
	"strings"

	"github.com/cell-network/cell/sdk/genome"
)

// extractor makes a genome of Go types, and keeps what generated code needs to know besides.
type extractor struct {
	p      *program
	served *served
	genome *genome.Genome
	named  map[string]*types.Named // of the genome's types
	funcs  map[string]*types.Func  // of the genome's methods
	src    map[token.Pos]source
	errs   []error
}

// extract describes the served type and the package's error types.
func extract(p *program, s *served) (*extractor, error) {
	x := &extractor{
		p: p, served: s, genome: &genome.Genome{Format: genome.Format, Serves: s.name()},
		named: map[string]*types.Named{}, funcs: map[string]*types.Func{},
	}
	var files []*ast.File
	for _, fs := range p.imp.files {
		files = append(files, fs...)
	}
	x.src = sources(files)
	for _, f := range s.methods {
		x.method(f)
	}
	x.errorTypes()
	return x, errors.Join(x.errs...)
}

func (x *extractor) fail(at token.Pos, format string, args ...any) {
	err := x.p.errorf(at, format, args...)
	if !slices.ContainsFunc(x.errs, func(e error) bool { return e.Error() == err.Error() }) {
		x.errs = append(x.errs, err)
	}
}

func (x *extractor) method(f *types.Func) {
	sig := f.Signature()
	m := genome.Method{Name: f.Name(), Doc: x.src[f.Pos()].doc, Variadic: sig.Variadic()}
	for i := 1; i < sig.Params().Len(); i++ {
		m.Request.Fields = append(m.Request.Fields, x.field(f, sig.Params().At(i), fmt.Sprintf("p%d", i)))
	}
	results := sig.Results()
	n := results.Len()
	if n > 0 && isError(results.At(n-1).Type()) {
		n--
	}
	for i := range n {
		v := results.At(i)
		if isError(v.Type()) {
			x.fail(v.Pos(), "%s: an error must be the last result, and the only one", f.Name())
			continue
		}
		name := fmt.Sprintf("r%d", i+1)
		if n == 1 {
			name = "result"
		}
		m.Result.Fields = append(m.Result.Fields, x.field(f, v, name))
	}
	x.unique(f, &m)
	x.funcs[m.Name] = f
	x.genome.Methods = append(x.genome.Methods, m)
}

// unique refuses a parameter that has the name which an unnamed one gets.
func (x *extractor) unique(f *types.Func, m *genome.Method) {
	for _, fields := range [][]genome.Field{m.Request.Fields, m.Result.Fields} {
		seen := map[string]bool{}
		for _, v := range fields {
			if seen[v.Name] {
				x.fail(f.Pos(), "%s: two parameters or results are called %s, for an unnamed one gets such a name: name it", f.Name(), v.Name)
			}
			seen[v.Name] = true
		}
	}
}

func (x *extractor) field(f *types.Func, v *types.Var, unnamed string) genome.Field {
	name := v.Name()
	if name == "" || name == "_" {
		name = unnamed
	}
	return genome.Field{Name: name, Type: x.ref(v.Type(), v, f.Name()+"."+name)}
}

// ref describes t, the type of v or a part of it. path leads there from the method, for errors.
func (x *extractor) ref(t types.Type, v *types.Var, path string) genome.Ref {
	refuse := func(format string, args ...any) genome.Ref {
		x.fail(v.Pos(), "%s: %s", path, fmt.Sprintf(format, args...))
		return genome.Ref{}
	}
	what := x.p.typeString(t)
	switch t := types.Unalias(t).(type) {
	case *types.Basic:
		if k, ok := basicKinds[t.Kind()]; ok {
			return genome.Ref{Kind: k}
		}
		if t.Kind() == types.Invalid {
			what := x.spelled(v)
			if strings.Contains(what, "iter.Seq") {
				return refuse("cannot carry %s: streams are not served by this version", what)
			}
			return refuse("cannot carry %s: it is neither of this module nor time.Time or time.Duration; declare a type of your own",
				what)
		}
	case *types.Named:
		return x.namedRef(t, v, path)
	case *types.Pointer:
		if _, ok := types.Unalias(t.Elem()).(*types.Pointer); ok {
			return refuse("cannot carry %s: a pointer to a pointer says nothing that one pointer does not say", what)
		}
		return x.with(genome.Optional, t.Elem(), v, path)
	case *types.Slice:
		if b, ok := types.Unalias(t.Elem()).(*types.Basic); ok && b.Kind() == types.Byte {
			return genome.Ref{Kind: genome.Bytes}
		}
		return x.with(genome.List, t.Elem(), v, path+"[]")
	case *types.Map:
		r := x.with(genome.Map, t.Elem(), v, path+"[]")
		key := x.ref(t.Key(), v, path+"[key]")
		switch b, ok := t.Key().Underlying().(*types.Basic); {
		case key.Kind == genome.Invalid:
		case !ok || b.Info()&(types.IsInteger|types.IsString|types.IsBoolean) == 0:
			return refuse("cannot carry %s: the key of a map must be a string, an integer or a bool", what)
		case key.Kind == genome.Named:
			r.KeyName = key.Name
		default:
			r.Key = key.Kind
		}
		return r
	case *types.Array:
		return refuse("cannot carry %s: use a slice", what)
	case *types.Struct:
		return refuse("cannot carry a struct without a name: declare a type for it")
	}
	return refuse("cannot carry %s: only values cross between cells", what)
}

func (x *extractor) with(k genome.Kind, elem types.Type, v *types.Var, path string) genome.Ref {
	e := x.ref(elem, v, path)
	return genome.Ref{Kind: k, Elem: &e}
}

var basicKinds = map[types.BasicKind]genome.Kind{
	types.Bool: genome.Bool, types.String: genome.String,
	types.Int: genome.Int, types.Int8: genome.Int8, types.Int16: genome.Int16, types.Int32: genome.Int32, types.Int64: genome.Int64,
	types.Uint: genome.Uint, types.Uint8: genome.Uint8, types.Uint16: genome.Uint16, types.Uint32: genome.Uint32,
	types.Uint64: genome.Uint64, types.Float32: genome.Float32, types.Float64: genome.Float64,
}

// namedRef describes the use of a named type, and the type itself when it is met for the first time.
func (x *extractor) namedRef(n *types.Named, v *types.Var, path string) genome.Ref {
	obj := n.Obj()
	ref := genome.Ref{Kind: genome.Named, Name: obj.Name()}
	refuse := func(format string, args ...any) genome.Ref {
		x.fail(v.Pos(), "%s: cannot carry %s: %s", path, x.p.typeString(n), fmt.Sprintf(format, args...))
		return genome.Ref{}
	}
	switch {
	case isNamed(n, "time", "Duration"):
		return genome.Ref{Kind: genome.Duration}
	case isNamed(n, "time", "Time"):
		return genome.Ref{Kind: genome.Time}
	case isError(n):
		return refuse("an error can only be the last result")
	case obj.Pkg() == nil || x.p.imp.files[obj.Pkg()] == nil:
		return refuse("it does not belong to this module; declare a type of your own")
	case obj.Parent() != obj.Pkg().Scope():
		return refuse("declare it outside of a function")
	case n.TypeArgs().Len() > 0 || n.TypeParams().Len() > 0:
		return refuse("generic types are not served by this version; declare a type of its own")
	case obj.Pkg() != x.p.pkg && obj.Pkg().Name() == "main":
		return refuse("it belongs to a program")
	case !obj.Exported():
		return refuse("callers in other cells need the type, so its name must start with a capital letter")
	case types.IsInterface(n):
		return refuse("it is an interface; only values cross between cells")
	}
	if have := x.named[obj.Name()]; have != nil {
		if have.Obj() != obj {
			return refuse("%s is another type of that name, and callers get both in one package: rename one", x.p.pos(have.Obj().Pos()))
		}
		return ref
	}
	x.named[obj.Name()] = n
	t := genome.Type{Name: obj.Name(), Doc: x.src[obj.Pos()].doc}
	switch u := n.Underlying().(type) {
	case *types.Struct:
		t.Struct = &genome.Message{Fields: x.structFields(u, path)}
	case *types.Pointer:
		return refuse("it is a pointer; name the type behind it")
	default:
		base := x.ref(u, v, path)
		t.Base = &base
		t.Values = x.constants(n)
	}
	x.genome.Types = append(x.genome.Types, t)
	return ref
}

func (x *extractor) structFields(s *types.Struct, path string) (fields []genome.Field) {
	for f := range s.Fields() {
		at := path + "." + f.Name()
		if !f.Exported() {
			x.fail(f.Pos(), "%s: the field would not cross: start its name with a capital letter, or carry a type without it", at)
			continue
		}
		fields = append(fields, genome.Field{Name: f.Name(), Type: x.ref(f.Type(), f, at), Doc: x.src[f.Pos()].doc})
	}
	return fields
}

// constants returns the exported constants of a type, in the order of the source.
func (x *extractor) constants(n *types.Named) (values []genome.Value) {
	var found []*types.Const
	scope := n.Obj().Pkg().Scope()
	for _, name := range scope.Names() {
		if c, ok := scope.Lookup(name).(*types.Const); ok && c.Exported() && types.Identical(c.Type(), n) {
			found = append(found, c)
		}
	}
	slices.SortFunc(found, func(a, b *types.Const) int { return int(a.Pos()) - int(b.Pos()) })
	for _, c := range found {
		text := c.Val().ExactString()
		if c.Val().Kind() == constant.String {
			text = constant.StringVal(c.Val())
		}
		values = append(values, genome.Value{Name: c.Name(), Value: text, Doc: x.src[c.Pos()].doc})
	}
	return values
}

// errorTypes adds the package's exported structs that are errors, by value or by pointer.
func (x *extractor) errorTypes() {
	iface := types.Universe.Lookup("error").Type().Underlying().(*types.Interface)
	scope := x.p.pkg.Scope()
	for _, name := range scope.Names() {
		obj, ok := scope.Lookup(name).(*types.TypeName)
		if !ok || !obj.Exported() || obj.IsAlias() {
			continue
		}
		n, ok := obj.Type().(*types.Named)
		if !ok || n.TypeParams().Len() > 0 || !types.Implements(types.NewPointer(n), iface) {
			continue
		}
		if _, ok := n.Underlying().(*types.Struct); !ok {
			continue
		}
		before := len(x.errs)
		v := types.NewVar(obj.Pos(), x.p.pkg, name, n)
		x.ref(n, v, name)
		if len(x.errs) > before {
			x.fail(obj.Pos(), "%s is an exported error type, so it crosses to callers: to keep it inside, start its name with a small letter",
				name)
		}
		x.genome.Errors = append(x.genome.Errors, genome.Error{Name: name, Pointer: !types.Implements(n, iface)})
	}
}
