package gen

import (
	"fmt"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cell-network/cell/sdk/genome"
)

// ClientDir is the directory, below a cell's own, of the packages through which it calls others.
const ClientDir = "cells"

// Client writes the package through which the cell in dir calls the cell that it names need and that has the genome g:
// cells/NAME with the genome and the code, where they change. It returns the package's directory.
func Client(dir, need string, g *genome.Genome) (string, error) {
	data, err := g.Marshal()
	if err != nil {
		return "", fmt.Errorf("genome of %s: %w", need, err)
	}
	code, err := emitClient(g, need)
	if err != nil {
		return "", err
	}
	to := ClientPath(dir, need)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return "", err
	}
	return to, write([]file{{filepath.Join(to, genome.File), data}, {filepath.Join(to, ClientOutput), code}})
}

// ClientPath is the directory of the package through which the cell in dir calls the one that it names need. Go does not
// import directories of some names.
func ClientPath(dir, need string) string {
	switch need {
	case "main", "internal", "vendor", "testdata":
		need += "-cell"
	}
	return filepath.Join(dir, ClientDir, need)
}

// clientName is the name of that package.
func clientName(need string) string {
	name := strings.ReplaceAll(need, "-", "")
	if token.IsKeyword(name) || name == "main" || slices.Contains(basicNames, name) {
		name += "cell"
	}
	return name
}

// client writes the code for callers. Types, parameters and results keep the names that they have at the provider.
type client struct{ *emitter }

func emitClient(g *genome.Genome, need string) ([]byte, error) {
	e := &client{newEmitter(g, "")}
	e.named = func(name string) string { return name }
	e.unknown = func(sum string) string { return "Unknown" + sum }
	e.head(need)
	for i := range g.Methods {
		e.method(&g.Methods[i])
	}
	for i := range g.Types {
		e.declare(&g.Types[i])
	}
	name := clientName(need)
	doc := fmt.Sprintf("Package %s calls the cell %s.", name, g.Cell)
	if g.Doc != "" {
		doc += "\n\n" + g.Doc
	}
	return e.file(comment(doc) + "package " + name)
}

// comment makes lines of a doc comment.
func comment(doc string) string {
	if doc == "" {
		return ""
	}
	var b strings.Builder
	for line := range strings.SplitSeq(doc, "\n") {
		b.WriteString(strings.TrimRight("// "+line, " \t\r") + "\n")
	}
	return b.String()
}

// head writes what does not depend on methods: the cell, its client and how one is made.
func (e *client) head(need string) {
	e.imports["context"] = "context"
	typ := e.g.Serves
	e.p("const _ = cellstub.V4\n")
	e.p("// Cell is the cell %s as this package knows it.", e.g.Cell)
	e.p("var Cell = cellstub.Remote{")
	e.p("Need: %q,\nVersion: %q,\nHash: %q,", need, e.g.Version, e.g.WireHash())
	if len(e.g.Errors) > 0 {
		e.p("Error: cellError,")
	}
	e.p("}\n")
	e.p("// %s calls the cell %s. It may be used by many goroutines at once, and connects anew when a connection ends.", typ, e.g.Cell)
	e.p("type %s struct{ client *cellstub.Client }\n", typ)
	e.p("// Dial connects to the cell; sdk.Close ends the connection. It wakes a cell that sleeps, and waits for it as long as ctx")
	e.p("// allows.")
	e.p("func Dial(ctx context.Context, options ...cellsdk.DialOption) (*%s, error) {", typ)
	e.p("client, err := cellstub.Dial(ctx, &Cell, options...)\nif err != nil {\nreturn nil, err\n}")
	e.p("return &%s{client}, nil\n}\n", typ)
	e.p("// CellClient is for functions of package sdk.")
	e.p("func (cell *%s) CellClient() *cellstub.Client { return cell.client }\n", typ)
	if len(e.g.Errors) > 0 {
		e.errors()
	}
}

