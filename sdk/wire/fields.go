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

	kind     protowire.Type
	view     bool // strings and bytes refer to data
	stale    bool // the value holds what was read before
	data     []byte
	pos, end int    // of what is left of the message
	num      uint64 // the field's value when it is a number, or its length; its bytes end at pos
	depth    int
	spare    [4]any // pointers to values of optionals that were read before
	spares   int
	budget   int // bytes that may still be allocated for what has no bytes of its own in data
	err      *FieldError
}

// NewFields starts reading a message. Nothing that is read refers to data afterwards.
func NewFields(data []byte) *Fields {
	return &Fields{data: data, end: len(data), budget: leastBudget + budgetPerByte*len(data)}
}

// NewView starts reading a message into a value of which nothing is needed any more: strings and bytes refer to data, and lists
// and maps keep their memory. The value is good until data changes or the next one is read into it. Once it is read like this
// it is never read with NewFields, whose lists would grow into it.
func NewView(data []byte) *Fields {
	return &Fields{data: data, end: len(data), budget: leastBudget + budgetPerByte*len(data), view: true, stale: true}
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

// reserve is how many elements a list has room for when it must grow for the field: those that follow directly, as far as the
// budget goes.
func reserve[T any](f *Fields) int {
	var v T
	n, most := 1, 1+f.budget/int(max(1, unsafe.Sizeof(v)))
	tag := uint64(f.ID)<<3 | uint64(protowire.BytesType)
	for at := f.pos; n < most && at < f.end && uint64(f.data[at]) == tag; n++ {
		length, size := protowire.ConsumeVarint(f.data[at+1 : f.end])
		if size < 0 || length > uint64(f.end-at) {
			break
		}
		at += 1 + size + int(length)
	}
	return n
}

// Stale tells, once, that the value still holds what was read before.
func (f *Fields) Stale() bool {
	stale := f.stale
	f.stale = false
	return stale
}

// Err returns the first error, or nil.
func (f *Fields) Err() *FieldError { return f.err }

// OK tells that there was no error.
func (f *Fields) OK() bool { return f.err == nil }

// Next reads a field; a field that is then not asked for is skipped. What most fields are is read here: a tag of one byte with a
// number, or with at most 127 bytes.
func (f *Fields) Next() bool {
	at := f.pos
	if at >= f.end {
		return false
	}
	data := f.data
	if tag := data[at]; tag >= 1<<3 && tag < 1<<7 && at+1 < f.end {
		v := data[at+1]
		f.ID, f.kind, f.num = uint32(tag>>3), protowire.Type(tag&7), uint64(v)
		switch at += 2; f.kind {
		case protowire.VarintType:
			if f.pos = at; v >= 1<<7 {
				f.pos--
				f.num = f.varint()
				return f.err == nil
			}
			return true
		case protowire.BytesType:
			if at += int(v); v < 1<<7 && at <= f.end {
				f.pos = at
				return true
			}
		}
	}
	return f.next()
}

// next is Next without a shortcut.
func (f *Fields) next() bool {
	tag := f.varint()
	if f.ID, f.kind = uint32(tag>>3), protowire.Type(tag&7); tag>>3 == 0 || tag>>3 > uint64(protowire.MaxValidNumber) {
		return f.fail("", damaged)
	}
	switch f.kind {
	case protowire.VarintType:
		f.num = f.varint()
	case protowire.Fixed32Type:
		f.num = f.fixed(4)
	case protowire.Fixed64Type:
		f.num = f.fixed(8)
	case protowire.BytesType:
		f.num = f.varint()
		if f.err == nil && f.num > uint64(f.end-f.pos) {
			return f.fail("", cutShort)
		}
		f.pos += int(f.num)
	default:
		return f.fail("", damaged)
	}
	return f.err == nil
}

// value is the field's value when it has a length.
func (f *Fields) value() []byte { return f.data[f.pos-int(f.num) : f.pos] }

const (
	cutShort  = "the data is cut short"
	damaged   = "the data is damaged"
	otherType = "it has another type"
)

// fail keeps the first error, and nothing more is read.
func (f *Fields) fail(name, reason string) bool {
	if f.end = 0; f.err == nil {
		f.err = &FieldError{name, reason}
	}
	return false
}

func (f *Fields) varint() uint64 {
	b := f.data[f.pos:f.end]
	if len(b) >= 3 && b[0] >= 0x80 {
		if b[1] < 0x80 {
			f.pos += 2
			return uint64(b[0]&0x7f) | uint64(b[1])<<7
		}
		if b[2] < 0x80 {
			f.pos += 3
			return uint64(b[0]&0x7f) | uint64(b[1]&0x7f)<<7 | uint64(b[2])<<14
		}
	}
	v, n := protowire.ConsumeVarint(b)
	if n < 0 {
		f.fail("", cutShort)
		return 0
	}
	f.pos += n
	return v
}

func (f *Fields) fixed(n int) uint64 {
	if f.end-f.pos < n {
		f.fail("", cutShort)
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
	if f.depth++; f.depth > MaxDepth {
		f.fail("", fmt.Sprintf("it is nested more than %d deep", MaxDepth))
	} else if f.is(protowire.BytesType, "") {
		f.pos, f.end = f.pos-int(f.num), f.pos
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
	return f.kind == kind || f.fail(name, otherType)
}

// GetInt reads the field; name is its name, for an error. So do the other readers.
func GetInt[T isInt](f *Fields, name string) T {
	if v := unzigzag(f.num); f.kind == protowire.VarintType && int64(T(v)) == v {
		return T(v)
	}
	return refuse[T](f, name)
}

// GetUint reads the field.
func GetUint[T isUint](f *Fields, name string) T {
	if v := T(f.num); f.kind == protowire.VarintType && uint64(v) == f.num {
		return v
	}
	return refuse[T](f, name)
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
	return T(f.text(name))
}

func (f *Fields) text(name string) string {
	if !f.is(protowire.BytesType, name) {
		return ""
	}
	raw := f.value()
	if !ascii(raw) && !utf8.Valid(raw) {
		f.fail(name, "it is not UTF-8 text")
		return ""
	}
	if f.view {
		return unsafe.String(unsafe.SliceData(raw), len(raw))
	}
	return string(raw)
}

// ascii is quicker than utf8.Valid for the short text that most fields are.
func ascii(b []byte) bool {
	if len(b) < 8 {
		all := byte(0)
		for _, c := range b {
			all |= c
		}
		return all < utf8.RuneSelf
	}
	all := binary.LittleEndian.Uint64(b[len(b)-8:])
	for len(b) > 8 {
		all |= binary.LittleEndian.Uint64(b)
		b = b[8:]
	}
	return all&0x8080808080808080 == 0
}

// GetBytes reads the field; no bytes are nil.
func GetBytes[T isBytes](f *Fields, name string) (v T) {
	switch {
	case !f.is(protowire.BytesType, name) || f.num == 0:
		return nil
	case f.view:
		return T(slices.Clip(f.value())) // who appends to it leaves the rest of the message alone
	}
	return append(v, f.value()...)
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
	raw := f.packed(protowire.VarintType, name)
	for s = slices.Grow(s, varints(raw)); len(raw) > 0; {
		var v uint64
		v, raw = f.element(raw, name)
		n := unzigzag(v)
		if int64(E(n)) != n {
			outOfRange[E](f, name, v)
		}
		s = append(s, E(n))
	}
	return s
}

// GetUints appends what the field holds.
func GetUints[S ~[]E, E isUint](f *Fields, name string, s S) S {
	raw := f.packed(protowire.VarintType, name)
	for s = slices.Grow(s, varints(raw)); len(raw) > 0; {
		var v uint64
		v, raw = f.element(raw, name)
		if uint64(E(v)) != v {
			outOfRange[E](f, name, v)
		}
		s = append(s, E(v))
	}
	return s
}

// GetBools appends what the field holds.
func GetBools[S ~[]E, E isBool](f *Fields, name string, s S) S {
	raw := f.packed(protowire.VarintType, name)
	for s = slices.Grow(s, varints(raw)); len(raw) > 0; {
		var v uint64
		v, raw = f.element(raw, name)
		s = append(s, v != 0)
	}
	return s
}

// GetFloat32s appends what the field holds.
func GetFloat32s[S ~[]E, E isFloat32](f *Fields, name string, s S) S {
	raw := f.packed(protowire.Fixed32Type, name)
	for s = slices.Grow(s, len(raw)/4); len(raw) >= 4; raw = raw[4:] {
		s = append(s, E(math.Float32frombits(binary.LittleEndian.Uint32(raw))))
	}
	if len(raw) > 0 {
		f.fail(name, cutShort)
	}
	return s
}

// GetFloat64s appends what the field holds.
func GetFloat64s[S ~[]E, E isFloat64](f *Fields, name string, s S) S {
	raw := f.packed(protowire.Fixed64Type, name)
	for s = slices.Grow(s, len(raw)/8); len(raw) >= 8; raw = raw[8:] {
		s = append(s, E(math.Float64frombits(binary.LittleEndian.Uint64(raw))))
	}
	if len(raw) > 0 {
		f.fail(name, cutShort)
	}
	return s
}

// packed is the value of a list of numbers as it is when it is packed.
func (f *Fields) packed(kind protowire.Type, name string) []byte {
	if f.kind == protowire.BytesType {
		return f.value()
	}
	if !f.is(kind, name) {
		return nil
	}
	return Raw(f)
}

// varints counts numbers, so that no more elements are reserved than there are bytes.
func varints(raw []byte) (n int) {
	for _, c := range raw {
		if c < 1<<7 {
			n++
		}
	}
	return n
}

// element takes the first number off raw; after an error nothing is left.
func (f *Fields) element(raw []byte, name string) (uint64, []byte) {
	if raw[0] < 1<<7 {
		return uint64(raw[0]), raw[1:]
	}
	v, n := protowire.ConsumeVarint(raw)
	if n < 0 {
		f.fail(name, cutShort)
		return 0, nil
	}
	return v, raw[n:]
}

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// refuse says why the field's value is no T.
func refuse[T isInt | isUint](f *Fields, name string) T {
	if f.is(protowire.VarintType, name) {
		outOfRange[T](f, name, f.num)
	}
	return 0
}

func outOfRange[T isInt | isUint](f *Fields, name string, u uint64) {
	var v T
	bits := 8 * unsafe.Sizeof(v)
	if v--; v < 0 {
		f.fail(name, fmt.Sprintf("%d does not fit int%d", unzigzag(u), bits))
	} else {
		f.fail(name, fmt.Sprintf("%d does not fit uint%d", u, bits))
	}
}
