package gen

import (
	"fmt"
	"go/types"
	"slices"
	"strconv"
	"strings"

	"github.com/cell-network/cell/sdk/genome"
)

// provider writes the code beside the served type.
type provider struct {
	*emitter
	x      *extractor
	others int // packages of the cell's module that are imported
}

// emit writes cell_gen.go of the cell that x describes.
func emit(x *extractor, data []byte) ([]byte, error) {
	e := &provider{emitter: newEmitter(x.genome, "cell"), x: x}
	e.named = func(name string) string { return types.TypeString(x.named[name], e.pkg) }
	e.imports["context"] = "cellctx"
	e.guards()
	e.build(data)
	e.errors()
	return e.file("package " + x.p.pkg.Name())
}

// pkg returns the name of another package in the generated file, or nothing for the cell's own.
func (e *provider) pkg(p *types.Package) string {
	switch {
	case p == e.x.p.pkg:
		return ""
	case p.Path() == "time" || p.Path() == "encoding/json":
		return e.pkgStd(p.Path())
	}
	if e.imports[p.Path()] == "" {
		e.others++
		e.imports[p.Path()] = "cellpkg" + strconv.Itoa(e.others)
	}
	return e.imports[p.Path()]
}

// guards make a plain go build fail when the source has changed since.
func (e *provider) guards() {
	e.p("// This file fits the sources only as they were when it was made. Where the compiler complains here, run cell build.")
	e.p("const _ = cellstub.V4\n")
	e.p("func _(cell %s) {\nvar _ interface {", e.receiver())
	for i := range e.g.Methods {
		if !e.g.Methods[i].Topic {
			e.p("%s", e.signature(&e.g.Methods[i]))
		}
	}
	e.p("} = cell\n}\n")
	for i := range e.g.Types {
		switch t := &e.g.Types[i]; {
		case t.Sum != nil:
			for _, f := range t.Sum.Fields {
				e.p("func _(v %s) { var _ %s = v }\n", e.goType(f.Type), e.named(t.Name))
			}
		case t.Base != nil:
			e.p("func _(v *%s) { _ = (*%s)(v) }\n", e.named(t.Name), e.goType(*t.Base))
		default:
			e.p("func _(v %s) { _ = %s(v) }\n", e.named(t.Name), e.shape(t))
		}
	}
}

func (e *provider) receiver() string {
	if e.x.served.pointer {
		return "*" + e.x.served.name()
	}
	return e.x.served.name()
}

// signature is the method as in Go.
func (e *provider) signature(m *genome.Method) string {
	params := []string{"cellctx.Context"}
	for i, p := range m.Request.Fields {
		t := e.goType(p.Type)
		if m.Variadic && i == len(m.Request.Fields)-1 {
			t = "..." + strings.TrimPrefix(t, "[]")
		}
		params = append(params, t)
	}
	if m.In != nil {
		params = append(params, e.seq(m.In))
	}
	var results []string
	for _, r := range m.Result.Fields {
		results = append(results, e.goType(r.Type))
	}
	if m.Out != nil {
		results = append(results, e.seq(m.Out))
	}
	if e.fails(m) {
		results = append(results, "error")
	}
	return fmt.Sprintf("%s(%s) (%s)", m.Name, strings.Join(params, ", "), strings.Join(results, ", "))
}

// fails tells whether the method has an error as result.
func (e *provider) fails(m *genome.Method) bool {
	r := e.x.funcs[m.Name].Signature().Results()
	return r.Len() > 0 && isError(r.At(r.Len()-1).Type())
}

// shape is the struct behind a name, in the order of the source.
func (e *provider) shape(t *genome.Type) string {
	var b strings.Builder
	b.WriteString("struct {")
	s := e.x.named[t.Name].Underlying().(*types.Struct)
	for i := range s.NumFields() {
		f := s.Field(i)
		if f.Embedded() {
			fmt.Fprintf(&b, "\n%s", types.TypeString(f.Type(), e.pkg))
			continue
		}
		j := slices.IndexFunc(t.Struct.Fields, func(g genome.Field) bool { return g.Name == f.Name() })
		fmt.Fprintf(&b, "\n%s %s", f.Name(), e.goType(t.Struct.Fields[j].Type))
	}
	if s.NumFields() > 0 {
		b.WriteString("\n")
	}
	b.WriteString("}")
	return b.String()
}

