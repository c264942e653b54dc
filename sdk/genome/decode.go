package genome

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// decoder writes messages as JSON.
type decoder struct {
	index
	out    bytes.Buffer
	values int

	elements int // of the list that was written last
}

func wrong(path, reason string) error { return fmt.Errorf("%s: %s", path, reason) }

// message writes the message's fields in order, each through sep.
func (d *decoder) message(m *Message, data []byte, path string, depth int, sep func(i int, f *Field)) error {
	if depth > maxDepth {
		return wrong(path, fmt.Sprintf("it is nested more than %d deep", maxDepth))
	}
	all, err := split(data)
	if err != nil {
		return fmt.Errorf("%s%w", prefix(path, ": "), err)
	}
	for i := range m.Fields {
		f := &m.Fields[i]
		sep(i, f)
		if err := d.value(f.Type, all[f.ID], prefix(path, ".")+f.Name, depth); err != nil {
			return err
		}
	}
	return nil
}

func prefix(path, sep string) string {
	if path == "" {
		return ""
	}
	return path + sep
}

// value writes the value that the appearances of its field make.
func (d *decoder) value(r Ref, cs []chunk, path string, depth int) error {
	if d.values++; d.values > maxValues {
		return wrong(path, fmt.Sprintf("more than %d values", maxValues))
	}
	if d.out.Len() > maxOutput {
		return wrong(path, fmt.Sprintf("more than %d MB as text", maxOutput>>20))
	}
	base, message := d.resolve(r)
	switch base.Kind {
	case Optional:
		if len(cs) == 0 {
			d.out.WriteString("null")
			return nil
		}
		return d.element(*base.Elem, cs, path, depth)
	case List:
		return d.list(*base.Elem, cs, path, depth)
	case Array:
		return d.array(base, cs, path, depth)
	case Map:
		return d.mapping(base, cs, path, depth)
	case Named:
		data, err := join(cs, path)
		if err != nil {
			return err
		}
		if d.index[base.Name].Sum != nil {
			return d.sum(message, data, path, depth+1)
		}
		d.out.WriteByte('{')
		err = d.message(message, data, path, depth+1, func(i int, f *Field) {
			if i > 0 {
				d.out.WriteByte(',')
			}
			d.out.Write(quote(f.Name))
			d.out.WriteByte(':')
		})
		d.out.WriteByte('}')
		return err
	case Time:
		return d.time(cs, path, depth)
	}
	text, err := last(base.Kind, cs)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	d.out.Write(text)
	return nil
}

