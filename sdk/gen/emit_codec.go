package gen

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/cell-network/cell/sdk/genome"
)

// helper is the part of a helper's name in package wire that says which scalar it is for.
func helper(k genome.Kind) string {
	switch {
	case k.Signed():
		return "Int"
	case k.Unsigned():
		return "Uint"
	case k == genome.Bool:
		return "Bool"
	case k == genome.Float32:
		return "Float32"
	case k == genome.Float64:
		return "Float64"
	case k == genome.String:
		return "String"
	case k == genome.Bytes, k == genome.JSON:
		return "Bytes"
	}
	return "Time"
}

func (e *emitter) v(prefix string) string {
	e.vars++
	return fmt.Sprintf("%s%d", prefix, e.vars)
}

// codec writes a function apart, once. does says what it does.
func (e *emitter) codec(name, does, head string, body func()) {
	if _, have := e.funcs[name]; have {
		return
	}
	e.funcs[name] = ""
	e.pending = append(e.pending, func() {
		outer, vars := e.body, e.vars
		e.body, e.vars = &bytes.Buffer{}, 0
		e.p("// %s %s.\nfunc %s%s {", name, does, name, head)
		body()
		e.p("}\n")
		e.funcs[name] = e.body.String()
		e.body, e.vars = outer, vars
	})
}

// room is the variable that knows how long the method's messages are.
func (e *emitter) room(method string) string {
	name := "cellRoom" + method
	e.funcs[name] = fmt.Sprintf("// %s knows how long the messages of %s are.\nvar %s cellwire.Room\n\n", name, method, name)
	return name
}

// needAppend makes sure of the function that appends a struct's fields, or a named list or map as a field.
func (e *emitter) needAppend(name string) {
	t := e.g.Type(name)
	if t.Sum != nil {
		e.codec("cellAppend"+name, "appends the variant that v is", fmt.Sprintf("(b []byte, v %s) []byte", e.named(name)), func() { e.appendSum(t) })
		return
	}
	if t.Struct == nil {
		e.codec("cellAppend"+name, "appends v as field id", fmt.Sprintf("(b []byte, id uint32, v %s) []byte", e.named(name)), func() {
			e.appendBase(*t.Base, "id", "v")
			e.p("return b")
		})
		return
	}
	e.codec("cellAppend"+name, "appends the fields of v", fmt.Sprintf("(b []byte, v *%s) []byte", e.named(name)), func() {
		for _, f := range t.Struct.Fields {
			e.append(f.Type, f.ID, "v."+f.Name)
		}
		e.p("return b")
	})
}

func (e *emitter) needRead(name string) {
	t := e.g.Type(name)
	if t.Sum != nil {
		e.codec("cellRead"+name, "reads a variant into v", fmt.Sprintf("(f *cellwire.Fields, v *%s)", e.named(name)), func() { e.readSum(t) })
		return
	}
	if t.Struct == nil {
		e.codec("cellRead"+name, "reads the field where f is into v", fmt.Sprintf("(f *cellwire.Fields, name string, v *%s)", e.named(name)), func() {
			e.readBase(*t.Base, *t.Base, "(*v)", "name")
		})
		return
	}
	e.codec("cellRead"+name, "reads the fields of v", fmt.Sprintf("(f *cellwire.Fields, v *%s)", e.named(name)), func() {
		e.loop(t.Struct, func(i int) string { return "v." + t.Struct.Fields[i].Name })
	})
}

// keeps tells whether a value of the type has memory that is used again when another one is read into it: that of a list, a map
// or an optional.
func (e *emitter) keeps(r genome.Ref) bool {
	base, message := e.g.Resolve(r)
	if message == nil {
		return base.Kind == genome.List || base.Kind == genome.Map || base.Kind == genome.Optional
	}
	return e.g.Type(r.Name).Struct != nil && slices.ContainsFunc(message.Fields, func(f genome.Field) bool { return e.keeps(f.Type) })
}

