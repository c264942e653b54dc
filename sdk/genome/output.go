package genome

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Output is a decoded message: an object with its fields in order, and text for people.
type Output struct {
	JSON json.RawMessage
	Text string
}

// DecodeResults decodes what a method answered. The text of one result is its value, a text without quotation marks;
// several are lines "name: value".
func DecodeResults(g *Genome, m *Method, data []byte) (Output, error) {
	names, values, out, err := decode(g, &m.Result, data)
	if err != nil {
		return Output{}, fmt.Errorf("decode the result of %s: %w", m.Name, err)
	}
	for i, f := range m.Result.Fields {
		values[i] = bare(g, f.Type, values[i])
		if len(values) > 1 {
			values[i] = names[i] + ": " + values[i]
		}
	}
	out.Text = strings.Join(values, "\n")
	return out, nil
}

// DecodeItem decodes one item that a method streams to the caller; the text is as that of a result.
func DecodeItem(g *Genome, m *Method, data []byte) (Output, error) {
	if m.Out == nil {
		return Output{}, fmt.Errorf("%s streams nothing", m.Name)
	}
	_, values, _, err := decode(g, m.Out, data)
	if err != nil {
		return Output{}, fmt.Errorf("decode an item of %s: %w", m.Name, err)
	}
	return Output{JSON: json.RawMessage(values[0]), Text: bare(g, m.Out.Fields[0].Type, values[0])}, nil
}

// DecodeError decodes the fields of an error type. The text is "A=1, B=2".
func DecodeError(g *Genome, name string, payload []byte) (Output, error) {
	known := false
	for _, e := range g.Errors {
		known = known || e.Name == name
	}
	t := g.Type(name)
	if !known || t == nil || t.Struct == nil {
		return Output{}, fmt.Errorf("the genome has no error %s", name)
	}
	names, values, out, err := decode(g, t.Struct, payload)
	if err != nil {
		return Output{}, fmt.Errorf("decode the error %s: %w", name, err)
	}
	for i := range values {
		values[i] = names[i] + "=" + values[i]
	}
	out.Text = strings.Join(values, ", ")
	return out, nil
}

// decode returns the fields' names and values, these as JSON, and the whole.
func decode(g *Genome, m *Message, data []byte) (names, values []string, out Output, err error) {
	d := &decoder{index: newIndex(g)}
	values = make([]string, len(m.Fields))
	take := func(i int) {
		if i >= 0 {
			values[i] = d.out.String()
		}
		d.out.Reset()
	}
	err = d.message(m, data, "", 0, func(i int, f *Field) {
		take(i - 1)
		names = append(names, f.Name)
	})
	if err != nil {
		return nil, nil, Output{}, err
	}
	take(len(m.Fields) - 1)
	var b strings.Builder
	b.WriteByte('{')
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(quote(names[i]))
		b.WriteByte(':')
		b.WriteString(v)
	}
	b.WriteByte('}')
	out.JSON = json.RawMessage(b.String())
	return names, values, out, nil
}

// bare takes the quotation marks from a scalar.
func bare(g *Genome, r Ref, value string) string {
	base, _ := g.Resolve(r)
	if base.Kind == Optional {
		base, _ = g.Resolve(*base.Elem)
	}
	var s string
	if base.Kind.Scalar() && json.Unmarshal([]byte(value), &s) == nil && value != "null" {
		return s
	}
	return value
}
