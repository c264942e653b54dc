package genome

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// shortHash is as much of a hash as people compare.
func shortHash(hash string) string { return hash[:min(12, len(hash))] }

// docLines are the lines of a comment, fit to stand behind "//": no line ends before its end, nothing turns the text round
// for who reads it, and no line is one that gofmt takes for a build constraint and moves.
func docLines(doc string) []string {
	doc = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == '\v' || r == '\f' || r == '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029':
			return '\n'
		case unicode.IsControl(r) || r == '\ufeff' || unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, strings.ReplaceAll(doc, "\r\n", "\n"))
	doc = strings.TrimSpace(doc)
	if doc == "" {
		return nil
	}
	lines := strings.Split(doc, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRightFunc(line, unicode.IsSpace)
		if before, after, ok := strings.Cut(lines[i], "+build"); ok && strings.TrimSpace(before) == "" {
			lines[i] = before + "+ build" + after
		}
	}
	return lines
}

// oneLine is text as a part of a line of a comment.
func oneLine(text string) string {
	return strings.Join(strings.Fields(strings.Join(docLines(text), " ")), " ")
}

// paragraphs joins parts of a comment that are not empty.
func paragraphs(parts ...[]string) (lines []string) {
	for _, p := range parts {
		if len(lines) > 0 && len(p) > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, p...)
	}
	return lines
}

// writeComment writes lines behind "//".
func writeComment(b *strings.Builder, indent string, lines []string) {
	for _, line := range lines {
		b.WriteString(indent + strings.TrimRight("// "+line, " ") + "\n")
	}
}

// names gives out names that differ in their keys.
type names struct {
	taken map[string]bool
	next  map[string]int // where to go on counting
	key   func(name string) string
}

func newNames(key func(string) string) names { return names{map[string]bool{}, map[string]int{}, key} }

func exactly(name string) string { return name }

// give returns want, or want with a number when it is taken.
func (n names) give(want string) string {
	name, first := want, n.key(want)
	for n.taken[n.key(name)] {
		n.next[first] = max(2, n.next[first]+1)
		name = want + strconv.Itoa(n.next[first])
	}
	n.taken[n.key(name)] = true
	return name
}

// ascii spells a Go identifier, or any other text, with letters, digits and underscores of ASCII; the first is a letter.
func ascii(name string) string {
	var b strings.Builder
	for _, r := range name {
		switch {
		case r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z':
			b.WriteRune(r)
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			fmt.Fprintf(&b, "u%04x", r)
		default:
			b.WriteByte('_')
		}
	}
	s := b.String()
	if s == "" || s[0] >= '0' && s[0] <= '9' || s[0] == '_' {
		return "x" + s
	}
	return s
}

// title spells a name as ascii does, for a type.
func title(name string) string {
	s := ascii(name)
	return strings.ToUpper(s[:1]) + s[1:]
}

// typeNames gives every type its name in ASCII. Names that are ASCII stay as they are.
func (g *Genome) typeNames(n names) map[string]string {
	given := map[string]string{}
	for _, t := range g.Types {
		if title(t.Name) == t.Name {
			given[t.Name] = n.give(t.Name)
		}
	}
	for _, t := range g.Types {
		if given[t.Name] == "" {
			given[t.Name] = n.give(title(t.Name))
		}
	}
	return given
}

// constantText is a constant as a literal of Go; Check lets more spellings of numbers through than Go has.
func constantText(k Kind, text string) string {
	switch {
	case k.Signed():
		n, _ := strconv.ParseInt(text, 10, 64)
		return strconv.FormatInt(n, 10)
	case k.Unsigned():
		n, _ := strconv.ParseUint(text, 10, 64)
		return strconv.FormatUint(n, 10)
	case k == Float32 || k == Float64:
		f, _ := strconv.ParseFloat(text, 64)
		return strconv.FormatFloat(f, 'g', -1, 64)
	case k == String:
		return strconv.Quote(text)
	}
	return text
}

// isError tells whether the named type is an error type.
func (g *Genome) isError(name string) bool {
	return slices.ContainsFunc(g.Errors, func(e Error) bool { return e.Name == name })
}

// takes tells which types callers send: those within requests and within the items of streams to the cell.
func (g *Genome) takes() map[string]bool {
	types := newIndex(g)
	seen := map[string]bool{}
	var message func(m *Message)
	var ref func(r *Ref)
	ref = func(r *Ref) {
		for ; r.Elem != nil; r = r.Elem {
			seen[r.KeyName] = true
		}
		t := types[r.Name]
		if r.Kind != Named || t == nil || seen[r.Name] {
			return
		}
		seen[r.Name] = true
		if t.Base != nil {
			ref(t.Base)
		} else {
			message(t.Message())
		}
	}
	message = func(m *Message) {
		for i := range m.Fields {
			ref(&m.Fields[i].Type)
		}
	}
	for i := range g.Methods {
		message(&g.Methods[i].Request)
		if in := g.Methods[i].In; in != nil {
			message(in)
		}
	}
	return seen
}
