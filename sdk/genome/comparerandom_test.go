package genome

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// random makes genomes, edits of them, and values.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 7))} }

func (r random) name(prefix string) string { return fmt.Sprintf("%s%d", prefix, r.IntN(1000)) }

func pick[T any](r random, all []T) T { return all[r.IntN(len(all))] }

var scalars = []Kind{
	Bool, Int, Int8, Int16, Int32, Int64, Uint, Uint8, Uint16, Uint32, Uint64, Float32, Float64, String, Bytes, Duration, Time, JSON,
}

// ref is a use of a type, of g's named types too.
func (r random) ref(g *Genome, depth int) Ref {
	n := r.IntN(12)
	if depth > 2 {
		n = 0
	}
	elem := func() *Ref { e := r.ref(g, depth+1); return &e }
	switch {
	case n == 8:
		e := elem()
		if e.Kind == Optional {
			return *e
		}
		return Ref{Kind: Optional, Elem: e}
	case n == 9:
		return Ref{Kind: List, Elem: elem()}
	case n == 10:
		return Ref{Kind: Array, Len: r.IntN(3), Elem: elem()}
	case n == 11:
		return Ref{Kind: Map, Key: pick(r, []Kind{String, Bool, Int8, Int, Uint32}), Elem: elem()}
	case n > 3 && len(g.Types) > 0:
		return Ref{Kind: Named, Name: pick(r, g.Types).Name}
	}
	return Ref{Kind: pick(r, scalars)}
}

func (r random) fields(g *Genome, prefix string, n int) *Message {
	m := &Message{Next: 1}
	for range n {
		r.add(m, prefix, r.ref(g, 0))
	}
	return m
}

func (r random) add(m *Message, prefix string, t Ref) {
	name := r.name(prefix)
	if m.index(name) < 0 {
		m.Fields = append(m.Fields, Field{ID: m.Next, Name: name, Type: t})
		m.Next++
	}
}

// genome makes a genome that Check lets pass.
func (r random) genome() *Genome {
	for {
		g := &Genome{Format: Format, Cell: "c", Version: "1.0.0", Serves: "S", Next: 1}
		for range 2 + r.IntN(4) {
			r.addType(g)
		}
		for range 1 + r.IntN(3) {
			r.addMethod(g)
		}
		for _, t := range g.Types {
			if t.Struct != nil && r.IntN(3) == 0 {
				g.Errors = append(g.Errors, Error{Name: t.Name, Pointer: r.IntN(2) == 0})
			}
		}
		if g.Check() == nil {
			return g
		}
	}
}

func (r random) addType(g *Genome) {
	t := Type{Name: r.name("T")}
	if g.Type(t.Name) != nil {
		return
	}
	var structs []string
	for _, s := range g.Types {
		if s.Struct != nil {
			structs = append(structs, s.Name)
		}
	}
	switch n := r.IntN(8); {
	case n < 2:
		b := r.ref(g, 1)
		t.Base = &b
	case n == 2:
		t.Base = &Ref{Kind: pick(r, []Kind{Int8, Int32, Int64, Uint8, String})}
		for range r.IntN(3) {
			t.Values = append(t.Values, Value{Name: r.name("C"), Value: fmt.Sprint(r.IntN(5))})
		}
	case n < 5 && len(structs) > 0:
		t.Sum = &Message{Next: 1}
		for range 1 + r.IntN(3) {
			r.addVariant(t.Sum, pick(r, structs))
		}
	default:
		t.Struct = r.fields(g, "F", r.IntN(4))
		if r.IntN(3) == 0 { // itself
			r.add(t.Struct, "F", Ref{Kind: pick(r, []Kind{Optional, List}), Elem: &Ref{Kind: Named, Name: t.Name}})
		}
	}
	g.Types = append(g.Types, t)
}

func (r random) addVariant(m *Message, name string) {
	if m.index(name) >= 0 {
		return
	}
	t := Ref{Kind: Named, Name: name}
	if r.IntN(2) == 0 {
		t = Ref{Kind: Optional, Elem: &t}
	}
	m.Fields = append(m.Fields, Field{ID: m.Next, Name: name, Type: t})
	m.Next++
}

func (r random) addMethod(g *Genome) {
	m := Method{ID: g.Next, Name: r.name("M"), Request: *r.fields(g, "p", r.IntN(4)), Result: Message{Next: 1}}
	if g.Method(m.Name) != nil {
		return
	}
	switch r.IntN(5) {
	case 0:
		m.Out = Item(r.ref(g, 0))
	case 1:
		m.In = Item(r.ref(g, 0))
	case 2:
		m.OneWay = true
	default:
		m.Result = *r.fields(g, "r", r.IntN(3))
	}
	g.Next++
	g.Methods = append(g.Methods, m)
}

