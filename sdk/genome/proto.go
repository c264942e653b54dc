package genome

import (
	"fmt"
	"strings"
	"unicode"
)

// timestamp is the message that a time is.
const timestamp = "google.protobuf.Timestamp"

// Proto is the interface as a file of protocol buffers (proto3), with which other languages write and read the messages
// that cross the wire: field numbers are the ids. A list, map or optional that is no field of a message is the one field of
// a message of its own, and so are the elements of an array.
func Proto(g *Genome) []byte {
	p := &protoFile{g: g, index: newIndex(g), names: newNames(exactly), wrappers: map[string]string{}, bodies: map[string]string{}}
	p.pkg = protoPackage(g.Cell)
	p.types = g.typeNames(p.names)
	service := p.names.give(title(g.Serves))
	rpcs := newNames(exactly)
	rpc := make([]string, len(g.Methods))
	for i := range g.Methods { // a message with a method's name would be taken for the method
		rpc[i] = rpcs.give(title(g.Methods[i].Name))
		p.names.taken[rpc[i]] = true
	}

	var b strings.Builder
	fmt.Fprintf(&b, "\nservice %s {\n", service)
	for i := range g.Methods {
		p.method(&b, &g.Methods[i], rpc[i], i > 0)
	}
	b.WriteString("}\n")
	b.WriteString(p.messages.String())
	about := make([][]string, len(g.Types))
	for i := range g.Types {
		t := &g.Types[i]
		if about[i] = p.about(t); t.Base == nil {
			p.bodies[t.Name] = p.message(p.types[t.Name], about[i], byID(t.Message().Fields), t.Sum != nil)
		}
	}
	for len(p.pending) > 0 { // a message around a list may need one within
		next := p.pending[0]
		p.pending = p.pending[1:]
		next()
	}
	for i := range g.Types {
		if body, ok := p.bodies[g.Types[i].Name]; ok {
			b.WriteString(body)
			continue
		}
		b.WriteByte('\n')
		writeComment(&b, "", about[i])
	}
	for _, text := range p.order {
		b.WriteString(p.bodies[text])
	}

	var head strings.Builder
	writeComment(&head, "", paragraphs(
		[]string{oneLine(fmt.Sprintf("%s %s, wire hash %s", g.Cell, g.Version, shortHash(g.WireHash())))}, docLines(g.Doc)))
	fmt.Fprintf(&head, "\nsyntax = \"proto3\";\n\npackage %s;\n", p.pkg)
	if p.time {
		head.WriteString("\nimport \"google/protobuf/timestamp.proto\";\n")
	}
	return []byte(head.String() + b.String())
}

// ProtoName is the full name of the message that the type of the name is in Proto.
func ProtoName(g *Genome, name string) string {
	return protoPackage(g.Cell) + "." + g.typeNames(newNames(exactly))[name]
}

// protoFile is a file that is being written.
type protoFile struct {
	g *Genome
	index
	pkg      string
	names    names             // of messages and the service
	types    map[string]string // the messages of types
	wrappers map[string]string // the messages around types, by their text
	messages strings.Builder   // of methods
	bodies   map[string]string // messages by the text of the type
	order    []string          // of wrappers of types without a name
	pending  []func()          // wrappers that are named and not yet written
	entries  map[string]bool   // messages that protoc makes for the maps of the message that is being written
	time     bool              // whether there is a time
}

// protoPackage makes a package's name of a cell's. No part of it is "google", where messages of others are looked for.
func protoPackage(cell string) string {
	parts := strings.Split(strings.ToLower(cell), ".")
	for i, part := range parts {
		if parts[i] = ascii(part); parts[i] == "google" {
			parts[i] = "xgoogle"
		}
	}
	return strings.Join(parts, ".")
}

