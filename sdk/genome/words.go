package genome

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/token"
	"strings"
)

// EncodeWords makes a request of words as typed in a shell: arguments in order, or name=value. Numbers, true and false,
// texts, durations as 1m30s, times as 2026-01-02T15:04:05Z and bytes as base64 are written as they are; lists, maps and
// structs are JSON. An optional parameter may be left out.
func EncodeWords(g *Genome, m *Method, words []string) ([]byte, error) {
	params := m.Request.Fields
	given := make([]any, len(params))
	has := make([]bool, len(params))
	e := newEncoder(g)
	next := 0
	for _, w := range words {
		for next < len(params) && has[next] && !(m.Variadic && next == len(params)-1) {
			next++
		}
		i, text, named := named(params, w)
		if i < 0 && next < len(params) && e.kind(params[next].Type) == Bytes { // base64 may end in =
			text, named = w, false
		}
		switch {
		case named && i < 0:
			name, _, _ := strings.Cut(w, "=")
			return nil, unknownParameter(m, name, w, next)
		case named && has[i]:
			return nil, fmt.Errorf("%s is given twice", params[i].Name)
		case !named:
			if next >= len(params) {
				return nil, fmt.Errorf("too many arguments at %q: %s", w, Signature(m))
			}
			i = next
		}
		if m.Variadic && !named && i == len(params)-1 && e.kind(params[i].Type) == List {
			element, _ := e.resolve(params[i].Type)
			v, err := e.word(*element.Elem, params[i].Name, text)
			if err != nil {
				return nil, err
			}
			list, _ := given[i].([]any)
			given[i], has[i] = append(list, v), true
			continue
		}
		v, err := e.word(params[i].Type, params[i].Name, text)
		if err != nil {
			return nil, err
		}
		given[i], has[i] = v, true
	}
	var b []byte
	for i, p := range params {
		if !has[i] && e.kind(p.Type) != Optional && !(m.Variadic && i == len(params)-1) {
			return nil, fmt.Errorf("missing argument %s: %s", p.Name, Signature(m))
		}
		var err error
		if b, err = e.field(b, p.ID, p.Type, given[i], p.Name, 0); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// named takes name=value apart. A word whose start is no identifier, as in http://host/?a=b, is not meant so.
func named(params []Field, word string) (i int, value string, ok bool) {
	name, value, ok := strings.Cut(word, "=")
	if !ok || !token.IsIdentifier(strings.ReplaceAll(name, "-", "_")) {
		return 0, word, false
	}
	for i, p := range params {
		if p.Name == name {
			return i, value, true
		}
	}
	for i, p := range params {
		if fold(p.Name) == fold(name) {
			return i, value, true
		}
	}
	return -1, value, true
}

func unknownParameter(m *Method, name, word string, next int) error {
	var names []string
	for _, p := range m.Request.Fields {
		names = append(names, p.Name)
	}
	msg := fmt.Sprintf("%s has no parameter %s", m.Name, name)
	if n := near(name, names); n != "" {
		msg += ", did you mean " + n + "?"
	}
	if next < len(names) {
		msg += fmt.Sprintf(" (to pass the text itself, write %s=%s)", names[next], word)
	}
	return errors.New(msg)
}

// word turns a word into what JSON would have given for the type.
func (e *encoder) word(r Ref, name, w string) (any, error) {
	kind := e.kind(r)
	inner := kind
	if kind == Optional {
		base, _ := e.resolve(r)
		if inner = e.kind(*base.Elem); inner != String && w == "null" {
			return nil, nil
		}
	}
	switch {
	case inner == String, inner == Bytes, inner == Duration, inner == Time:
		return w, nil
	case inner == Bool && w == "true":
		return true, nil
	case inner == Bool && w == "false":
		return false, nil
	case inner == Bool:
		return nil, fmt.Errorf("%s: %q is neither true nor false", name, w)
	case inner == JSON:
	case inner.Scalar():
		return json.Number(w), nil
	}
	d := json.NewDecoder(strings.NewReader(w))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("%s: %q is not JSON, which %s needs: %w", name, short(w), r.goString(), noEOF(err))
	}
	if d.More() {
		return nil, fmt.Errorf("%s: %q has something after the JSON", name, short(w))
	}
	return v, nil
}

func noEOF(err error) error {
	if strings.HasSuffix(err.Error(), "EOF") {
		return errors.New("it ends too early")
	}
	return err
}

func short(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return s
}
