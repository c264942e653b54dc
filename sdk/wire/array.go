package wire

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// GetArray reads the field into an array of bytes, all of it.
func GetArray[E ~byte](f *Fields, name string, into []E) {
	if !f.is(protowire.BytesType, name) {
		return
	}
	raw := f.value()
	if len(raw) != len(into) {
		f.fail(name, fmt.Sprintf("it has %d bytes, the array has %d", len(raw), len(into)))
		return
	}
	for i, c := range raw {
		into[i] = E(c)
	}
}

// AppendArray appends an array of bytes as field id.
func AppendArray[E ~byte](b []byte, id uint32, v []E) []byte {
	b = protowire.AppendVarint(appendTag(b, id, protowire.BytesType), uint64(len(v)))
	for _, c := range v {
		b = append(b, byte(c))
	}
	return b
}

// Fill copies the elements that were read into an array, which must be as long.
func Fill[E any](f *Fields, name string, into, from []E) {
	if len(from) != len(into) {
		f.fail(name, fmt.Sprintf("it has %d elements, the array has %d", len(from), len(into)))
		return
	}
	copy(into, from)
}

// GetJSON reads the field, which must be JSON; no bytes are nil.
func GetJSON(f *Fields, name string) (v json.RawMessage) {
	if v = GetBytes[json.RawMessage](f, name); len(v) > 0 && (!utf8.Valid(v) || !json.Valid(v)) {
		f.fail(name, "it is not JSON")
	}
	return v
}

// Raw is a copy of the field's value as it is on the wire, without its tag.
func Raw(f *Fields) []byte {
	switch f.kind {
	case protowire.BytesType:
		return append([]byte(nil), f.value()...)
	case protowire.Fixed32Type:
		return protowire.AppendFixed32(nil, uint32(f.num))
	case protowire.Fixed64Type:
		return protowire.AppendFixed64(nil, f.num)
	}
	return protowire.AppendVarint(nil, f.num)
}

// Some tells whether there is a value.
func Some(v any) bool { return v != nil }

// Unknown ends the call in which a value is sent whose type generated code does not know: a variant of a sum that was
// declared after cell build.
func Unknown(v any) { panic(fmt.Sprintf("%T is not in the genome: run cell build", v)) }
