package genome

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// EncodeJSON makes a request of an object with the parameters by name, in the form that DecodeResults writes. Parameters that
// are left out are zero. A whole number may also be a text, as in the JSON of protocol buffers: numbers of JavaScript are
// exact to 2^53 only.
func EncodeJSON(g *Genome, m *Method, body []byte) ([]byte, error) {
	v, err := parseJSON(body)
	if err != nil {
		return nil, err
	}
	return encodeObject(g, &m.Request, v)
}

// EncodeItem makes an item of a stream to the method m of its JSON.
func EncodeItem(g *Genome, m *Method, item []byte) ([]byte, error) {
	if m.In == nil {
		return nil, fmt.Errorf("%s takes no stream", m.Name)
	}
	v, err := parseJSON(item)
	if err != nil {
		return nil, err
	}
	return encodeObject(g, m.In, map[string]any{"item": v})
}

func encodeObject(g *Genome, m *Message, v any) ([]byte, error) {
	e := newEncoder(g)
	e.quoted = true
	return e.message(m, v, "", 0)
}

func parseJSON(body []byte) (v any, err error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return map[string]any{}, nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("not JSON: %w", noEOF(err))
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON")
	}
	return v, nil
}