// reset writes code that empties target.
func (e *emitter) reset(r genome.Ref, target string) {
	base, message := e.g.Resolve(r)
	switch {
	case !e.keeps(r):
		e.p("cellwire.Zero(%s)", address(target))
	case message != nil:
		e.needReset(r.Name)
		e.p("cellReset%s(f, %s)", r.Name, address(target))
	case base.Kind == genome.List:
		e.p("%s = %s[:0]", plain(target), target)
	case base.Kind == genome.Map:
		e.p("%s = cellwire.Clear(%s)", plain(target), plain(target))
	default:
		e.p("cellwire.Keep(f, %s)\ncellwire.Zero(%s)", plain(target), address(target))
	}
}

// needReset makes sure of the function that empties a struct, and keeps its memory.
func (e *emitter) needReset(name string) {
	t := e.g.Type(name)
	e.codec("cellReset"+name, "empties v and keeps the memory of its lists, maps and optionals", fmt.Sprintf("(f *cellwire.Fields, v *%s)", e.named(name)), func() {
		var kept []string
		for _, f := range t.Struct.Fields {
			base, message := e.g.Resolve(f.Type)
			value := "v." + f.Name
			switch {
			case !e.keeps(f.Type):
				continue
			case base.Kind == genome.Optional:
				e.p("cellwire.Keep(f, %s)", value)
				continue
			case message != nil:
				e.reset(f.Type, value)
			case base.Kind == genome.List:
				value += "[:0]"
			default:
				value = "cellwire.Clear(" + value + ")"
			}
			kept = append(kept, fmt.Sprintf("%s: %s,\n", f.Name, value))
		}
		e.p("*v = %s{\n%s}", e.named(name), strings.Join(kept, ""))
	})
}

// loop reads the fields of a message into targets.
func (e *emitter) loop(m *genome.Message, target func(i int) string) {
	e.p("for f.Next() {")
	if len(m.Fields) > 0 {
		e.p("switch f.ID {")
		for i, f := range m.Fields {
			e.p("case %d:", f.ID)
			e.read(f.Type, target(i), fmt.Sprintf("%q", f.Name))
		}
		e.p("}")
	}
	e.p("}")
}

// appendSum writes the one variant that is there, as the only field of the message.
func (e *emitter) appendSum(t *genome.Type) {
	e.p("if !cellwire.Some(v) {\nreturn b\n}\nswitch v := v.(type) {")
	for _, f := range t.Sum.Fields {
		e.needAppend(f.Name)
		if f.Type.Kind == genome.Named {
			e.p("case %s:\nb, m := cellwire.Begin(b, %d)\nreturn cellwire.End(cellAppend%s(b, &v), m)", e.named(f.Name), f.ID, f.Name)
		}
		e.p("case *%s:\nif cellwire.Set(v) {\nb, m := cellwire.Begin(b, %d)\nreturn cellwire.End(cellAppend%s(b, v), m)\n}",
			e.named(f.Name), f.ID, f.Name)
	}
	if e.unknown != nil {
		e.p("case %s: // nobody knows how to send it", e.unknown(t.Name))
	}
	e.p("default:\ncellwire.Unknown(v)\n}\nreturn b")
}

func (e *emitter) readSum(t *genome.Type) {
	e.p("for f.Next() {\nswitch f.ID {")
	for _, f := range t.Sum.Fields {
		e.needRead(f.Name)
		value := "*e"
		if f.Type.Kind == genome.Optional {
			value = "e"
		}
		e.p("case %d:\ne := cellwire.New[%s](f)\nend := f.Enter()\ncellRead%s(f, e)\nf.Leave(end, %q)\n*v = %s",
			f.ID, e.named(f.Name), f.Name, f.Name, value)
	}
	if e.unknown != nil {
		e.p("default:\n*v = %s{ID: f.ID, Raw: cellwire.Raw(f)}", e.unknown(t.Name))
	}
	e.p("}\n}")
}

// append writes code that appends a value, which can be addressed, as field id to b.
func (e *emitter) append(r genome.Ref, id uint32, value string) {
	e.appendField(r, fmt.Sprint(id), value)
}

