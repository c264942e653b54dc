package genome

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Bounds on what is encoded and decoded without generated code. A small message can stand for many values: absent ones
// are zero.
const (
	maxDepth  = 64
	maxValues = 1 << 22
	maxOutput = 128 << 20
)

// encoder turns values as package json gives them, numbers as json.Number, into messages.
type encoder struct {
	index
	values int
	quoted bool // whole numbers may be texts, as programs write them whose own numbers are too short
}

func newEncoder(g *Genome) *encoder { return &encoder{index: newIndex(g)} }

// index finds types by name faster than a genome does.
type index map[string]*Type

func newIndex(g *Genome) index {
	x := make(index, len(g.Types))
	for i := range g.Types {
		x[g.Types[i].Name] = &g.Types[i]
	}
	return x
}

func (x index) resolve(r Ref) (Ref, *Message) {
	t := x[r.Name]
	switch {
	case r.Kind != Named || t == nil:
		return r, nil
	case t.Base != nil:
		return *t.Base, nil
	}
	return r, t.Message()
}

func (x index) kind(r Ref) Kind {
	r, _ = x.resolve(r)
	return r.Kind
}

// field appends v as field id of a message.
func (e *encoder) field(b []byte, id uint32, r Ref, v any, path string, depth int) ([]byte, error) {
	if e.values++; e.values > maxValues {
		return nil, fmt.Errorf("%s: more than %d values", path, maxValues)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: nested more than %d deep", path, maxDepth)
	}
	base, message := e.resolve(r)
	switch base.Kind {
	case Optional:
		if v == nil {
			return b, nil
		}
		return e.element(b, id, *base.Elem, v, path, depth)
	case List:
		return e.list(b, id, *base.Elem, v, path, depth)
	case Array:
		return e.array(b, id, base, v, path, depth)
	case Map:
		return e.mapping(b, id, base, v, path, depth)
	case Named:
		if e.index[base.Name].Sum != nil {
			return e.sum(b, id, message, v, path, depth)
		}
		in, err := e.message(message, v, path, depth+1)
		return appendBytes(b, id, in), err
	}
	if base.Kind.Integer() {
		v = e.constant(r, v)
	}
	b = protowire.AppendTag(b, protowire.Number(id), wireType(base.Kind))
	return scalar(b, base.Kind, v, path)
}

// element appends v at a place that is no field of a message: what may be absent or repeated is wrapped.
func (e *encoder) element(b []byte, id uint32, r Ref, v any, path string, depth int) ([]byte, error) {
	if k := e.kind(r); k != Optional && k != List && k != Map {
		return e.field(b, id, r, v, path, depth)
	}
	in, err := e.field(nil, 1, r, v, path, depth+1)
	return appendBytes(b, id, in), err
}

// array appends a message of its own around the elements, so that it is known where the array ends.
func (e *encoder) array(b []byte, id uint32, r Ref, v any, path string, depth int) ([]byte, error) {
	if r.ByteArray() {
		raw, err := scalar(nil, Bytes, v, path)
		if err != nil {
			return nil, err
		}
		if data, _ := protowire.ConsumeBytes(raw); len(data) != r.Len {
			return nil, fmt.Errorf("%s: %d bytes, wanted are %d", path, len(data), r.Len)
		}
		return append(protowire.AppendTag(b, protowire.Number(id), protowire.BytesType), raw...), nil
	}
	if all, ok := v.([]any); !ok || len(all) != r.Len {
		return nil, fmt.Errorf("%s: %s is not a list of %d", path, show(v), r.Len)
	}
	in, err := e.list(nil, 1, *r.Elem, v, path, depth+1)
	return appendBytes(b, id, in), err
}

// sum appends a message with the one variant that v["type"] names, or without any for null.
func (e *encoder) sum(b []byte, id uint32, variants *Message, v any, path string, depth int) ([]byte, error) {
	if v == nil {
		return appendBytes(b, id, nil), nil
	}
	all, ok := v.(map[string]any)
	name, named := all["type"].(string)
	var names []string
	for _, f := range variants.Fields {
		names = append(names, f.Name)
		if !ok || !named || f.Name != name {
			continue
		}
		rest := maps.Clone(all)
		delete(rest, "type")
		in, err := e.field(nil, f.ID, f.Type, rest, path, depth+1)
		return appendBytes(b, id, in), err
	}
	return nil, fmt.Errorf("%s: %s needs \"type\", one of %s", path, show(v), strings.Join(names, ", "))
}

