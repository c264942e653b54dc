package genome

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// OpenAPI is the interface as OpenAPI 3.1 describes it, for the HTTP door: every method is a POST of an object with the
// parameters by name, and the answer is an object with the results by name. Values have the form that DecodeResults gives
// them, so that fields are named as in Go. An operation with streams has x-cell-stream: the schemas of the items that go
// "in" to the cell and "out" to the caller.
func OpenAPI(g *Genome) []byte {
	o := &openAPI{g: g, index: newIndex(g), takes: g.takes()}
	all := newNames(exactly)
	o.names = g.typeNames(all)
	o.failure = all.give("CallError")

	info := object{{"title", orElse(oneLine(g.Cell), "cell")}, {"version", orElse(oneLine(g.Version), "0")}}
	info = append(info.describe(g.Doc), member{"x-cell-wire-hash", g.WireHash()})
	paths := object{}
	for i := range g.Methods {
		m := &g.Methods[i]
		path := "/" + url.PathEscape(g.Cell) + "." + url.PathEscape(g.Serves) + "/" + url.PathEscape(m.Name)
		paths = append(paths, member{path, object{{"post", o.operation(m)}}})
	}
	schemas := object{}
	for i := range g.Types {
		t := &g.Types[i]
		schemas = append(schemas, member{o.names[t.Name], o.declare(t)})
	}
	schemas = append(schemas, member{o.failure, o.callError()})
	var b, out bytes.Buffer
	writeJSON(&b, object{
		{"openapi", "3.1.0"},
		{"info", info},
		{"paths", paths},
		{"components", object{
			{"schemas", schemas},
			{"responses", object{{"Error", object{
				{"description", "The call failed."}, {"content", content("application/json", schemaRef(o.failure))},
			}}}},
		}},
	})
	if json.Indent(&out, b.Bytes(), "", "  ") != nil {
		return b.Bytes()
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// openAPI is a description that is being written.
type openAPI struct {
	g *Genome
	index
	names   map[string]string // of the schemas of types
	takes   map[string]bool   // types that callers send: what they leave out is zero
	failure string            // the schema of what an error answers
}

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	key   string
	value any
}

// describe adds a comment, where there is one.
func (o object) describe(doc string) object {
	if doc = strings.Join(docLines(doc), "\n"); doc == "" {
		return o
	}
	return append(o, member{"description", doc})
}

func writeJSON(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case object:
		b.WriteByte('{')
		for i, m := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(quote(m.key))
			b.WriteByte(':')
			writeJSON(b, m.value)
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			writeJSON(b, e)
		}
		b.WriteByte(']')
	case string:
		b.Write(quote(v))
	default: // numbers and bools
		fmt.Fprint(b, v)
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func schemaRef(name string) object { return object{{"$ref", "#/components/schemas/" + name}} }

func content(media string, schema object) object {
	return object{{media, object{{"schema", schema}}}}
}

func (o *openAPI) operation(m *Method) object {
	op := object{{"operationId", m.Name}}.describe(m.Doc)
	op = append(op, member{"requestBody", object{
		{"required", len(m.Request.Fields) > 0},
		{"content", content("application/json", o.object(&m.Request, false))},
	}})
	answer := object{{"description", "What the method answered."}}
	switch {
	case m.Out != nil:
		answer = object{
			{"description", "A stream of items, each an event with JSON as its data."},
			{"content", content("text/event-stream", object{{"type", "string"}})},
		}
	case m.OneWay:
		answer = object{
			{"description", "The event was handed over: nothing is answered."},
			{"content", content("application/json", object{{"type", "object"}})},
		}
	default:
		answer = append(answer, member{"content", content("application/json", o.object(&m.Result, true))})
	}
	op = append(op, member{"responses", object{
		{"200", answer}, {"default", object{{"$ref", "#/components/responses/Error"}}},
	}})
	streams := object{}
	if m.In != nil {
		streams = append(streams, member{"in", o.schema(m.In.Fields[0].Type)})
	}
	if m.Out != nil {
		streams = append(streams, member{"out", o.schema(m.Out.Fields[0].Type)})
	}
	if len(streams) > 0 {
		op = append(op, member{"x-cell-stream", streams})
	}
	if m.OneWay {
		op = append(op, member{"x-cell-event", true})
	}
	if m.Topic {
		op = append(op, member{"x-cell-topic", true})
	}
	return op
}

// callError is what an error answers, in the form of Connect's unary protocol.
func (o *openAPI) callError() object {
	text := func(doc string) object { return object{{"type", "string"}, {"description", doc}} }
	types := []any{}
	for _, e := range o.g.Errors {
		types = append(types, schemaRef(o.names[e.Name]))
	}
	debug := object{{"description", "The error's fields, as the schema of its type has them."}}
	if len(types) > 0 {
		debug = append(debug, member{"anyOf", append(types, object{})})
	}
	detail := object{
		{"type", "object"},
		{"properties", object{
			{"type", text("The name of the error's type.")},
			{"value", object{{"type", "string"}, {"contentEncoding", "base64"}, {"description", "The error's fields as a message of protocol buffers."}}},
			{"debug", debug},
		}},
		{"required", []any{"type", "value"}},
	}
	return object{
		{"type", "object"},
		{"properties", object{
			{"code", text("One of Connect's codes, such as invalid_argument or unavailable.")},
			{"message", text("The error's text, for people.")},
			{"details", object{{"type", "array"}, {"items", detail}}},
		}},
		{"required", []any{"code"}},
	}
}

// object is the schema of a message. An answer has all of its fields.
func (o *openAPI) object(m *Message, whole bool) object {
	fields, all := object{}, []any{}
	for _, f := range m.Fields {
		fields = append(fields, member{f.Name, o.schema(f.Type).describe(f.Doc)})
		all = append(all, f.Name)
	}
	s := object{{"type", "object"}, {"properties", fields}}
	if whole && len(all) > 0 {
		s = append(s, member{"required", all})
	}
	return s
}

// declare is the schema of a named type.
func (o *openAPI) declare(t *Type) object {
	switch {
	case t.Sum != nil:
		return o.sum(t)
	case t.Struct != nil:
		return o.object(t.Struct, !o.takes[t.Name]).describe(t.Doc)
	}
	s := o.schema(*t.Base).describe(t.Doc)
	if len(t.Values) == 0 {
		return s
	}
	values := []any{}
	for _, v := range t.Values {
		var value any = v.Value
		if t.Base.Kind != String {
			value = json.Number(constantText(t.Base.Kind, v.Value))
		}
		values = append(values, object{{"name", v.Name}, {"value", value}}.describe(v.Doc))
	}
	return append(s, member{"x-enum-values", values})
}

// sum is a variant's fields and its name as "type", or null.
func (o *openAPI) sum(t *Type) object {
	variants := []any{}
	for _, f := range t.Sum.Fields {
		variants = append(variants, object{{"allOf", []any{
			schemaRef(o.names[f.Name]),
			object{
				{"type", "object"},
				{"properties", object{{"type", object{{"const", f.Name}}}}},
				{"required", []any{"type"}},
			},
		}}})
	}
	return object{{"oneOf", append(variants, object{{"type", "null"}})}}.describe(t.Doc)
}

// duration matches what time.ParseDuration reads.
const duration = `^[+-]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`

// schema is the schema of a value.
func (o *openAPI) schema(r Ref) object {
	switch r.Kind {
	case Named:
		return schemaRef(o.names[r.Name])
	case Optional:
		return nullable(o.schema(*r.Elem))
	case List:
		return object{{"type", "array"}, {"items", o.schema(*r.Elem)}}
	case Array:
		if r.ByteArray() {
			n := (r.Len + 2) / 3 * 4
			return object{{"type", "string"}, {"contentEncoding", "base64"}, {"minLength", n}, {"maxLength", n}}
		}
		return object{{"type", "array"}, {"items", o.schema(*r.Elem)}, {"minItems", r.Len}, {"maxItems", r.Len}}
	case Map:
		s := object{{"type", "object"}}
		key, _ := o.resolve(r.KeyRef())
		if p := keyPattern(key.Kind); p != "" {
			s = append(s, member{"propertyNames", object{{"pattern", p}}})
		}
		return append(s, member{"additionalProperties", o.schema(*r.Elem)})
	case JSON:
		return object{}
	case Bool:
		return object{{"type", "boolean"}}
	case String:
		return object{{"type", "string"}}
	case Bytes:
		return object{{"type", "string"}, {"contentEncoding", "base64"}}
	case Time:
		return object{{"type", "string"}, {"format", "date-time"}}
	case Duration:
		return object{{"type", "string"}, {"pattern", duration}}
	case Float32, Float64: // JSON has no numbers for the strings
		format := map[Kind]string{Float32: "float", Float64: "double"}[r.Kind]
		return object{{"type", []any{"number", "string"}}, {"format", format}, {"pattern", `^(NaN|[+-]Inf)$`}}
	}
	return integer(r.Kind)
}

// integer leaves out bounds that readers of JSON which know only float64 would get wrong.
func integer(k Kind) object {
	sign := "int"
	if k.Unsigned() {
		sign = "uint"
	}
	s := object{{"type", "integer"}, {"format", fmt.Sprintf("%s%d", sign, k.bits())}}
	switch {
	case k.Unsigned():
		s = append(s, member{"minimum", 0})
	case k.bits() < 64:
		s = append(s, member{"minimum", int64(-1) << (k.bits() - 1)})
	}
	if k.bits() < 64 {
		most := int64(1)<<k.bits() - 1
		if k.Signed() {
			most >>= 1
		}
		s = append(s, member{"maximum", most})
	}
	return s
}

func keyPattern(k Kind) string {
	switch {
	case k == Duration:
		return duration
	case k == Bool:
		return `^(true|false)$`
	case k.Unsigned():
		return `^[0-9]+$`
	case k.Signed():
		return `^-?[0-9]+$`
	}
	return ""
}

// nullable is the schema of a value or null.
func nullable(s object) object {
	for i, m := range s {
		if m.key != "type" {
			continue
		}
		types, many := m.value.([]any)
		if !many {
			types = []any{m.value}
		}
		s[i].value = append(types, "null")
		return s
	}
	if len(s) == 0 { // anything, null too
		return s
	}
	return object{{"anyOf", []any{s, object{{"type", "null"}}}}}
}