func (e *emitter) appendField(r genome.Ref, id, value string) {
	base, message := e.g.Resolve(r)
	switch {
	case message != nil:
		e.needAppend(r.Name)
		m := e.v("m")
		if e.g.Type(r.Name).Struct != nil {
			value = address(value)
		}
		e.p("var %s int\nb, %s = cellwire.Begin(b, %s)", m, m, id)
		e.p("b = cellAppend%s(b, %s)\nb = cellwire.End(b, %s)", r.Name, plain(value), m)
	case r.Kind == genome.Named && !base.Kind.Scalar():
		e.needAppend(r.Name)
		e.p("b = cellAppend%s(b, %s, %s)", r.Name, id, plain(value))
	default:
		e.appendBase(base, id, value)
	}
}

func (e *emitter) appendBase(r genome.Ref, id, value string) {
	switch r.Kind {
	case genome.Optional:
		e.p("if cellwire.Set(%s) {", plain(value))
		e.appendElement(*r.Elem, id, "(*"+value+")")
		e.p("}")
	case genome.List:
		if elem, _ := e.g.Resolve(*r.Elem); elem.Kind.Packed() {
			e.p("b = cellwire.Append%ss(b, %s, %s)", helper(elem.Kind), id, plain(value))
			return
		}
		i := e.v("i")
		e.p("for %s := range %s {", i, value)
		e.appendElement(*r.Elem, id, strings.TrimSuffix(value, "[:]")+"["+i+"]")
		e.p("}")
	case genome.Array:
		if r.ByteArray() {
			e.p("b = cellwire.AppendArray(b, %s, %s[:])", id, value)
			return
		}
		m := e.v("m")
		e.p("var %s int\nb, %s = cellwire.Begin(b, %s)", m, m, id)
		e.appendBase(genome.Ref{Kind: genome.List, Elem: r.Elem}, "1", value+"[:]")
		e.p("b = cellwire.End(b, %s)", m)
	case genome.Map:
		k, v, m := e.v("k"), e.v("e"), e.v("m")
		e.p("for %s, %s := range %s {\nvar %s int\nb, %s = cellwire.Begin(b, %s)", k, v, value, m, m, id)
		e.appendField(r.KeyRef(), "1", k)
		e.appendElement(*r.Elem, "2", v)
		e.p("b = cellwire.End(b, %s)\n}", m)
	default:
		e.p("b = cellwire.Append%s(b, %s, %s)", helper(r.Kind), id, plain(value))
	}
}

// wrapped tells whether r needs a message around it where it is no field of one.
func (e *emitter) wrapped(r genome.Ref) bool {
	base, _ := e.g.Resolve(r)
	return base.Kind == genome.Optional || base.Kind == genome.List || base.Kind == genome.Map
}

func (e *emitter) appendElement(r genome.Ref, id, value string) {
	if !e.wrapped(r) {
		e.appendField(r, id, value)
		return
	}
	m := e.v("m")
	e.p("var %s int\nb, %s = cellwire.Begin(b, %s)", m, m, id)
	e.appendField(r, "1", value)
	e.p("b = cellwire.End(b, %s)", m)
}

// read writes code that reads the field where f is into target, which can be addressed. name is Go source.
func (e *emitter) read(r genome.Ref, target, name string) {
	base, message := e.g.Resolve(r)
	switch {
	case message != nil:
		e.needRead(r.Name)
		end := e.v("end")
		e.p("%s := f.Enter()\ncellRead%s(f, %s)\nf.Leave(%s, %s)", end, r.Name, address(target), end, name)
	case r.Kind == genome.Named && !base.Kind.Scalar():
		e.needRead(r.Name)
		e.p("cellRead%s(f, %s, %s)", r.Name, name, address(target))
	default:
		e.readBase(r, base, target, name)
	}
}

// address is a pointer to target: what is behind a pointer has one.
func address(target string) string {
	if p, ok := behind(target); ok {
		return plain(p)
	}
	return "&" + target
}

// plain is target where it stands alone, without the parentheses around what is behind a pointer.
func plain(target string) string {
	if p, ok := behind(target); ok {
		return "*" + plain(p)
	}
	return target
}

// behind is the pointer of a target "(*pointer)".
func behind(target string) (pointer string, ok bool) {
	p, ok := strings.CutPrefix(target, "(*")
	return strings.TrimSuffix(p, ")"), ok && strings.HasSuffix(p, ")")
}

