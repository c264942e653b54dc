package genome

import (
	"cmp"
	"slices"
	"strings"
)

// Merge gives every method, parameter, result and field of g its id: that of the same name in old, otherwise one that was
// never used. A renamed parameter or result of the same place and type keeps its id too, for old callers send its value.
// old may be nil; ids that g came with are ignored.
func (g *Genome) Merge(old *Genome) {
	if old == nil {
		old = &Genome{}
	}
	g.Format = Format
	g.Next = max(old.Next, 1)
	for i := range g.Methods {
		m := &g.Methods[i]
		was := old.Method(m.Name)
		if was == nil {
			m.ID = g.Next
			g.Next++
			was = &Method{}
		}
		if was.ID != 0 {
			m.ID = was.ID
		}
		m.Request.merge(&was.Request, true)
		m.Result.merge(&was.Result, true)
		for _, s := range []*Message{m.In, m.Out} { // a stream's items have one field that is always there
			if s != nil {
				s.Next, s.Fields[0].ID = 2, 1
			}
		}
	}
	gone := map[string]uint32{}
	for _, x := range old.Gone {
		gone[x.Name] = x.Next
	}
	for _, t := range old.Types {
		if m := t.Message(); m != nil {
			gone[t.Name] = max(gone[t.Name], m.Next)
		}
	}
	for i := range g.Types {
		t := &g.Types[i]
		fields := t.Message()
		if fields == nil {
			continue
		}
		was := &Message{Next: gone[t.Name]}
		if o := old.Type(t.Name); o != nil && (o.Struct != nil) == (t.Struct != nil) && o.Message() != nil {
			was = o.Message()
		}
		fields.merge(was, false)
		fields.Fields = byID(fields.Fields)
		delete(gone, t.Name)
	}
	g.Gone = nil
	for name, next := range gone {
		g.Gone = append(g.Gone, Gone{name, next})
	}
	slices.SortFunc(g.Gone, func(a, b Gone) int { return strings.Compare(a.Name, b.Name) })
	g.Methods = sortedMethods(g.Methods)
	g.Types = sortedTypes(g.Types)
	g.Errors = sortedErrors(g.Errors)
}

func (m *Message) merge(old *Message, byPlace bool) {
	m.Next = max(old.Next, 1)
	used := map[uint32]bool{}
	for i := range m.Fields {
		f := &m.Fields[i]
		f.ID = 0
		if j := old.index(f.Name); j >= 0 {
			f.ID = old.Fields[j].ID
			used[f.ID] = true
		}
	}
	for i := range m.Fields {
		f := &m.Fields[i]
		if f.ID != 0 {
			continue
		}
		if byPlace && i < len(old.Fields) && !used[old.Fields[i].ID] && old.Fields[i].Type.String() == f.Type.String() {
			f.ID = old.Fields[i].ID
			used[f.ID] = true
			continue
		}
		f.ID = m.Next
		m.Next++
	}
}

func (m *Message) index(name string) int {
	return slices.IndexFunc(m.Fields, func(f Field) bool { return f.Name == name })
}

func byID(fs []Field) []Field {
	return slices.SortedStableFunc(slices.Values(fs), func(a, b Field) int { return cmp.Compare(a.ID, b.ID) })
}

func sortedMethods(ms []Method) []Method {
	return slices.SortedStableFunc(slices.Values(ms), func(a, b Method) int { return cmp.Compare(a.ID, b.ID) })
}

func sortedTypes(ts []Type) []Type {
	return slices.SortedStableFunc(slices.Values(ts), func(a, b Type) int { return strings.Compare(a.Name, b.Name) })
}

func sortedErrors(es []Error) []Error {
	return slices.SortedStableFunc(slices.Values(es), func(a, b Error) int { return strings.Compare(a.Name, b.Name) })
}