// messages are those of methods, with the fields of structs behind them.
func messages(g *Genome) (signatures, structs, items []*Message) {
	for i := range g.Methods {
		m := &g.Methods[i]
		signatures = append(signatures, &m.Request)
		if !m.OneWay && m.Out == nil {
			signatures = append(signatures, &m.Result)
		}
		for _, s := range []*Message{m.In, m.Out} {
			if s != nil {
				items = append(items, s)
			}
		}
	}
	for i := range g.Types {
		if s := g.Types[i].Struct; s != nil {
			structs = append(structs, s)
		}
	}
	return signatures, structs, items
}

func clone(g *Genome) *Genome {
	data, err := json.Marshal(g)
	if err != nil {
		panic(err)
	}
	c := &Genome{}
	if err := json.Unmarshal(data, c); err != nil {
		panic(err)
	}
	return c
}

// edited is g after some edits that Check lets pass.
func (r random) edited(g *Genome) *Genome {
	now := clone(g)
	for n := 1 + r.IntN(4); n > 0; n-- {
		next := clone(now)
		r.edit(next)
		if r.IntN(8) == 0 {
			next.Merge(now)
		}
		if next.Check() == nil {
			now = next
		}
	}
	return now
}

func (r random) edit(g *Genome) {
	signatures, structs, items := messages(g)
	all := slices.Concat(signatures, structs)
	m := pick(r, append(all, &Message{Next: 1}))
	switch r.IntN(16) {
	case 0, 1: // a field, a parameter or a result more
		r.add(m, pick(r, []string{"F", "p"}), r.ref(g, 0))
	case 2:
		if len(m.Fields) > 0 {
			i := r.IntN(len(m.Fields))
			m.Fields = slices.Delete(m.Fields, i, i+1)
		}
	case 3:
		if len(m.Fields) > 0 {
			m.Fields[r.IntN(len(m.Fields))].Name = r.name(pick(r, []string{"F", "p"}))
		}
	case 4: // another order
		m := pick(r, append(signatures, &Message{}))
		r.Shuffle(len(m.Fields), func(i, j int) { m.Fields[i], m.Fields[j] = m.Fields[j], m.Fields[i] })
	case 5, 6, 7, 8: // another type
		m := pick(r, append(slices.Concat(all, items), &Message{}))
		if len(m.Fields) > 0 {
			f := &m.Fields[r.IntN(len(m.Fields))]
			f.Type = r.change(g, f.Type)
		}
	case 9: // another name for a type, or a copy that is used in places
		r.rename(g, r.IntN(2) == 0)
	case 10: // another base, or constants
		t := &g.Types[r.IntN(len(g.Types))]
		switch {
		case t.Base != nil && r.IntN(2) == 0:
			b := r.change(g, *t.Base)
			t.Base = &b
		case t.Base != nil && len(t.Values) > 0 && r.IntN(2) == 0:
			t.Values = t.Values[1:]
		case t.Base != nil:
			t.Values = append(t.Values, Value{Name: r.name("C"), Value: "3"})
		}
	case 11, 12: // variants
		t := &g.Types[r.IntN(len(g.Types))]
		if t.Sum == nil {
			return
		}
		i := r.IntN(max(len(t.Sum.Fields), 1))
		switch n := r.IntN(3); {
		case n == 0:
			for _, s := range g.Types {
				if s.Struct != nil {
					r.addVariant(t.Sum, s.Name)
				}
			}
		case len(t.Sum.Fields) == 0:
		case n == 1:
			t.Sum.Fields = slices.Delete(t.Sum.Fields, i, i+1)
		default:
			f := &t.Sum.Fields[i]
			name := f.Name
			f.Type = Ref{Kind: Optional, Elem: &Ref{Kind: Named, Name: name}}
		}
	case 13: // methods and errors
		switch r.IntN(4) {
		case 0:
			r.addMethod(g)
		case 1:
			r.addType(g)
		case 2:
			if t := pick(r, g.Types); t.Struct != nil {
				g.Errors = append(g.Errors, Error{Name: t.Name})
			}
		default:
			m := &g.Methods[r.IntN(len(g.Methods))]
			m.OneWay = !m.OneWay
		}
	case 14: // ids that went over, by hand
		if len(m.Fields) > 1 {
			m.Fields[0].ID, m.Fields[1].ID = m.Fields[1].ID, m.Fields[0].ID
		}
	default: // a struct that becomes a sum, and the other way round
		t := &g.Types[r.IntN(len(g.Types))]
		t.Struct, t.Sum = t.Sum, t.Struct
	}
}

