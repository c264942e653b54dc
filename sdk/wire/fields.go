package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// FieldError says which field of a message does not decode: its path by name, and why.
type FieldError struct{ Field, Reason string }

// Error is "field: reason".
func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Reason
	}
	return e.Field + ": " + e.Reason
}

// Fields reads a message field by field. An error ends every loop over Next, and Err returns it.
type Fields struct {
	ID uint32 // of the field that Next read, until another message is entered

	data     []byte
	pos, end int // of what is left of the message
	kind     protowire.Type
	num      uint64 // the field's value when it is a number
	from, to int    // the field's value in data when it has a length
	depth    int
	budget   int // bytes that may still be allocated for what has no bytes of its own in data
	err      *FieldError
}

// NewFields starts reading a message. Nothing that is read refers to data afterwards.
func NewFields(data []byte) *Fields {
	return &Fields{data: data, end: len(data), budget: leastBudget + budgetPerByte*len(data)}
}

// Two bytes can stand for an empty struct of any size: what decoding may allocate is bounded by these. Structs that are mostly
// not empty stay far below.
const (
	leastBudget   = 8 << 20
	budgetPerByte = 16
)

// spend takes the size of a T from the budget.
func spend[T any](f *Fields) bool {
	var v T
	if f.budget -= int(unsafe.Sizeof(v)); f.budget < 0 {
		return f.fail("", "it needs too much memory")
	}
	return true
}

// Err returns the first error, or nil.
func (f *Fields) Err() *FieldError { return f.err }

// OK tells that there was no error.
func (f *Fields) OK() bool { return f.err == nil }

// Next reads a field; a field that is then not asked for is skipped.
func (f *Fields) Next() bool {
	if f.pos >= f.end || f.err != nil {
		return false
	}
	tag := f.varint()
	if f.ID, f.kind = uint32(tag>>3), protowire.Type(tag&7); tag>>3 == 0 || tag>>3 > uint64(protowire.MaxValidNumber) {
		return f.fail("", "the data is damaged")
	}
	switch f.kind {
	case protowire.VarintType:
		f.num = f.varint()
	case protowire.Fixed32Type:
		f.num = f.fixed(4)
	case protowire.Fixed64Type:
		f.num = f.fixed(8)
	case protowire.BytesType:
		n := f.varint()
		if f.err == nil && n > uint64(f.end-f.pos) {
			return f.fail("", "the data is cut short")
		}
		f.from, f.to = f.pos, f.pos+int(n)
		f.pos = f.to
	default:
		return f.fail("", "the data is damaged")
	}
	return f.err == nil
}

func (f *Fields) fail(name, reason string) bool {
	if f.err == nil {
		f.err = &FieldError{name, reason}
	}
	return false
}

func (f *Fields) varint() uint64 {
	v, n := protowire.ConsumeVarint(f.data[f.pos:f.end])
	if n < 0 {
		f.fail("", "the data is cut short")
		return 0
	}
	f.pos += n
	return v
}

func (f *Fields) fixed(n int) uint64 {
	if f.end-f.pos < n {
		f.fail("", "the data is cut short")
		return 0
	}
	at := f.pos
	f.pos += n
	if n == 4 {
		return uint64(binary.LittleEndian.Uint32(f.data[at:]))
	}
	return binary.LittleEndian.Uint64(f.data[at:])
}

// Enter goes into the field's value, a message; after its fields Leave goes out again.
func (f *Fields) Enter() (end int) {
	end = f.end
	if f.err != nil {
		return end
	}
	if f.kind != protowire.BytesType {
		f.fail("", "it has another type")
	} else if f.depth++; f.depth > MaxDepth {
		f.fail("", fmt.Sprintf("it is nested more than %d deep", MaxDepth))
	} else {
		f.pos, f.end = f.from, f.to
	}
	return end
}

// Leave ends what Enter began; name is the field's, for an error within.
func (f *Fields) Leave(end int, name string) {
	if f.err != nil {
		if f.err.Field != "" && name != "" {
			name += "."
		}
		f.err.Field = name + f.err.Field
		return
	}
	f.pos, f.end = f.end, end
	f.depth--
}

func (f *Fields) is(kind protowire.Type, name string) bool {
	return f.kind == kind || f.fail(name, "it has another type")
}

// GetInt reads the field; name is its name, for an error. So do the other readers.
func GetInt[T isInt](f *Fields, name string) T {
	if !f.is(protowire.VarintType, name) {
		return 0
	}
	return fitInt[T](f, name, f.num)
}

// GetUint reads the field.
func GetUint[T isUint](f *Fields, name string) T {
	if !f.is(protowire.VarintType, name) {
		return 0
	}
	return fitUint[T](f, name, f.num)
}