// errors writes the function that makes the cell's own errors of what arrives.
func (e *client) errors() {
	e.p("// cellError makes the cell's own error of its name.\nfunc cellError(name, text string, payload []byte) (error, func(any) bool, error) {")
	e.p("f := cellwire.NewFields(payload)\nswitch name {")
	for _, t := range e.g.Errors {
		e.needRead(t.Name)
		e.p("case %q:\nv := &%s{}\ncellRead%s(f, v)\nif !f.OK() {\nreturn nil, nil, f.Err()\n}\nv.cellText = text", t.Name, t.Name, t.Name)
		if t.Pointer {
			e.p("return v, nil, nil")
			continue
		}
		// A value is asked for as such and as a pointer: the provider may return either.
		e.p("return *v, func(as any) bool {\np, ok := as.(**%s)\nif ok {\n*p = v\n}\nreturn ok\n}, nil", t.Name)
	}
	e.p("}\nreturn nil, nil, nil\n}\n")
}

// method writes a method and the functions for its request and its answer.
func (e *client) method(m *genome.Method) {
	taken := []string{"cell", "ctx"}
	name := func(n string) string {
		for slices.Contains(taken, n) || strings.HasPrefix(n, "cell") && n != "cell" {
			n = "p" + n
		}
		taken = append(taken, n)
		return n
	}
	params, args := []string{"ctx context.Context"}, []string{}
	var types []string
	for i, p := range m.Request.Fields {
		n, t := name(p.Name), e.goType(p.Type)
		types = append(types, fmt.Sprintf("p%d %s", i+1, t))
		if m.Variadic && i == len(m.Request.Fields)-1 {
			t = "..." + strings.TrimPrefix(t, "[]")
		}
		if last := len(params) - 1; i > 0 && strings.HasSuffix(params[last], " "+t) { // a, b int64
			params[last] = strings.TrimSuffix(params[last], " "+t)
			params[last] += ", " + n + " " + t
		} else {
			params = append(params, n+" "+t)
		}
		args = append(args, n)
	}
	items := ""
	if m.In != nil {
		items = name("items")
		params = append(params, items+" "+e.seq(m.In))
	}
	request := "nil"
	if len(m.Request.Fields) > 0 {
		request = fmt.Sprintf("cellRequest%s(%s)", m.Name, strings.Join(args, ", "))
		room := e.room(m.Name)
		e.codec("cellRequest"+m.Name, "encodes the parameters of "+m.Name, fmt.Sprintf("(%s) []byte", strings.Join(types, ", ")), func() {
			e.p("b := %s.Buffer()", room)
			for i, p := range m.Request.Fields {
				e.append(p.Type, p.ID, fmt.Sprintf("p%d", i+1))
			}
			e.p("return %s.Done(b)", room)
		})
	}
	e.body.WriteString(comment(m.Doc))
	head := fmt.Sprintf("func (cell *%s) %s(%s)", e.g.Serves, m.Name, strings.Join(params, ", "))
	call := fmt.Sprintf("(ctx, cell.client, %d, %q, %s", m.ID, m.Name, request)
	if m.In != nil {
		call += ", " + items + ", cellIn" + m.Name
		e.appendItem("cellIn"+m.Name, m.In)
	}
	if m.Out != nil {
		call += ", cellOut" + m.Name
		e.readItem("cellOut"+m.Name, m.Out)
	}
	switch {
	case m.In != nil && m.Out != nil:
		e.p("%s %s {\nreturn cellstub.Exchange%s)\n}\n", head, e.seq(m.Out), call)
		return
	case m.Out != nil:
		verb := "Receive"
		if m.Topic {
			verb = "Listen"
		}
		e.p("%s %s {\nreturn cellstub.%s%s)\n}\n", head, e.seq(m.Out), verb, call)
		return
	case m.OneWay:
		e.p("%s error {\nreturn cellstub.Notify%s)\n}\n", head, call)
		return
	}
	verb := "cellstub.Call"
	if m.Repeatable {
		verb = "cellstub.Repeat"
	}
	if m.In != nil {
		verb = "cellstub.Send"
	}
	if len(m.Result.Fields) == 0 {
		e.p("%s error {\n_, err := %s%s)\nreturn err\n}\n", head, verb, call)
		return
	}
	e.p("%s %s {\nreturn cellResult%s(%s%s))\n}\n", head, results(m, e.goType), m.Name, verb, call)
	e.result(m)
}