func (d *decoder) element(r Ref, cs []chunk, path string, depth int) error {
	base, _ := d.resolve(r)
	if base.Kind != Optional && base.Kind != List && base.Kind != Map {
		return d.value(r, cs, path, depth)
	}
	if depth >= maxDepth {
		return wrong(path, fmt.Sprintf("it is nested more than %d deep", maxDepth))
	}
	data, err := join(cs, path)
	if err != nil {
		return err
	}
	all, err := split(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return d.value(r, all[1], path, depth+1)
}

func (d *decoder) list(elem Ref, cs []chunk, path string, depth int) error {
	base, _ := d.resolve(elem)
	first, n := true, 0
	one := func(c chunk) error {
		if !first {
			d.out.WriteByte(',')
		}
		first = false
		n++
		return d.element(elem, []chunk{c}, path, depth)
	}
	d.out.WriteByte('[')
	for _, c := range cs {
		if !base.Kind.Packed() || c.kind != protowire.BytesType {
			if err := one(c); err != nil {
				return err
			}
			continue
		}
		for rest := c.data; len(rest) > 0; {
			c := chunk{kind: wireType(base.Kind)}
			n := 0
			switch c.kind {
			case protowire.Fixed32Type:
				var v uint32
				v, n = protowire.ConsumeFixed32(rest)
				c.num = uint64(v)
			case protowire.Fixed64Type:
				c.num, n = protowire.ConsumeFixed64(rest)
			default:
				c.num, n = protowire.ConsumeVarint(rest)
			}
			if n < 0 {
				return wrong(path, "the data is cut short")
			}
			rest = rest[n:]
			if err := one(c); err != nil {
				return err
			}
		}
	}
	d.out.WriteByte(']')
	d.elements = n
	return nil
}

// array writes as many elements as the type has; absent means all zero.
func (d *decoder) array(r Ref, cs []chunk, path string, depth int) error {
	if r.ByteArray() {
		data := make([]byte, r.Len)
		for _, c := range cs {
			if c.kind != protowire.BytesType || len(c.data) != r.Len {
				return wrong(path, fmt.Sprintf("it has another type or not %d bytes", r.Len))
			}
			data = c.data
		}
		d.out.Write(quote(base64.StdEncoding.EncodeToString(data)))
		return nil
	}
	if depth >= maxDepth {
		return wrong(path, fmt.Sprintf("it is nested more than %d deep", maxDepth))
	}
	if len(cs) == 0 {
		d.out.WriteByte('[')
		for i := range r.Len {
			if i > 0 {
				d.out.WriteByte(',')
			}
			if err := d.element(*r.Elem, nil, path, depth+1); err != nil {
				return err
			}
		}
		d.out.WriteByte(']')
		return nil
	}
	start := d.out.Len()
	for _, c := range cs { // the last appearance counts, and all must be right
		d.out.Truncate(start)
		data, err := join([]chunk{c}, path)
		if err != nil {
			return err
		}
		all, err := split(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := d.list(*r.Elem, all[1], path, depth+1); err != nil {
			return err
		}
		if d.elements != r.Len {
			return wrong(path, fmt.Sprintf("it has %d elements, the array has %d", d.elements, r.Len))
		}
	}
	return nil
}

// sum writes the fields of the variant that is there behind its name; null when there is none that is known.
func (d *decoder) sum(variants *Message, data []byte, path string, depth int) error {
	if depth > maxDepth {
		return wrong(path, fmt.Sprintf("it is nested more than %d deep", maxDepth))
	}
	start := d.out.Len()
	d.out.WriteString("null")
	// As in generated code the last variant counts, and all must be right.
	for len(data) > 0 {
		_, _, n := protowire.ConsumeField(data)
		if n < 0 {
			return wrong(path, "the data is damaged")
		}
		one, err := split(data[:n])
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		data = data[n:]
		i := slices.IndexFunc(variants.Fields, func(f Field) bool { return one[f.ID] != nil })
		if i < 0 {
			continue
		}
		f := variants.Fields[i]
		of := f.Type
		if of.Kind == Optional {
			of = *of.Elem
		}
		_, fields := d.resolve(of)
		in, err := join(one[f.ID], path)
		if err != nil {
			return err
		}
		d.out.Truncate(start)
		d.out.WriteString(`{"type":`)
		d.out.Write(quote(f.Name))
		err = d.message(fields, in, path, depth+1, func(_ int, f *Field) {
			d.out.WriteByte(',')
			d.out.Write(quote(f.Name))
			d.out.WriteByte(':')
		})
		if err != nil {
			return err
		}
		d.out.WriteByte('}')
	}
	return nil
}

func (d *decoder) mapping(r Ref, cs []chunk, path string, depth int) error {
	if len(cs) > 0 && depth >= maxDepth {
		return wrong(path, fmt.Sprintf("it is nested more than %d deep", maxDepth))
	}
	key, _ := d.resolve(r.KeyRef())
	entries := map[string]string{}
	for _, c := range cs {
		data, err := join([]chunk{c}, path)
		if err != nil {
			return err
		}
		all, err := split(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		text, err := last(key.Kind, all[1])
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		k := string(text)
		if k[0] != '"' {
			k = `"` + k + `"`
		}
		start := d.out.Len()
		if err := d.element(*r.Elem, all[2], path+"["+k+"]", depth+1); err != nil {
			return err
		}
		entries[k] = string(d.out.Bytes()[start:])
		d.out.Truncate(start)
	}
	d.out.WriteByte('{')
	for i, k := range slices.Sorted(maps.Keys(entries)) {
		if i > 0 {
			d.out.WriteByte(',')
		}
		d.out.WriteString(k + ":" + entries[k])
	}
	d.out.WriteByte('}')
	return nil
}

func (d *decoder) time(cs []chunk, path string, depth int) error {
	if len(cs) == 0 {
		d.out.Write(quote(time.Time{}.Format(time.RFC3339Nano)))
		return nil
	}
	if depth >= maxDepth {
		return wrong(path, fmt.Sprintf("it is nested more than %d deep", maxDepth))
	}
	// As in generated code the last appearance counts, and all must be right.
	var at time.Time
	for _, c := range cs {
		data, err := join([]chunk{c}, path)
		if err != nil {
			return err
		}
		all, err := split(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		var parts [2]uint64
		for i := range parts {
			for _, c := range all[uint32(i+1)] {
				if c.kind != protowire.VarintType {
					return wrong(path, "it has another type")
				}
				if parts[i] = c.num; i == 1 && c.num > 999_999_999 {
					return wrong(path, "the nanoseconds are out of range")
				}
			}
		}
		at = time.Unix(int64(parts[0]), int64(parts[1])).UTC()
	}
	d.out.Write(quote(at.Format(time.RFC3339Nano)))
	return nil
}
