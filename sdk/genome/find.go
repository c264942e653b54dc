package genome

import (
	"fmt"
	"strings"

	"github.com/cell-network/cell/internal/nearest"
)

// FindMethod returns the method that a word means: its name in any case, dashes ignored. The error names what is near.
func FindMethod(g *Genome, word string) (*Method, error) {
	if m := g.Method(word); m != nil {
		return m, nil
	}
	var found []*Method
	var names []string
	for i := range g.Methods {
		names = append(names, g.Methods[i].Name)
		if fold(g.Methods[i].Name) == fold(word) {
			found = append(found, &g.Methods[i])
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, fmt.Errorf("%q may be %s or %s: write it in the right case", word, found[0].Name, found[1].Name)
	}
	msg := fmt.Sprintf("%s has no method %q", g.Cell, short(word))
	if n := near(word, names); n != "" {
		msg += ", did you mean " + n + "?"
	}
	if len(names) > 0 {
		msg += " It has " + strings.Join(names, ", ")
	}
	return nil, fmt.Errorf("%s", msg)
}

func fold(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s))
}

// near returns the name that word probably means, or "".
func near(word string, names []string) string {
	folded := make([]string, len(names))
	for i, name := range names {
		folded[i] = fold(name)
	}
	word = nearest.Word(fold(short(word)), folded)
	for i, name := range folded {
		if name == word {
			return names[i]
		}
	}
	return ""
}

// Signature is the method as in Go, without its context and its error: "Add(a, b int64) int64".
func Signature(m *Method) string {
	var b strings.Builder
	b.WriteString(m.Name + "(")
	params := m.Request.Fields
	for i, p := range params {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(p.Name)
		last := i == len(params)-1
		switch {
		case m.Variadic && last:
			b.WriteString(" ..." + strings.TrimPrefix(p.Type.goString(), "[]"))
		case last || m.Variadic && i == len(params)-2 || params[i+1].Type.String() != p.Type.String():
			b.WriteString(" " + p.Type.goString())
		}
	}
	if m.In != nil {
		if len(params) > 0 {
			b.WriteString(", ")
		}
		b.WriteString("items " + stream(m.In))
	}
	b.WriteString(")")
	if m.Out != nil {
		return b.String() + " " + stream(m.Out)
	}
	results := m.Result.Fields
	if len(results) == 1 && results[0].Name == "result" {
		return b.String() + " " + results[0].Type.goString()
	}
	if len(results) == 0 {
		return b.String()
	}
	var rs []string
	for i, r := range results {
		name := r.Name + " "
		if r.Name == fmt.Sprintf("r%d", i+1) {
			name = ""
		}
		rs = append(rs, name+r.Type.goString())
	}
	return b.String() + " (" + strings.Join(rs, ", ") + ")"
}

func stream(m *Message) string { return "iter.Seq2[" + m.Fields[0].Type.goString() + ", error]" }

// goString is the type as in Go source.
func (r Ref) goString() string {
	switch r.Kind {
	case Optional:
		return "*" + r.Elem.goString()
	case List:
		return "[]" + r.Elem.goString()
	case Array:
		return fmt.Sprintf("[%d]%s", r.Len, r.Elem.goString())
	case JSON:
		return "json.RawMessage"
	case Map:
		return "map[" + r.KeyRef().goString() + "]" + r.Elem.goString()
	case Bytes:
		return "[]byte"
	case Duration:
		return "time.Duration"
	case Time:
		return "time.Time"
	}
	return r.String()
}