// method writes a method and its messages. rpc is its name there.
func (p *protoFile) method(b *strings.Builder, m *Method, rpc string, blank bool) {
	write := func(suffix, is string, of *Message) string {
		name := p.names.give(rpc + suffix)
		p.messages.WriteString(p.message(name, []string{name + " " + is + " " + rpc + "."}, byID(of.Fields), false))
		return name
	}
	var notes []string
	var in, out string
	if m.In == nil || len(m.Request.Fields) > 0 {
		in = write("Request", "has the parameters of", &m.Request)
	}
	if m.In != nil {
		if in != "" {
			notes = append(notes, fmt.Sprintf("The call carries one %s; the items follow it.", in))
		}
		in = "stream " + write("RequestItem", "is an item of the stream to", m.In)
	}
	if m.Out != nil {
		out = "stream " + write("ResponseItem", "is an item of the stream from", m.Out)
	} else {
		out = write("Response", "has the results of", &m.Result)
	}
	if r := remark(m); r != "" {
		notes = append(notes, "It is "+article(strings.TrimPrefix(r, " // "))+".")
	}
	if blank {
		b.WriteByte('\n')
	}
	writeComment(b, "  ", paragraphs(docLines(m.Doc), notes))
	fmt.Fprintf(b, "  rpc %s(%s) returns (%s);\n", rpc, in, out)
}

func article(s string) string {
	if strings.ContainsRune("aeiou", rune(s[0])) {
		return "an " + s
	}
	return "a " + s
}

// about is the comment of a type. That of a scalar says how fields of the type are written, and its constants.
func (p *protoFile) about(t *Type) []string {
	var more []string
	if t.Of != "" {
		more = append(more, "It is "+oneLine(t.Of)+".")
	}
	if p.g.isError(t.Name) {
		more = append(more, "It is an error.")
	}
	if t.Base == nil {
		return paragraphs(docLines(t.Doc), more)
	}
	p.entries = nil
	more = append(more, fmt.Sprintf("A field of the type %s is %s.", t.Name, article(p.field(Ref{Kind: Named, Name: t.Name}))))
	if len(t.Values) > 0 {
		more = append(more, "Other values than its constants are allowed:")
	}
	for _, v := range t.Values {
		line := fmt.Sprintf("  %s = %s", v.Name, constantText(t.Base.Kind, v.Value))
		if doc := oneLine(v.Doc); doc != "" {
			line += ": " + doc
		}
		more = append(more, line)
	}
	return paragraphs(docLines(t.Doc), more)
}

