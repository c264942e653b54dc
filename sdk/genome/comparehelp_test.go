package genome

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// lined makes a genome of lines, whose ids go on from those of old:
//
//	Get(id int64, more ...string) (found bool, user User)
//	Upload(name string) in bytes out string
//	event Log(line string)
//	repeatable Find(id int64) User
//	topic Ticks Tick
//	type User struct Name string; Age int8
//	type Shape sum Circle; *Square
//	type Color int32 Red=0 Green=1
//	error *Overflow
//
// A name may be followed by an id of its own, as in "Name@3"; an embedded field's has an & before it.
func lined(t testing.TB, old *Genome, lines ...string) *Genome {
	t.Helper()
	g := &Genome{Cell: "users", Version: "1.0.0", Serves: "Users"}
	for _, line := range lines {
		for one := range strings.Lines(line) {
			if one = strings.TrimSpace(one); one != "" {
				addLine(t, g, one)
			}
		}
	}
	// Ids of the text's own are set behind Merge, which gives others.
	own := map[string]uint32{}
	each := func(visit func(path string, name *string, id, next *uint32)) {
		message := func(path string, m *Message) {
			for i := range m.Fields {
				visit(path, &m.Fields[i].Name, &m.Fields[i].ID, &m.Next)
			}
		}
		for i := range g.Methods {
			m := &g.Methods[i]
			visit("", &m.Name, &m.ID, &g.Next)
			message(m.Name+"(", &m.Request)
			message(m.Name+" → ", &m.Result)
		}
		for i := range g.Types {
			if m := g.Types[i].Message(); m != nil {
				message(g.Types[i].Name+".", m)
			}
		}
	}
	each(func(path string, name *string, _, _ *uint32) {
		if before, after, ok := strings.Cut(*name, "@"); ok {
			n, err := strconv.ParseUint(after, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			*name, own[path+before] = before, uint32(n)
		}
	})
	g.Merge(old)
	each(func(path string, name *string, id, next *uint32) {
		if n := own[path+*name]; n != 0 {
			*id, *next = n, max(*next, n+1)
		}
	})
	if err := g.Check(); err != nil {
		t.Fatalf("%v in\n%s", err, strings.Join(lines, "\n"))
	}
	return g
}

var (
	methodLine = regexp.MustCompile(`^(event |repeatable )?(\S+?)\((.*?)\)(?: \((.*?)\)| ([^ ]+))??(?: in (\S+))?(?: out (\S+))?$`)
	typeLine   = regexp.MustCompile(`^type (\S+) (struct|sum|\S+)\s*(.*)$`)
)

func addLine(t testing.TB, g *Genome, line string) {
	t.Helper()
	if name, ok := strings.CutPrefix(line, "error "); ok {
		g.Errors = append(g.Errors, Error{Name: strings.TrimPrefix(name, "*"), Pointer: strings.HasPrefix(name, "*")})
		return
	}
	if rest, ok := strings.CutPrefix(line, "serves "); ok {
		g.Serves = rest
		return
	}
	if rest, ok := strings.CutPrefix(line, "doc "); ok {
		g.Doc = rest
		return
	}
	if rest, ok := strings.CutPrefix(line, "topic "); ok {
		name, typ, _ := strings.Cut(rest, " ")
		g.Methods = append(g.Methods, Method{Name: name, Topic: true, Out: Item(ref(t, typ))})
		return
	}
	if parts := typeLine.FindStringSubmatch(line); parts != nil {
		typ := Type{Name: parts[1]}
		switch parts[2] {
		case "struct":
			m := message(t, cut(parts[3], ";")...)
			for i := range m.Fields {
				f := &m.Fields[i]
				f.Name, f.Embedded = strings.TrimPrefix(f.Name, "&"), strings.HasPrefix(f.Name, "&")
			}
			typ.Struct = &m
		case "sum":
			typ.Sum = &Message{}
			for _, v := range cut(parts[3], ";") {
				name := strings.TrimPrefix(v, "*")
				bare, _, _ := strings.Cut(name, "@")
				typ.Sum.Fields = append(typ.Sum.Fields, Field{Name: name, Type: ref(t, strings.Repeat("*", len(v)-len(name))+bare)})
			}
		default:
			r := ref(t, parts[2])
			typ.Base = &r
			for _, v := range cut(parts[3], " ") {
				name, value, _ := strings.Cut(v, "=")
				typ.Values = append(typ.Values, Value{Name: name, Value: value})
			}
		}
		g.Types = append(g.Types, typ)
		return
	}
	parts := methodLine.FindStringSubmatch(line)
	if parts == nil {
		t.Fatalf("%q is no line of a genome", line)
	}
	m := Method{Name: parts[2], OneWay: parts[1] == "event ", Repeatable: parts[1] == "repeatable ", Variadic: strings.Contains(parts[3], "...")}
	m.Request = message(t, params(strings.ReplaceAll(parts[3], "...", "[]"))...)
	m.Result = message(t, params(parts[4])...)
	if parts[5] != "" {
		m.Result = message(t, "result "+parts[5])
	}
	if parts[6] != "" {
		m.In = Item(ref(t, parts[6]))
	}
	if parts[7] != "" {
		m.Out = Item(ref(t, parts[7]))
	}
	g.Methods = append(g.Methods, m)
}

func cut(s, sep string) (all []string) {
	for one := range strings.SplitSeq(s, sep) {
		if one = strings.TrimSpace(one); one != "" {
			all = append(all, one)
		}
	}
	return all
}

// crossing is what two genomes make of one message: who writes it, who reads it.
type crossing struct {
	old, new *Genome
	dir      direction
}

func (x crossing) sender() *Genome {
	if x.dir == toProvider {
		return x.old
	}
	return x.new
}

func (x crossing) receiver() *Genome {
	if x.dir == toProvider {
		return x.new
	}
	return x.old
}

// send writes a value as o or n, whichever the sender has, and reads it as the other. It returns what is lost of the
// fields that the old side knows.
func (x crossing) send(o, n *Message, value any) error {
	from, to := o, n
	if x.dir == toCaller {
		from, to = n, o
	}
	data, err := encodeObject(x.sender(), from, value)
	if err != nil {
		return fmt.Errorf("the sender's own value: %w", err)
	}
	// What the sender means, as a reader with the same genome gets it: what was left out is there as zero.
	_, _, sent, err := decode(x.sender(), from, data)
	if err != nil {
		return fmt.Errorf("the sender's own bytes: %w", err)
	}
	_, _, got, err := decode(x.receiver(), to, data)
	if err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	if err := x.message(o, n, parsed(sent.JSON), parsed(got.JSON)); err != nil {
		return fmt.Errorf("%w: %s arrives as %s", err, sent.JSON, got.JSON)
	}
	return nil
}

func parsed(data []byte) any {
	v, err := parseJSON(data)
	if err != nil {
		panic(err)
	}
	return v
}

// message compares the old fields of what was sent and what was read.
func (x crossing) message(o, n *Message, sent, got any) error {
	s, r := sent.(map[string]any), got.(map[string]any)
	for i := range o.Fields {
		f := &o.Fields[i]
		j := slices.IndexFunc(n.Fields, func(m Field) bool { return m.ID == f.ID })
		if j < 0 {
			return fmt.Errorf("%s is lost", f.Name)
		}
		to := &n.Fields[j]
		a, b := s[f.Name], r[to.Name]
		if x.dir == toCaller {
			a, b = s[to.Name], r[f.Name]
		}
		if err := x.value(f.Type, to.Type, a, b); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return nil
}

func (x crossing) value(o, n Ref, sent, got any) error {
	o, om := x.old.Resolve(o)
	n, nm := x.new.Resolve(n)
	if o.Kind == Optional {
		o, om = x.old.Resolve(*o.Elem)
		if sent == nil && got == nil {
			return nil
		}
	}
	if n.Kind == Optional {
		n, nm = x.new.Resolve(*n.Elem)
	}
	different := fmt.Errorf("%s is not %s", show(sent), show(got))
	if om != nil && nm != nil {
		to, tn := x.old.Type(o.Name), x.new.Type(n.Name)
		if (to.Sum != nil) != (tn.Sum != nil) {
			return different
		}
		if to.Sum != nil {
			return x.sum(to, tn, sent, got)
		}
		s, ok := sent.(map[string]any)
		r, ok2 := got.(map[string]any)
		if !ok || !ok2 {
			return different
		}
		return x.message(om, nm, s, r)
	}
	if s, ok := sent.([]any); ok && o.Kind != JSON && n.Kind != JSON {
		r, ok := got.([]any)
		if !ok || len(s) != len(r) || o.Elem == nil || n.Elem == nil {
			return different
		}
		for i := range s {
			if err := x.value(*o.Elem, *n.Elem, s[i], r[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if o.Kind == Map && n.Kind == Map {
		s, ok := sent.(map[string]any)
		r, ok2 := got.(map[string]any)
		if !ok || !ok2 || len(s) != len(r) {
			return different
		}
		for k := range s {
			if _, ok := r[k]; !ok {
				return different
			}
			if err := x.value(*o.Elem, *n.Elem, s[k], r[k]); err != nil {
				return err
			}
		}
		return nil
	}
	if !reflect.DeepEqual(sent, got) {
		return different
	}
	return nil
}

// sum compares variants. A caller that does not know one gets Unknown, which is nothing here.
func (x crossing) sum(o, n *Type, sent, got any) error {
	if sent == nil && got == nil {
		return nil
	}
	from, to := o, n
	if x.dir == toCaller {
		from, to = n, o
	}
	different := fmt.Errorf("%s is not %s", show(sent), show(got))
	s, ok := sent.(map[string]any)
	if !ok {
		return different
	}
	v := from.Sum.Fields[from.Sum.index(s["type"].(string))]
	i := slices.IndexFunc(to.Sum.Fields, func(f Field) bool { return f.ID == v.ID })
	if i < 0 && x.dir == toCaller && got == nil {
		return nil
	}
	r, ok := got.(map[string]any)
	if i < 0 || !ok || r["type"] != to.Sum.Fields[i].Name {
		return different
	}
	w := to.Sum.Fields[i]
	if x.dir == toCaller {
		v, w = w, v
		s, r = sent.(map[string]any), got.(map[string]any)
	}
	a, _ := x.old.Resolve(Ref{Kind: Named, Name: v.Name})
	b, _ := x.new.Resolve(Ref{Kind: Named, Name: w.Name})
	return x.message(x.old.Type(a.Name).Struct, x.new.Type(b.Name).Struct, s, r)
}

func asValue(t testing.TB, s string) any {
	t.Helper()
	v, err := parseJSON([]byte(s))
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return v
}

func told(changes []Change) string {
	var b strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&b, "%s %s: %s [%s]\n", c.Verdict, c.Where, c.What, c.ID)
	}
	return b.String()
}

// wellFormed fails for changes that the table of rules does not have, or that are out of order.
func wellFormed(t testing.TB, changes []Change) {
	t.Helper()
	for i, c := range changes {
		r := ruleByID[c.ID]
		if r == nil || c.Rule == "" || c.What == "" ||
			(side{c.Verdict, c.Rule} != r.request && side{c.Verdict, c.Rule} != r.result) || c.Additive != r.additive {
			t.Errorf("no row of the table: %+v", c)
		}
		if i > 0 && (c.Verdict > changes[i-1].Verdict || c.Verdict == changes[i-1].Verdict && c.Where < changes[i-1].Where) {
			t.Errorf("out of order:\n%s", told(changes))
		}
	}
}

func canonical(t testing.TB, g *Genome) []byte {
	t.Helper()
	data, err := g.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// params are parameters as in Go: a type may stand behind several names.
func params(s string) []string {
	all := cut(s, ",")
	typ := ""
	for i := len(all) - 1; i >= 0; i-- {
		if _, after, ok := strings.Cut(all[i], " "); ok {
			typ = after
		} else {
			all[i] += " " + typ
		}
	}
	return all
}
