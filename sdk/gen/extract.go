package gen

import (
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"slices"
	"strconv"
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
	wants  map[string]bool // standard packages of which types are made that are not known without them
}

// extract describes the served type and the package's error types.
func extract(p *program, s *served) (*extractor, error) {
	x := &extractor{
		p: p, served: s, genome: &genome.Genome{Format: genome.Format, Serves: s.name()},
		named: map[string]*types.Named{}, funcs: map[string]*types.Func{}, wants: map[string]bool{},
	}
	var files []*ast.File
	for _, fs := range p.imp.files {
		files = append(files, fs...)
	}
	x.src = sources(files)
	x.genome.Doc = x.src[s.named.Obj().Pos()].doc
	for _, f := range s.methods {
		x.method(f)
	}
	x.topics()
	x.errorTypes()
	x.clashes()
	return x, errors.Join(x.errs...)
}

// clashes finds names that callers would have twice in the one package that they get.
func (x *extractor) clashes() {
	seen := map[string]string{}
	for _, name := range []string{x.served.name(), "Dial", "Cell"} {
		seen[name] = "the cell itself"
	}
	take := func(at token.Pos, name, what string) {
		if seen[name] != "" {
			x.fail(at, "%s crosses to callers, and there the name %s means %s: rename one", name, name, seen[name])
		}
		seen[name] = what
	}
	for _, t := range sortedTypes(x.genome.Types) {
		n := x.named[t.Name]
		take(n.Obj().Pos(), t.Name, "the type of "+x.p.pos(n.Obj().Pos()))
		if t.Sum != nil {
			take(n.Obj().Pos(), "Unknown"+t.Name, "a variant of "+t.Name+" that is not known")
		}
		for _, v := range t.Values {
			at := n.Obj().Pkg().Scope().Lookup(v.Name).Pos()
			take(at, v.Name, "the constant of "+x.p.pos(at))
		}
	}
}