// change makes another type, often a near one.
func (r random) change(g *Genome, t Ref) Ref {
	family := func(kinds ...Kind) Ref {
		if r.IntN(6) == 0 {
			return r.ref(g, 0)
		}
		return Ref{Kind: pick(r, kinds)}
	}
	switch {
	case r.IntN(4) == 0 && t.Kind == Optional:
		return *t.Elem
	case r.IntN(4) == 0 && t.Kind != Optional:
		return Ref{Kind: Optional, Elem: &t}
	case t.Kind == Named && r.IntN(3) == 0:
		if named := g.Type(t.Name); named != nil && named.Base != nil {
			return *named.Base
		}
	case t.Kind.Scalar() && r.IntN(3) == 0: // a name for it
		for _, named := range g.Types {
			if named.Base != nil && named.Base.Kind == t.Kind {
				return Ref{Kind: Named, Name: named.Name}
			}
		}
	}
	switch {
	case t.Kind.Signed() && t.Kind != Duration:
		return family(Int, Int8, Int16, Int32, Int64)
	case t.Kind.Unsigned():
		return family(Uint, Uint8, Uint16, Uint32, Uint64)
	case t.Kind == Map && r.IntN(2) == 0:
		t.Key, t.KeyName = pick(r, []Kind{String, Int, Int8, Int64, Uint32}), ""
		return t
	case t.Elem != nil && r.IntN(8) > 0:
		e := r.change(g, *t.Elem)
		t.Elem = &e
		return t
	}
	return r.ref(g, 0)
}

// rename gives a type another name at all its uses, or adds a copy under another name for some of them.
func (r random) rename(g *Genome, keep bool) {
	i := r.IntN(len(g.Types))
	was, is := g.Types[i].Name, r.name("T")
	if g.Type(is) != nil {
		return
	}
	if keep {
		all := clone(g).Types
		all[i].Name = is
		g.Types = append(g.Types, all[i])
	}
	var visit func(t *Ref)
	visit = func(t *Ref) {
		if keep && r.IntN(2) == 0 {
			return
		}
		if t.Name == was {
			t.Name = is
		}
		if t.KeyName == was {
			t.KeyName = is
		}
		if t.Elem != nil {
			visit(t.Elem)
		}
	}
	signatures, structs, items := messages(g)
	for _, m := range slices.Concat(signatures, structs, items) {
		for i := range m.Fields {
			visit(&m.Fields[i].Type)
		}
	}
	if keep {
		return
	}
	g.Types[i].Name = is
	for i := range g.Types {
		t := &g.Types[i]
		if t.Base != nil {
			visit(t.Base)
		}
		if t.Sum != nil {
			for i := range t.Sum.Fields {
				visit(&t.Sum.Fields[i].Type)
				if t.Sum.Fields[i].Name == was {
					t.Sum.Fields[i].Name = is
				}
			}
		}
	}
	for i := range g.Errors {
		if g.Errors[i].Name == was {
			g.Errors[i].Name = is
		}
	}
}

// value is a value of a type as JSON has it.
func (r random) value(g *Genome, t Ref, depth int) any {
	base, m := g.Resolve(t)
	few := r.IntN(4)
	if depth > 4 {
		few = 0
	}
	switch k := base.Kind; {
	case m != nil && g.Type(base.Name).Sum != nil:
		if few == 0 || len(m.Fields) == 0 {
			return nil
		}
		f := pick(r, m.Fields)
		v := r.message(g, g.Type(f.Name).Struct, depth+1)
		v["type"] = f.Name
		return v
	case m != nil:
		return r.message(g, m, depth+1)
	case k == Optional:
		if few == 0 {
			return nil
		}
		return r.value(g, *base.Elem, depth+1)
	case base.ByteArray():
		return base64.StdEncoding.EncodeToString(r.bytes(base.Len))
	case k == List || k == Array:
		all := []any{}
		if k == Array {
			few = base.Len
		}
		for range few {
			all = append(all, r.value(g, *base.Elem, depth+1))
		}
		return all
	case k == Map:
		all := map[string]any{}
		for range few {
			key := r.value(g, base.KeyRef(), depth+1)
			all[fmt.Sprint(key)] = r.value(g, *base.Elem, depth+1)
		}
		return all
	case k == Bool:
		return few > 1
	case k == Duration:
		return time.Duration(r.Int64() >> r.IntN(64)).String()
	case k.Signed():
		v := int64(r.Uint64()) >> (64 - k.bits()) >> r.IntN(k.bits())
		return json.Number(fmt.Sprint(v))
	case k.Unsigned():
		return json.Number(fmt.Sprint(r.Uint64() >> (64 - k.bits()) >> r.IntN(k.bits())))
	case k == Float32:
		return json.Number(fmt.Sprint(r.Float32()))
	case k == Float64:
		return json.Number(fmt.Sprint(r.NormFloat64()))
	case k == Bytes:
		return base64.StdEncoding.EncodeToString(r.bytes(few))
	case k == Time:
		return time.Unix(r.Int64N(1<<33), r.Int64N(1e9)).UTC().Format(time.RFC3339Nano)
	case k == JSON:
		return pick(r, []any{nil, json.Number("5"), "x", []any{true}, map[string]any{"a": nil}})
	}
	return pick(r, []string{"", "x", "grüße", "\x00\n"})
}

func (r random) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(256))
	}
	return b
}

// message has some of the fields: what is left out is zero.
func (r random) message(g *Genome, m *Message, depth int) map[string]any {
	all := map[string]any{}
	for _, f := range m.Fields {
		if depth < 6 && r.IntN(8) > 0 {
			all[f.Name] = r.value(g, f.Type, depth)
		}
	}
	return all
}