func (e *encoder) list(b []byte, id uint32, elem Ref, v any, path string, depth int) ([]byte, error) {
	all, ok := v.([]any)
	if !ok && v != nil {
		return nil, fmt.Errorf("%s: %s is not a list", path, show(v))
	}
	if len(all) == 0 {
		return b, nil
	}
	kind := e.kind(elem)
	var packed []byte
	for i, v := range all {
		at := fmt.Sprintf("%s[%d]", path, i)
		var err error
		if !kind.Packed() {
			b, err = e.element(b, id, elem, v, at, depth)
		} else {
			packed, err = scalar(packed, kind, e.constant(elem, v), at)
		}
		if err != nil {
			return nil, err
		}
	}
	if kind.Packed() {
		b = appendBytes(b, id, packed)
	}
	return b, nil
}

func (e *encoder) mapping(b []byte, id uint32, r Ref, v any, path string, depth int) ([]byte, error) {
	all, ok := v.(map[string]any)
	if !ok && v != nil {
		return nil, fmt.Errorf("%s: %s is not a map, which is written {\"key\": value}", path, show(v))
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		at := fmt.Sprintf("%s[%q]", path, key)
		var k any = key
		switch kind := e.kind(r.KeyRef()); {
		case kind == Bool && (key == "true" || key == "false"):
			k = key == "true"
		case kind.Integer() && kind != Duration:
			k = json.Number(key)
		}
		entry, err := e.field(nil, 1, r.KeyRef(), k, at, depth+1)
		if err != nil {
			return nil, err
		}
		if entry, err = e.element(entry, 2, *r.Elem, all[key], at, depth+1); err != nil {
			return nil, err
		}
		b = appendBytes(b, id, entry)
	}
	return b, nil
}

func (e *encoder) message(m *Message, v any, path string, depth int) ([]byte, error) {
	all, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s%s is not a struct, which is written {\"Field\": value}", prefix(path, ": "), show(v))
	}
	given := map[int]any{}
	var names []string
	for _, f := range m.Fields {
		names = append(names, f.Name)
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		i := slices.Index(names, key)
		if i < 0 {
			i = slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, key) })
		}
		if i < 0 {
			return nil, fmt.Errorf("%sthere is no field %q, only %s", prefix(path, ": "), short(key), strings.Join(names, ", "))
		}
		if _, twice := given[i]; twice {
			return nil, fmt.Errorf("%s%s is given twice", prefix(path, "."), names[i])
		}
		given[i] = all[key]
	}
	var b []byte
	for i, f := range m.Fields {
		v, ok := given[i]
		if !ok {
			v = e.zero(f.Type)
		}
		var err error
		if b, err = e.field(b, f.ID, f.Type, v, prefix(path, ".")+f.Name, depth); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (e *encoder) zero(r Ref) any {
	switch k := e.kind(r); k {
	case Optional, List, Map, JSON:
		return nil
	case Named:
		base, _ := e.resolve(r)
		if e.index[base.Name].Sum != nil {
			return nil
		}
		return map[string]any{}
	case Array:
		base, _ := e.resolve(r)
		if base.ByteArray() {
			return base64.StdEncoding.EncodeToString(make([]byte, base.Len))
		}
		all := make([]any, base.Len)
		for i := range all {
			all[i] = e.zero(*base.Elem)
		}
		return all
	case Bool:
		return false
	case String, Bytes:
		return ""
	case Duration:
		return "0s"
	case Time:
		return time.Time{}.Format(time.RFC3339)
	}
	return json.Number("0")
}

// constant replaces the name of a constant by its value, and a number in a text where that may be by the number.
func (e *encoder) constant(r Ref, v any) any {
	var name string
	switch v := v.(type) {
	case json.Number:
		name = string(v)
	case string:
		name = v
	}
	if t := e.index[r.Name]; r.Kind == Named && t != nil {
		for _, c := range t.Values {
			if c.Name == name {
				return json.Number(c.Value)
			}
		}
	}
	if _, err := json.Number(name).Int64(); e.quoted && name != "" && e.kind(r) != Duration && (err == nil || errors.Is(err, strconv.ErrRange)) {
		return json.Number(name)
	}
	return v
}
