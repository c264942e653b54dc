package genome

import (
	"bytes"
	"fmt"
	"go/format"
	"strings"
)

// Text is the interface as declarations of Go, formatted by gofmt, for people: the methods as an interface, then the types,
// then the error types.
func Text(g *Genome) string {
	var b strings.Builder
	types := newNames(exactly)
	for _, t := range g.Types {
		types.give(t.Name)
	}
	served := g.Serves
	if !exported(served) {
		served = title(served)
	}
	writeComment(&b, "", []string{oneLine(fmt.Sprintf("%s %s, wire hash %s", g.Cell, g.Version, shortHash(g.WireHash())))})
	b.WriteByte('\n')
	writeComment(&b, "", docLines(g.Doc))
	fmt.Fprintf(&b, "type %s interface {\n", types.give(served))
	for i := range g.Methods {
		m := &g.Methods[i]
		if i > 0 && (m.Doc != "" || g.Methods[i-1].Doc != "") {
			b.WriteByte('\n')
		}
		writeComment(&b, "\t", docLines(m.Doc))
		fmt.Fprintf(&b, "\t%s%s\n", goSignature(m), remark(m))
	}
	b.WriteString("}\n")
	for i := range g.Types {
		if !g.isError(g.Types[i].Name) {
			declare(&b, &g.Types[i])
		}
	}
	for _, e := range g.Errors {
		declare(&b, g.Type(e.Name))
		star := ""
		if e.Pointer {
			star = "*"
		}
		fmt.Fprintf(&b, "\nfunc (%s%s) Error() string\n", star, e.Name)
	}
	return gofmt(b.String())
}

// gofmt formats source. Twice, as it may find more to do in comments that it has changed.
func gofmt(source string) string {
	now := []byte(source)
	for range 4 {
		next, err := format.Source(now)
		if err != nil || bytes.Equal(next, now) {
			break
		}
		now = next
	}
	return string(now)
}

// remark says what a signature does not.
func remark(m *Method) string {
	switch {
	case m.Topic:
		return " // topic"
	case m.OneWay:
		return " // event: nothing is answered"
	case m.Repeatable:
		return " // repeatable"
	}
	return ""
}

// goSignature is the method as the provider writes it; a topic as callers get it.
func goSignature(m *Method) string {
	taken := newNames(exactly)
	for _, p := range m.Request.Fields {
		taken.give(p.Name)
	}
	ctx := "ctx"
	if taken.give("ctx") != "ctx" {
		ctx = "_"
	}
	params := []string{ctx + " context.Context"}
	own := Signature(&Method{Name: m.Name, Variadic: m.Variadic, Request: m.Request})
	if own = strings.TrimSuffix(strings.TrimPrefix(own, m.Name+"("), ")"); own != "" {
		params = append(params, own)
	}
	if m.In != nil {
		params = append(params, taken.give("items")+" "+stream(m.In))
	}
	return m.Name + "(" + strings.Join(params, ", ") + ")" + goResults(m, taken)
}

// goResults are a method's results with the error behind them, with names where the provider gave all of them names.
func goResults(m *Method, taken names) string {
	results := m.Result.Fields
	switch {
	case m.Out != nil:
		return " " + stream(m.Out)
	case m.OneWay:
		return ""
	case len(results) == 0:
		return " error"
	}
	named := ""
	for i, r := range results {
		if r.Name == "result" && len(results) == 1 || r.Name == fmt.Sprintf("r%d", i+1) || taken.give(r.Name) != r.Name {
			return " (" + goTypes(results) + ", error)"
		}
		named += r.Name
		if i+1 == len(results) || results[i+1].Type.String() != r.Type.String() {
			named += " " + r.Type.goString()
		}
		named += ", "
	}
	if err := taken.give("err"); err == "err" {
		return " (" + named + "err error)"
	}
	return " (" + named + "_ error)"
}

func goTypes(fields []Field) string {
	var types []string
	for _, f := range fields {
		types = append(types, f.Type.goString())
	}
	return strings.Join(types, ", ")
}

// declare writes a type, and its constants.
func declare(b *strings.Builder, t *Type) {
	doc, more := docLines(t.Doc), []string(nil)
	if t.Of != "" {
		more = append(more, "It is "+oneLine(t.Of)+".")
	}
	if t.Sum != nil && len(t.Sum.Fields) > 0 {
		more = append(more, "It is one of "+goTypes(t.Sum.Fields)+".")
	}
	b.WriteByte('\n')
	writeComment(b, "", paragraphs(doc, more))
	switch {
	case t.Sum != nil:
		fmt.Fprintf(b, "type %s interface{ is%s() }\n", t.Name, t.Name)
	case t.Base != nil:
		fmt.Fprintf(b, "type %s %s\n", t.Name, t.Base.goString())
		constants(b, t)
	case len(t.Struct.Fields) == 0:
		fmt.Fprintf(b, "type %s struct{}\n", t.Name)
	default:
		fmt.Fprintf(b, "type %s struct {\n", t.Name)
		for _, f := range t.Struct.Fields {
			writeComment(b, "\t", docLines(f.Doc))
			if f.Embedded {
				fmt.Fprintf(b, "\t%s\n", f.Type.goString())
			} else {
				fmt.Fprintf(b, "\t%s %s\n", f.Name, f.Type.goString())
			}
		}
		b.WriteString("}\n")
	}
}

func constants(b *strings.Builder, t *Type) {
	if len(t.Values) == 0 {
		return
	}
	b.WriteString("\nconst (\n")
	for _, v := range t.Values {
		writeComment(b, "\t", docLines(v.Doc))
		fmt.Fprintf(b, "\t%s %s = %s\n", v.Name, t.Name, constantText(t.Base.Kind, v.Value))
	}
	b.WriteString(")\n")
}