// message writes a message of fields, or one that has one of them.
func (p *protoFile) message(name string, doc []string, fields []Field, one bool) string {
	var b strings.Builder
	b.WriteByte('\n')
	writeComment(&b, "", doc)
	fmt.Fprintf(&b, "message %s {\n", name)
	// What compilers make of field names, as for JSON, must differ too.
	given := newNames(func(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) })
	own := make([]string, len(fields))
	p.entries = map[string]bool{}
	for i, f := range fields {
		own[i] = given.give(snake(f.Name))
		if base, _ := p.resolve(f.Type); base.Kind == Map {
			p.entries[camel(own[i])+"Entry"] = true
		}
	}
	indent := "  "
	if one = one && len(fields) > 0; one {
		indent = "    "
		fmt.Fprintf(&b, "  oneof %s {\n", given.give("variant"))
	}
	for i, f := range fields {
		writeComment(&b, indent, docLines(f.Doc))
		option := ""
		if !one && jsonName(own[i]) != f.Name {
			option = fmt.Sprintf(" [json_name = %q]", f.Name) // as everywhere else where the interface is written as JSON
		}
		fmt.Fprintf(&b, "%s%s %s = %d%s;%s\n", indent, p.field(f.Type), own[i], f.ID, option, p.note(f.Type))
	}
	if one {
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// field is the type of a field with its label.
func (p *protoFile) field(r Ref) string {
	base, _ := p.resolve(r)
	switch {
	case base.Kind == List:
		return "repeated " + p.element(*base.Elem)
	case base.Kind == Map:
		key, _ := p.resolve(base.KeyRef())
		return fmt.Sprintf("map<%s, %s>", protoScalar(key.Kind), p.element(*base.Elem))
	case base.Kind == Optional:
		r = *base.Elem
		base, _ = p.resolve(r)
	}
	if base.Kind.Scalar() && base.Kind != Time || base.ByteArray() { // written even when zero
		return "optional " + p.element(r)
	}
	return p.element(r)
}

// element is the type of a value where there is no label.
func (p *protoFile) element(r Ref) string {
	base, fields := p.resolve(r)
	switch {
	case fields != nil:
		return p.use(p.types[base.Name])
	case base.ByteArray():
		return "bytes"
	case base.Kind == Time:
		p.time = true
		return timestamp
	case base.Kind.Scalar():
		return protoScalar(base.Kind)
	}
	return p.use(p.wrapper(r))
}

// use is a message's name where fields have types. The one of a map's entries would be meant by its bare name.
func (p *protoFile) use(name string) string {
	if p.entries[name] {
		return "." + p.pkg + "." + name
	}
	return name
}

// wrapper is the name of the message around a value.
func (p *protoFile) wrapper(r Ref) string {
	text := r.String()
	if name := p.wrappers[text]; name != "" {
		return name
	}
	name := p.types[r.Name]
	if r.Kind != Named {
		name = p.names.give(p.words(r))
		p.order = append(p.order, text)
	}
	p.wrappers[text] = name
	p.pending = append(p.pending, func() {
		base, _ := p.resolve(r)
		f, doc := Field{ID: 1, Name: "items", Type: base}, []string{}
		switch base.Kind {
		case Optional:
			f.Name = "value"
			doc = append(doc, fmt.Sprintf("%s has a value or none.", name))
		case Map:
			f.Name = "entries"
		case Array:
			doc = append(doc, fmt.Sprintf("%s is an array of the length %d.", name, base.Len))
			f.Type = Ref{Kind: List, Elem: base.Elem}
		}
		if r.Kind == Named {
			doc = paragraphs(docLines(p.index[r.Name].Doc), doc)
		}
		p.bodies[text] = p.message(name, doc, []Field{f}, false)
	})
	return name
}

// words names a type by what it is made of.
func (p *protoFile) words(r Ref) string {
	switch r.Kind {
	case Optional:
		return "Optional" + p.words(*r.Elem)
	case List:
		return p.words(*r.Elem) + "List"
	case Array:
		return fmt.Sprintf("%sArray%d", p.words(*r.Elem), r.Len)
	case Map:
		return p.words(r.KeyRef()) + "To" + p.words(*r.Elem) + "Map"
	case Named:
		return p.types[r.Name]
	}
	return title(r.String())
}

// note says what the type of a field does not: the type in Go, where there is more to it.
func (p *protoFile) note(r Ref) string {
	leaf := r
	for leaf.Kind == List {
		leaf = *leaf.Elem
	}
	base, fields := p.resolve(leaf)
	switch {
	case fields != nil:
		return ""
	case base.Kind == Time, leaf.Kind == base.Kind && (base.Kind == Float32 || base.Kind == Float64),
		leaf.Kind == base.Kind && base.Kind.Scalar() && strings.HasSuffix(protoScalar(base.Kind), kindNames[base.Kind]):
		return ""
	case base.Kind == Duration:
		return " // " + r.goString() + ": nanoseconds"
	}
	return " // " + r.goString()
}

func protoScalar(k Kind) string {
	switch {
	case k.Signed() && k.bits() < 64:
		return "sint32"
	case k.Signed():
		return "sint64"
	case k.Unsigned() && k.bits() < 64:
		return "uint32"
	case k.Unsigned():
		return "uint64"
	case k == Float32:
		return "float"
	case k == Float64:
		return "double"
	case k == JSON:
		return "bytes"
	}
	return kindNames[k] // bool, string, bytes
}

// snake is a Go name as protocol buffers write fields: UserIDs is user_ids.
func snake(name string) string {
	rs := []rune(name)
	var b strings.Builder
	for i, r := range rs {
		if i > 0 && unicode.IsUpper(r) && rs[i-1] != '_' {
			rest := rs[i+1:]
			plural := len(rest) > 0 && rest[0] == 's' && (len(rest) == 1 || !unicode.IsLower(rest[1]))
			if !unicode.IsUpper(rs[i-1]) || len(rest) > 0 && unicode.IsLower(rest[0]) && !plural {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return strings.Trim(ascii(strings.Trim(b.String(), "_")), "_")
}

// jsonName is what protoc calls a field in JSON when nothing else is said.
func jsonName(name string) string {
	head, rest, _ := strings.Cut(name, "_")
	return head + camel(rest)
}

// camel is a field's name as protoc writes it in the name of a map's entries.
func camel(name string) string {
	parts := strings.Split(name, "_")
	for i, part := range parts {
		if part != "" {
			parts[i] = strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return strings.Join(parts, "")
}