func sortedTypes(ts []genome.Type) []genome.Type {
	return slices.SortedFunc(slices.Values(ts), func(a, b genome.Type) int { return strings.Compare(a.Name, b.Name) })
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
	if f.Name() == "CellBuild" || f.Name() == "CellClient" {
		x.fail(f.Pos(), "%s: generated code has a method of this name: rename it", f.Name())
	}
	for i := 1; i < sig.Params().Len(); i++ {
		if item, ok := x.items(sig.Params().At(i), f.Name()); ok {
			if m.In = item; i != sig.Params().Len()-1 {
				x.fail(sig.Params().At(i).Pos(), "%s: a stream must be the last parameter, and the only one", f.Name())
			}
			continue
		}
		m.Request.Fields = append(m.Request.Fields, x.field(f, sig.Params().At(i), fmt.Sprintf("p%d", i)))
	}
	results := sig.Results()
	n := results.Len()
	if n > 0 && isError(results.At(n-1).Type()) {
		n--
	}
	if n == results.Len() && n > 0 {
		if last := results.At(n - 1); isOwnError(last.Type()) {
			x.fail(last.Pos(), "%s: the last result is of the error type %s: write error, which may be one", f.Name(), x.p.typeString(last.Type()))
			n--
		}
	}
	m.OneWay = results.Len() == 0 && m.In == nil
	for i := range n {
		v := results.At(i)
		if item, ok := x.items(v, f.Name()); ok {
			if m.Out = item; n > 1 {
				x.fail(v.Pos(), "%s: a stream must be the only result, an error behind it excepted", f.Name())
			}
			continue
		}
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
	for _, d := range x.src[f.Pos()].directives {
		switch {
		case d.name != "repeatable":
			x.fail(d.pos, "%s: //cell:%s is not known: known is //cell:repeatable", f.Name(), d.name)
		case m.OneWay || m.In != nil || m.Out != nil:
			x.fail(d.pos, "%s: //cell:repeatable is for methods that answer once: no events, no streams", f.Name())
		}
		m.Repeatable = true
	}
	x.unique(f, &m)
	x.funcs[m.Name] = f
	x.genome.Methods = append(x.genome.Methods, m)
}

// items describes a stream that v carries.
func (x *extractor) items(v *types.Var, method string) (*genome.Message, bool) {
	t, ok := types.Unalias(v.Type()).(*types.Named)
	if !ok || !isNamed(t, "iter", "Seq2") && !isNamed(t, "iter", "Seq") {
		return nil, false
	}
	if t.TypeArgs().Len() != 2 || !isError(t.TypeArgs().At(1)) {
		x.fail(v.Pos(), "%s: cannot carry %s: a stream can break, so it is written iter.Seq2[T, error]", method, x.p.typeString(t))
		return genome.Item(genome.Ref{Kind: genome.Bool}), true
	}
	return genome.Item(x.ref(t.TypeArgs().At(0), v, method+"[]")), true
}

// topics adds the package's exported variables that are topics.
func (x *extractor) topics() {
	scope := x.p.pkg.Scope()
	for _, name := range scope.Names() {
		v, ok := scope.Lookup(name).(*types.Var)
		if !ok || !v.Exported() {
			continue
		}
		if p, ok := types.Unalias(v.Type()).(*types.Pointer); ok && isTopic(p.Elem()) {
			x.fail(v.Pos(), "%s: a topic is no pointer: var %s %s", name, name, x.p.typeString(p.Elem()))
			continue
		}
		if !isTopic(v.Type()) {
			continue
		}
		t := types.Unalias(v.Type()).(*types.Named)
		if x.funcs[name] != nil {
			x.fail(v.Pos(), "%s: a method has the name of this topic, and callers have one name for both: rename one", name)
			continue
		}
		x.genome.Methods = append(x.genome.Methods, genome.Method{
			Name: name, Doc: x.src[v.Pos()].doc, Topic: true, Out: genome.Item(x.ref(t.TypeArgs().At(0), v, name)),
		})
	}
}

func isTopic(t types.Type) bool {
	n, ok := types.Unalias(t).(*types.Named)
	return ok && isNamed(n, sdkPath, "Topic") && n.TypeArgs().Len() == 1
}

// isOwnError tells whether t is a concrete error type, or points to one.
func isOwnError(t types.Type) bool {
	if p, ok := types.Unalias(t).(*types.Pointer); ok {
		t = p.Elem()
	}
	n, ok := types.Unalias(t).(*types.Named)
	return ok && !types.IsInterface(n) && isErrorType(n)
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
			if missing := x.missing(v); missing != "" {
				return refuse("cannot carry %s: %s", what, missing)
			}
			x.want(v.Pos())
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
		if t.Len() < 0 { // of a constant that is not known
			x.want(v.Pos())
			return refuse("cannot carry %s: its length is not known here", x.spelled(v))
		}
		r := x.with(genome.Array, t.Elem(), v, path+"[]")
		r.Len = int(min(t.Len(), 1<<30))
		return r
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
	case isNamed(n, "encoding/json", "RawMessage"):
		return genome.Ref{Kind: genome.JSON}
	case isNamed(n, "iter", "Seq2"), isNamed(n, "iter", "Seq"):
		return refuse("a stream can only be the last parameter or the only result")
	case isNamed(n, sdkPath, "Topic"):
		return refuse("a topic is a variable of the package: var Orders sdk.Topic[Order]")
	case isError(n):
		return refuse("an error can only be the last result")
	case obj.Pkg() == nil || x.p.imp.files[obj.Pkg()] == nil:
		return refuse("it does not belong to this module; declare a type of your own")
	case obj.Parent() != obj.Pkg().Scope():
		return refuse("declare it outside of a function")
	case obj.Pkg() != x.p.pkg && obj.Pkg().Name() == "main":
		return refuse("it belongs to a program")
	case !obj.Exported():
		return refuse("callers in other cells need the type, so its name must start with a capital letter")
	}
	if n.TypeArgs().Len() > 0 {
		ref.Name = x.instance(n, v, path)
	}
	if have := x.named[ref.Name]; have != nil {
		if !types.Identical(have, n) {
			return refuse("%s is another type of that name, and callers get both in one package: rename one", x.p.pos(have.Obj().Pos()))
		}
		return ref
	}
	x.named[ref.Name] = n
	t := genome.Type{Name: ref.Name, Doc: x.src[obj.Pos()].doc}
	if ref.Name != obj.Name() {
		t.Of = types.TypeString(n, func(*types.Package) string { return "" })
	}
	switch u := n.Underlying().(type) {
	case *types.Interface:
		t.Sum = &genome.Message{}
		x.genome.Types = append(x.genome.Types, t) // variants may contain the sum
		if !x.variants(n, u, v, t.Sum, path) {
			return genome.Ref{}
		}
		return ref
	case *types.Struct:
		if u.NumFields() > 0 && x.p.imp.files[u.Field(0).Pkg()] == nil {
			return refuse("it is a struct of package %s, whose fields nobody else sees", u.Field(0).Pkg().Path())
		}
		t.Struct = &genome.Message{Fields: x.structFields(u, path)}
	case *types.Pointer:
		return refuse("it is a pointer; name the type behind it")
	default:
		if b, ok := u.(*types.Basic); ok && b.Kind() == types.Invalid {
			x.want(obj.Pos())
		}
		base := x.ref(u, v, path)
		t.Base = &base
		t.Values = x.constants(n)
	}
	x.genome.Types = append(x.genome.Types, t)
	return ref
}