// build writes CellBuild, which makes the served value a cell.
func (e *provider) build(data []byte) {
	if e.x.p.home == "" {
		e.imports["embed"] = "_"
		e.p("//go:embed %s\nvar cellGenome []byte\n", genome.File)
	} else { // a file is only embedded by what lies beside or above it
		e.p("var cellGenome = []byte(%q)\n", data)
	}
	e.p("// CellBuild describes the cell to sdk.Main.")
	e.p("func (cell %s) CellBuild() *cellstub.Genome {\nreturn &cellstub.Genome{", e.receiver())
	e.p("Name: %q,\nVersion: %q,\nHash: %q,\nJSON: cellGenome,", e.g.Cell, e.g.Version, e.g.WireHash())
	if len(e.g.Accepts) > 0 {
		e.p("Accepts: []string{")
		for _, h := range e.g.Accepts {
			e.p("%q,", h)
		}
		e.p("},")
	}
	if len(e.g.Errors) > 0 {
		e.p("Error: cellError,")
	}
	e.p("Methods: []cellstub.Method{")
	for i := range e.g.Methods {
		e.method(&e.g.Methods[i])
	}
	e.p("},\n}\n}\n")
	e.p("// cellInvalid is the error of a request that does not decode.\nfunc cellInvalid(f *cellwire.Fields) error {\ne := f.Err()")
	e.p("return &cellsdk.InvalidRequest{Field: e.Field, Reason: e.Reason}\n}\n")
}

func (e *provider) method(m *genome.Method) {
	e.vars = 0
	e.p("{ID: %d, Name: %q,", m.ID, m.Name)
	if m.In != nil || m.Out != nil {
		e.p("Stream: func(ctx cellctx.Context, request []byte, stream *cellwire.Stream) (b []byte, err error) {")
	} else {
		e.p("Call: func(ctx cellctx.Context, request []byte) (b []byte, err error) {")
	}
	if m.Topic {
		e.p("return b, cellstub.Subscribe(ctx, stream, &%s, cellOut%s)\n}},", m.Name, m.Name)
		e.appendItem("cellOut"+m.Name, m.Out)
		return
	}
	args := []string{"ctx"}
	for i, p := range m.Request.Fields {
		args = append(args, fmt.Sprintf("p%d", i+1))
		e.p("var p%d %s", i+1, e.goType(p.Type))
	}
	if m.Variadic {
		args[len(args)-1] += "..."
	}
	if m.In != nil {
		args = append(args, fmt.Sprintf("cellstub.ReceiveItems(stream, cellIn%s)", m.Name))
		e.readItem("cellIn"+m.Name, m.In)
	}
	if len(m.Request.Fields) > 0 {
		e.p("f := cellwire.NewFields(request)")
		e.loop(&m.Request, func(i int) string { return fmt.Sprintf("p%d", i+1) })
		e.p("if !f.OK() {\nreturn b, cellInvalid(f)\n}")
	}
	var results []string
	for i := range m.Result.Fields {
		results = append(results, fmt.Sprintf("r%d", i+1))
	}
	if m.Out != nil {
		results = append(results, "items")
	}
	assign := " := "
	if e.fails(m) {
		if len(results) == 0 {
			assign = " = "
		}
		results = append(results, "err")
	}
	call := fmt.Sprintf("cell.%s(%s)", m.Name, strings.Join(args, ", "))
	if len(results) > 0 {
		call = strings.Join(results, ", ") + assign + call
	}
	e.p("%s", call)
	if e.fails(m) {
		e.p("if cellwire.Failed(err) {\nreturn b, err\n}")
	}
	if m.Out != nil {
		e.appendItem("cellOut"+m.Name, m.Out)
		e.p("return b, cellstub.SendItems(stream, items, cellOut%s)\n}},", m.Name)
		return
	}
	if len(m.Result.Fields) == 0 {
		e.p("return b, err\n}},")
		return
	}
	room := e.room(m.Name)
	e.p("b = %s.Buffer()", room)
	for i, r := range m.Result.Fields {
		e.append(r.Type, r.ID, fmt.Sprintf("r%d", i+1))
	}
	e.p("return %s.Done(b), err\n}},", room)
}

// errors writes the function that knows the package's error types.
func (e *provider) errors() {
	if len(e.g.Errors) == 0 {
		return
	}
	e.imports["errors"] = "cellerrors"
	e.p("// cellError says which of the cell's own errors err is.\nfunc cellError(err error) (name, text string, payload []byte, ok bool) {")
	for _, t := range e.g.Errors {
		e.needAppend(t.Name)
		e.p("if e, ok := cellerrors.AsType[*%s](err); ok && cellwire.Set(e) {", t.Name)
		e.p("return %q, e.Error(), cellAppend%s(payload, e), ok\n}", t.Name, t.Name)
		if !t.Pointer {
			e.p("if e, ok := cellerrors.AsType[%s](err); ok {", t.Name)
			e.p("return %q, e.Error(), cellAppend%s(payload, &e), ok\n}", t.Name, t.Name)
		}
	}
	e.p("return name, text, payload, ok\n}\n")
}
