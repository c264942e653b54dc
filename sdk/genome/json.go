package genome

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxFile bounds genome.json.
const maxFile = 4 << 20

// Marshal writes the canonical form: the same genome is always the same bytes.
func (g *Genome) Marshal() ([]byte, error) {
	if err := g.Check(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(g); err != nil {
		return nil, err
	}
	if b.Len() > maxFile {
		return nil, fmt.Errorf("the genome has %d bytes, more than the allowed %d", b.Len(), maxFile)
	}
	return b.Bytes(), nil
}

// Parse reads a genome of any origin and checks it.
func Parse(data []byte) (*Genome, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("the genome has %d bytes, more than the allowed %d", len(data), maxFile)
	}
	// The format comes first: a newer one may have keys that are unknown here.
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, place(data, err)
	}
	if head.Format != Format {
		return nil, fmt.Errorf("format %d is not known, only %d: update cell", head.Format, Format)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	g := &Genome{}
	if err := d.Decode(g); err != nil {
		return nil, place(data, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the genome")
	}
	if err := g.Check(); err != nil {
		return nil, err
	}
	return g, nil
}

// place puts line and column before an error of syntax or type.
func place(data []byte, err error) error {
	offset := int64(-1)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
	default:
		return err
	}
	before := data[:min(max(offset-1, 0), int64(len(data)))]
	line := 1 + bytes.Count(before, []byte("\n"))
	return fmt.Errorf("%d:%d: %w", line, len(before)-bytes.LastIndexByte(before, '\n'), err)
}

// FullHash covers the whole canonical form, documentation included.
func (g *Genome) FullHash() string {
	data, err := g.Marshal()
	if err != nil {
		return ""
	}
	return sum(data)
}

// WireHash covers what both ends of a connection must agree on: methods, errors and types with their names, ids and kinds
// of parameters, results and fields. It leaves out documentation, versions, constants, the names of parameters, results
// and fields, what is repeatable, and the order of anything: none of them is on the wire.
func (g *Genome) WireHash() string {
	var b bytes.Buffer
	message := func(what string, m *Message) {
		fmt.Fprintf(&b, " %s", what)
		for _, f := range byID(m.Fields) {
			fmt.Fprintf(&b, " %d %s", f.ID, f.Type)
		}
	}
	for _, m := range sortedMethods(g.Methods) {
		fmt.Fprintf(&b, "method %d %s", m.ID, m.Name)
		message("request", &m.Request)
		message("result", &m.Result)
		if m.OneWay {
			b.WriteString(" oneway")
		}
		if m.Topic {
			b.WriteString(" topic")
		}
		if m.In != nil {
			message("in", m.In)
		}
		if m.Out != nil {
			message("out", m.Out)
		}
		b.WriteByte('\n')
	}
	for _, t := range sortedTypes(g.Types) {
		fmt.Fprintf(&b, "type %s", t.Name)
		if t.Base != nil {
			fmt.Fprintf(&b, " %s", t.Base)
		} else if t.Sum != nil {
			message("sum", t.Sum)
		} else if t.Struct != nil {
			message("struct", t.Struct)
		}
		b.WriteByte('\n')
	}
	for _, e := range sortedErrors(g.Errors) {
		fmt.Fprintf(&b, "error %s\n", e.Name)
	}
	return sum(b.Bytes())
}

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}