// variants describes a sum: an interface that only types of its own package implement, for it has a method without a
// capital letter.
func (x *extractor) variants(n *types.Named, iface *types.Interface, v *types.Var, sum *genome.Message, path string) bool {
	refuse := func(format string, args ...any) bool {
		x.fail(v.Pos(), "%s: cannot carry %s: %s", path, x.p.typeString(n), fmt.Sprintf(format, args...))
		return false
	}
	sealed := false
	for m := range iface.Methods() {
		sealed = sealed || !m.Exported()
	}
	if !sealed {
		return refuse("it is an interface; only values cross between cells, or a closed set of structs: give the interface a "+
			"method without a capital letter, such as is%s()", n.Obj().Name())
	}
	var found []*types.TypeName
	scope := n.Obj().Pkg().Scope()
	for _, name := range scope.Names() {
		obj, ok := scope.Lookup(name).(*types.TypeName)
		if !ok || obj.IsAlias() || types.IsInterface(obj.Type()) || name == "Unknown"+n.Obj().Name() {
			continue // unknown is what a generated package calls a variant that it does not know
		}
		of, ok := obj.Type().(*types.Named)
		if !ok || !types.Implements(types.NewPointer(of), iface) {
			continue
		}
		if of.TypeParams().Len() > 0 {
			return refuse("%s implements it and is generic; declare a struct of its own for each variant", obj.Name())
		}
		found = append(found, obj)
	}
	if len(found) == 0 {
		return refuse("no type implements it")
	}
	slices.SortFunc(found, func(a, b *types.TypeName) int { return int(a.Pos()) - int(b.Pos()) })
	for _, obj := range found {
		of := obj.Type().(*types.Named)
		if _, ok := of.Underlying().(*types.Struct); !ok {
			return refuse("%s implements it and is no struct", obj.Name())
		}
		if isErrorType(of) {
			return refuse("%s is an error, and an error can only be the last result", obj.Name())
		}
		r := x.ref(of, types.NewVar(obj.Pos(), obj.Pkg(), obj.Name(), of), path+".("+obj.Name()+")")
		if r.Kind == genome.Invalid {
			return false
		}
		if !types.Implements(of, iface) {
			r = genome.Ref{Kind: genome.Optional, Elem: &genome.Ref{Kind: genome.Named, Name: r.Name}}
		}
		sum.Fields = append(sum.Fields, genome.Field{Name: obj.Name(), Type: r})
	}
	return true
}

// instance is the name that an instance of a generic type gets: that of the type and of its arguments, as in PageUser.
func (x *extractor) instance(n *types.Named, v *types.Var, path string) string {
	name := n.Obj().Name()
	for t := range n.TypeArgs().Types() {
		name += nameOf(x.ref(t, v, path))
	}
	return name
}

func nameOf(r genome.Ref) string {
	switch r.Kind {
	case genome.Named:
		return r.Name
	case genome.Optional:
		return "Optional" + nameOf(*r.Elem)
	case genome.List:
		return "List" + nameOf(*r.Elem)
	case genome.Array:
		return fmt.Sprintf("Array%d%s", r.Len, nameOf(*r.Elem))
	case genome.Map:
		return "Map" + nameOf(r.KeyRef()) + nameOf(*r.Elem)
	}
	s := r.String()
	return strings.ToUpper(s[:1]) + s[1:]
}

// missing tells which package of the own module does not have the type of v.
func (x *extractor) missing(v *types.Var) string {
	typ := x.src[v.Pos()].typ
	if typ == nil {
		return ""
	}
	why := ""
	ast.Inspect(typ, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		id, ok := s.X.(*ast.Ident)
		if !ok {
			return true
		}
		for _, f := range x.p.files {
			for _, i := range f.Imports {
				path := strings.Trim(i.Path.Value, "\"`")
				p := x.p.imp.have[path]
				if p == nil || f.Pos() > typ.Pos() || f.End() < typ.End() || !strings.HasPrefix(path, x.p.imp.module+"/") || x.p.imp.module == "" ||
					i.Name == nil && p.Name() != id.Name || i.Name != nil && i.Name.Name != id.Name || p.Scope().Lookup(s.Sel.Name) != nil {
					continue
				}
				why = fmt.Sprintf("package %s has no %s", path, s.Sel.Name)
			}
		}
		return true
	})
	return why
}

// want notes which of Go's own packages the type at a place is made of.
func (x *extractor) want(at token.Pos) {
	file := x.p.fset.File(at)
	for _, files := range x.p.imp.files {
		for _, f := range files {
			if x.p.fset.File(f.Pos()) != file {
				continue
			}
			for _, i := range f.Imports {
				if path := strings.Trim(i.Path.Value, "\"`"); !strings.Contains(path, ".") && stubs[path] == "" && path != "C" {
					x.wants[path] = true
				}
			}
		}
	}
}

func isErrorType(n *types.Named) bool {
	iface := types.Universe.Lookup("error").Type().Underlying().(*types.Interface)
	return types.Implements(types.NewPointer(n), iface)
}

func (x *extractor) structFields(s *types.Struct, path string) (fields []genome.Field) {
	for f := range s.Fields() {
		at := path + "." + f.Name()
		if !f.Exported() {
			x.fail(f.Pos(), "%s: the field would not cross: start its name with a capital letter, or carry a type without it", at)
			continue
		}
		fields = append(fields, genome.Field{
			Name: f.Name(), Type: x.ref(f.Type(), f, at), Doc: x.src[f.Pos()].doc,
			Embedded: f.Embedded(),
		})
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
		switch c.Val().Kind() {
		case constant.String:
			text = constant.StringVal(c.Val())
		case constant.Float: // exactly it is a fraction, which is another number in Go
			f, _ := constant.Float64Val(c.Val())
			text = strconv.FormatFloat(f, 'g', -1, 64)
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