// GetBool reads the field.
func GetBool[T isBool](f *Fields, name string) T {
	f.is(protowire.VarintType, name)
	return f.num != 0
}

// GetFloat32 reads the field.
func GetFloat32[T isFloat32](f *Fields, name string) T {
	f.is(protowire.Fixed32Type, name)
	return T(math.Float32frombits(uint32(f.num)))
}

// GetFloat64 reads the field.
func GetFloat64[T isFloat64](f *Fields, name string) T {
	f.is(protowire.Fixed64Type, name)
	return T(math.Float64frombits(f.num))
}

// GetString reads the field, which must be UTF-8: other languages and JSON know no other text.
func GetString[T isString](f *Fields, name string) (v T) {
	if !f.is(protowire.BytesType, name) {
		return v
	}
	raw := f.data[f.from:f.to]
	if !utf8.Valid(raw) {
		f.fail(name, "it is not UTF-8 text")
		return v
	}
	return T(raw)
}

// GetBytes reads the field; no bytes are nil.
func GetBytes[T isBytes](f *Fields, name string) (v T) {
	if f.is(protowire.BytesType, name) {
		v = append(v, f.data[f.from:f.to]...)
	}
	return v
}

// GetTime reads the field; the time is in UTC.
func GetTime(f *Fields, name string) time.Time {
	var seconds, nanos uint64
	end := f.Enter()
	for f.Next() {
		switch f.ID {
		case 1:
			f.is(protowire.VarintType, "")
			seconds = f.num
		case 2:
			f.is(protowire.VarintType, "")
			if nanos = f.num; nanos > 999_999_999 {
				f.fail("", "the nanoseconds are out of range")
			}
		}
	}
	f.Leave(end, name)
	return time.Unix(int64(seconds), int64(nanos)).UTC()
}

// GetInts appends what the field holds, packed or not; so do the other lists.
func GetInts[S ~[]E, E isInt](f *Fields, name string, s S) S {
	return getPacked(f, name, s, protowire.VarintType, func(v uint64) E { return fitInt[E](f, name, v) })
}

// GetUints appends what the field holds.
func GetUints[S ~[]E, E isUint](f *Fields, name string, s S) S {
	return getPacked(f, name, s, protowire.VarintType, func(v uint64) E { return fitUint[E](f, name, v) })
}

// GetBools appends what the field holds.
func GetBools[S ~[]E, E isBool](f *Fields, name string, s S) S {
	return getPacked(f, name, s, protowire.VarintType, func(v uint64) E { return v != 0 })
}

// GetFloat32s appends what the field holds.
func GetFloat32s[S ~[]E, E isFloat32](f *Fields, name string, s S) S {
	return getPacked(f, name, s, protowire.Fixed32Type, func(v uint64) E { return E(math.Float32frombits(uint32(v))) })
}

// GetFloat64s appends what the field holds.
func GetFloat64s[S ~[]E, E isFloat64](f *Fields, name string, s S) S {
	return getPacked(f, name, s, protowire.Fixed64Type, func(v uint64) E { return E(math.Float64frombits(v)) })
}

// getPacked reserves no more elements than the field has bytes.
func getPacked[S ~[]E, E any](f *Fields, name string, s S, kind protowire.Type, one func(uint64) E) S {
	if f.kind != protowire.BytesType {
		if f.is(kind, name) {
			s = append(s, one(f.num))
		}
		return s
	}
	width, count := 0, 0
	switch kind {
	case protowire.Fixed32Type:
		width = 4
	case protowire.Fixed64Type:
		width = 8
	}
	if width > 0 {
		count = (f.to - f.from) / width
	} else {
		for _, c := range f.data[f.from:f.to] {
			if c < 0x80 {
				count++
			}
		}
	}
	s = slices.Grow(s, count)
	pos, end := f.pos, f.end
	f.pos, f.end = f.from, f.to
	for f.pos < f.end && f.err == nil {
		v := uint64(0)
		if width > 0 {
			v = f.fixed(width)
		} else {
			v = f.varint()
		}
		if f.err != nil {
			f.err.Field = name
			return s
		}
		s = append(s, one(v))
	}
	f.pos, f.end = pos, end
	return s
}

func fitInt[T isInt](f *Fields, name string, u uint64) T {
	v := protowire.DecodeZigZag(u)
	if int64(T(v)) != v {
		f.fail(name, fmt.Sprintf("%d does not fit %s", v, "int"+bits[T]()))
	}
	return T(v)
}

func fitUint[T isUint](f *Fields, name string, v uint64) T {
	if uint64(T(v)) != v {
		f.fail(name, fmt.Sprintf("%d does not fit %s", v, "uint"+bits[T]()))
	}
	return T(v)
}

func bits[T any]() string {
	var v T
	return fmt.Sprint(8 * unsafe.Sizeof(v))
}