func (e *emitter) readBase(r, base genome.Ref, target, name string) {
	switch base.Kind {
	case genome.Optional:
		e.p("if !cellwire.Set(%s) {\n%s = cellwire.New[%s](f)\n}", plain(target), plain(target), e.goType(*base.Elem))
		e.readElement(*base.Elem, "(*"+target+")", name)
	case genome.List:
		if elem, _ := e.g.Resolve(*base.Elem); elem.Kind.Packed() {
			e.p("%s = cellwire.Get%ss(f, %s, %s)", plain(target), helper(elem.Kind), name, plain(target))
			return
		}
		v := e.v("e")
		if e.keeps(*base.Elem) {
			e.p("%s := cellwire.Extend(f, %s)", v, address(target))
			e.reset(*base.Elem, "(*"+v+")")
		} else {
			e.p("%s := cellwire.Add(f, %s)", v, address(target))
		}
		e.readElement(*base.Elem, "(*"+v+")", name)
	case genome.Array:
		if base.ByteArray() {
			e.p("cellwire.GetArray(f, %s, %s[:])", name, target)
			return
		}
		v, end := e.v("e"), e.v("end")
		list := genome.Ref{Kind: genome.List, Elem: base.Elem}
		e.p("var %s []%s\n%s := f.Enter()\nfor f.Next() {\nif f.ID == 1 {", v, e.goType(*base.Elem), end)
		e.readBase(list, list, v, `""`)
		e.p("}\n}\nf.Leave(%s, %s)\ncellwire.Fill(f, %s, %s[:], %s)", end, name, name, target, v)
	case genome.Map:
		k, v, end := e.v("k"), e.v("e"), e.v("end")
		e.p("var %s %s\nvar %s %s\n%s := f.Enter()", k, e.goType(base.KeyRef()), v, e.goType(*base.Elem), end)
		e.p("for f.Next() {\nswitch f.ID {\ncase 1:")
		e.read(base.KeyRef(), k, `"key"`)
		e.p("case 2:")
		e.readElement(*base.Elem, v, `"value"`)
		e.p("}\n}\nf.Leave(%s, %s)\ncellwire.Put(f, &%s, %s, %s)", end, name, target, k, v)
	case genome.Time, genome.JSON:
		e.p("%s = cellwire.Get%s(f, %s)", plain(target), map[genome.Kind]string{genome.Time: "Time", genome.JSON: "JSON"}[base.Kind], name)
	default:
		e.p("%s = cellwire.Get%s[%s](f, %s)", plain(target), helper(base.Kind), e.goType(r), name)
	}
}

func (e *emitter) readElement(r genome.Ref, target, name string) {
	if !e.wrapped(r) {
		e.read(r, target, name)
		return
	}
	end := e.v("end")
	e.p("%s := f.Enter()\nfor f.Next() {\nif f.ID == 1 {", end)
	e.read(r, target, `""`)
	e.p("}\n}\nf.Leave(%s, %s)", end, name)
}

// seq is the Go type of a stream of items.
func (e *emitter) seq(m *genome.Message) string {
	return fmt.Sprintf("%s.Seq2[%s, error]", e.pkgStd("iter"), e.goType(m.Fields[0].Type))
}

// appendItem writes a function that appends an item of a stream.
func (e *emitter) appendItem(name string, m *genome.Message) {
	e.codec(name, "appends an item of a stream", fmt.Sprintf("(b []byte, item %s) []byte", e.goType(m.Fields[0].Type)), func() {
		e.append(m.Fields[0].Type, m.Fields[0].ID, "item")
		e.p("return b")
	})
}

// readItem writes a function that reads the field of an item's message where f is.
func (e *emitter) readItem(name string, m *genome.Message) {
	e.codec(name, "reads the field of a stream's item where f is", fmt.Sprintf("(f *cellwire.Fields, item *%s)", e.goType(m.Fields[0].Type)), func() {
		e.p("if f.ID == %d {\nif f.Stale() {", m.Fields[0].ID)
		e.reset(m.Fields[0].Type, "(*item)")
		e.p("}")
		e.read(m.Fields[0].Type, "(*item)", `""`)
		e.p("}")
	})
}
