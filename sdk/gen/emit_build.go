package gen

import (
	"fmt"
	"strings"

	"github.com/cell-network/cell/sdk/genome"
)

// build writes CellBuild, which makes the served value a cell.
func (e *emitter) build() {
	receiver := e.x.served.name()
	if e.x.served.pointer {
		receiver = "*" + receiver
	}
	e.p("//go:embed %s\nvar cellGenome []byte\n", genome.File)
	e.p("// CellBuild describes the cell to sdk.Main.")
	e.p("func (cell %s) CellBuild() *cellsdk.Genome {\nreturn &cellsdk.Genome{", receiver)
	e.p("Name: %q,\nVersion: %q,\nHash: %q,\nJSON: cellGenome,", e.g.Cell, e.g.Version, e.g.WireHash())
	if len(e.g.Errors) > 0 {
		e.p("Error: cellError,")
	}
	e.p("Methods: []cellsdk.Method{")
	for i := range e.g.Methods {
		e.method(&e.g.Methods[i])
	}
	e.p("},\n}\n}\n")
	e.p("func cellInvalid(f *cellwire.Fields) error {\ne := f.Err()")
	e.p("return &cellsdk.InvalidRequest{Field: e.Field, Reason: e.Reason}\n}\n")
}

func (e *emitter) method(m *genome.Method) {
	e.vars = 0
	e.p("{ID: %d, Name: %q, Call: func(ctx cellctx.Context, request []byte) (b []byte, err error) {", m.ID, m.Name)
	args := []string{"ctx"}
	for i, p := range m.Request.Fields {
		args = append(args, fmt.Sprintf("p%d", i+1))
		e.p("var p%d %s", i+1, e.goType(p.Type))
	}
	if m.Variadic {
		args[len(args)-1] += "..."
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
	for i, r := range m.Result.Fields {
		e.append(r.Type, r.ID, fmt.Sprintf("r%d", i+1))
	}
	e.p("return b, err\n}},")
}

// errors writes the function that knows the package's error types.
func (e *emitter) errors() {
	if len(e.g.Errors) == 0 {
		return
	}
	e.imports["errors"] = "cellerrors"
	e.p("func cellError(err error) (name string, payload []byte, ok bool) {")
	for _, t := range e.g.Errors {
		e.needAppend(t.Name)
		e.p("if e, ok := cellerrors.AsType[*%s](err); ok && cellwire.Set(e) {", t.Name)
		e.p("return %q, cellAppend%s(payload, e), ok\n}", t.Name, t.Name)
		if !t.Pointer {
			e.p("if e, ok := cellerrors.AsType[%s](err); ok {", t.Name)
			e.p("return %q, cellAppend%s(payload, &e), ok\n}", t.Name, t.Name)
		}
	}
	e.p("return name, payload, ok\n}\n")
}