// results are a method's results as Go writes them: with names where the provider gave them.
func results(m *genome.Method, goType func(genome.Ref) string) string {
	var named, plain []string
	for i, r := range m.Result.Fields {
		plain = append(plain, goType(r.Type))
		if r.Name != fmt.Sprintf("r%d", i+1) && r.Name != "result" && !strings.HasPrefix(r.Name, "cell") && r.Name != "ctx" &&
			!slices.ContainsFunc(m.Request.Fields, func(p genome.Field) bool { return p.Name == r.Name }) {
			named = append(named, r.Name+" "+goType(r.Type))
		}
	}
	if len(named) == len(plain) {
		return "(" + strings.Join(append(named, "_ error"), ", ") + ")"
	}
	return "(" + strings.Join(append(plain, "error"), ", ") + ")"
}

// result writes the function that decodes what a method answered.
func (e *client) result(m *genome.Method) {
	var types []string
	for i, r := range m.Result.Fields {
		types = append(types, fmt.Sprintf("r%d %s", i+1, e.goType(r.Type)))
	}
	e.codec("cellResult"+m.Name, "decodes the results of "+m.Name, fmt.Sprintf("(data []byte, failed error) (%s, err error)", strings.Join(types, ", ")), func() {
		e.p("if failed != nil {\nerr = failed\nreturn\n}\nf := cellwire.NewFields(data)")
		e.loop(&m.Result, func(i int) string { return fmt.Sprintf("r%d", i+1) })
		e.p("if !f.OK() {\nerr = cellstub.BadResult(&Cell, %q, f.Err())\nreturn\n}\ncellwire.Recycle(data)\nreturn", m.Name)
	})
}

// declare writes a copy of one of the provider's types.
func (e *client) declare(t *genome.Type) {
	e.body.WriteString(comment(t.Doc))
	switch {
	case t.Sum != nil:
		e.sum(t)
	case t.Base != nil:
		e.p("type %s %s\n", t.Name, e.goType(*t.Base))
		e.constants(t)
	default:
		e.structure(t)
	}
}

func (e *client) structure(t *genome.Type) {
	i := slices.IndexFunc(e.g.Errors, func(x genome.Error) bool { return x.Name == t.Name })
	e.p("type %s struct {", t.Name)
	for _, f := range t.Struct.Fields {
		e.body.WriteString(comment(f.Doc))
		if f.Embedded {
			e.p("%s", e.goType(f.Type))
			continue
		}
		e.p("%s %s", f.Name, e.goType(f.Type))
	}
	if i >= 0 {
		if len(t.Struct.Fields) > 0 {
			e.p("")
		}
		e.p("cellText string // what Error said at the provider")
	}
	e.p("}\n")
	if i < 0 {
		return
	}
	star := ""
	if e.g.Errors[i].Pointer {
		star = "*"
	}
	e.p("func (e %s%s) Error() string { return e.cellText }\n", star, t.Name)
}

func (e *client) constants(t *genome.Type) {
	if len(t.Values) == 0 {
		return
	}
	e.p("const (")
	for _, v := range t.Values {
		e.body.WriteString(comment(v.Doc))
		value := v.Value
		if t.Base.Kind == genome.String {
			value = fmt.Sprintf("%q", value)
		}
		e.p("%s %s = %s", v.Name, t.Name, value)
	}
	e.p(")\n")
}

func (e *client) sum(t *genome.Type) {
	var names []string
	for _, f := range t.Sum.Fields {
		names = append(names, e.goType(f.Type))
	}
	unknown := e.unknown(t.Name)
	if t.Doc == "" {
		e.p("// %s is one of its variants.", t.Name)
	}
	e.p("//\n// It is one of %s, or of a variant that came later, %s.", strings.Join(names, ", "), unknown)
	e.p("type %s interface{ cell%s() }\n", t.Name, t.Name)
	for _, n := range names {
		e.p("func (%s) cell%s() {}", n, t.Name)
	}
	e.p("\n// %s is a variant of %s that this package does not know: its id and what came of it.", unknown, t.Name)
	e.p("type %s struct {\nID uint32\nRaw []byte\n}\n", unknown)
	e.p("func (%s) cell%s() {}\n", unknown, t.Name)
}
