package wire

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// The helpers below are what generated code encodes and decodes messages with: protobuf's wire format, without
// reflection. Signed integers are zigzag varints (sint64), other integers and booleans varints, floats fixed, a time a
// message of seconds and nanoseconds as in google.protobuf.Timestamp. Lists of numbers are packed. A list, map or optional
// that is no field of a message is wrapped in a message whose field 1 it is. Every scalar is written, zero or not.

// MaxDepth bounds how deep messages may be nested.
const MaxDepth = 64

type (
	isInt interface {
		~int | ~int8 | ~int16 | ~int32 | ~int64
	}
	isUint interface {
		~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64
	}
	isFloat32 interface{ ~float32 }
	isFloat64 interface{ ~float64 }
	isBool    interface{ ~bool }
	isString  interface{ ~string }
	isBytes   interface{ ~[]byte }
)

func appendTag(b []byte, id uint32, t protowire.Type) []byte {
	return protowire.AppendVarint(b, uint64(id)<<3|uint64(t))
}

// maxShortID is the highest id whose tag is one byte; most are.
const maxShortID = 15

// AppendInt appends field id.
func AppendInt[T isInt](b []byte, id uint32, v T) []byte {
	n := int64(v)
	return appendNumber(b, id, uint64(n<<1)^uint64(n>>63))
}

// AppendUint appends field id.
func AppendUint[T isUint](b []byte, id uint32, v T) []byte { return appendNumber(b, id, uint64(v)) }

// AppendBool appends field id.
func AppendBool[T isBool](b []byte, id uint32, v T) []byte {
	n := uint64(0)
	if v {
		n = 1
	}
	return appendNumber(b, id, n)
}

func appendNumber(b []byte, id uint32, v uint64) []byte {
	if id > maxShortID {
		return protowire.AppendVarint(appendTag(b, id, protowire.VarintType), v)
	}
	tag := byte(id<<3) | byte(protowire.VarintType)
	switch {
	case v < 1<<7:
		return append(b, tag, byte(v))
	case v < 1<<14:
		return append(b, tag, byte(v)|0x80, byte(v>>7))
	case v < 1<<21:
		return append(b, tag, byte(v)|0x80, byte(v>>7)|0x80, byte(v>>14))
	}
	return protowire.AppendVarint(append(b, tag), v)
}

// AppendFloat32 appends field id.
func AppendFloat32[T isFloat32](b []byte, id uint32, v T) []byte {
	return protowire.AppendFixed32(appendTag(b, id, protowire.Fixed32Type), math.Float32bits(float32(v)))
}

// AppendFloat64 appends field id.
func AppendFloat64[T isFloat64](b []byte, id uint32, v T) []byte {
	return protowire.AppendFixed64(appendTag(b, id, protowire.Fixed64Type), math.Float64bits(float64(v)))
}

// AppendString appends field id.
func AppendString[T isString](b []byte, id uint32, v T) []byte {
	return appendString(b, id, string(v))
}

func appendString(b []byte, id uint32, v string) []byte {
	if id <= maxShortID && len(v) < 1<<7 {
		b = append(b, byte(id<<3)|byte(protowire.BytesType), byte(len(v)))
	} else {
		b = protowire.AppendVarint(appendTag(b, id, protowire.BytesType), uint64(len(v)))
	}
	return append(b, v...)
}

// AppendBytes appends field id.
func AppendBytes[T isBytes](b []byte, id uint32, v T) []byte {
	return append(appendLength(b, id, len(v)), v...)
}

// appendLength begins a field that has n bytes.
func appendLength(b []byte, id uint32, n int) []byte {
	if id <= maxShortID && n < 1<<7 {
		return append(b, byte(id<<3)|byte(protowire.BytesType), byte(n))
	}
	return protowire.AppendVarint(appendTag(b, id, protowire.BytesType), uint64(n))
}

// AppendTime appends field id: an instant, without its time zone.
func AppendTime(b []byte, id uint32, v time.Time) []byte {
	b, mark := Begin(b, id)
	b = appendNumber(b, 1, uint64(v.Unix()))
	b = appendNumber(b, 2, uint64(v.Nanosecond()))
	return End(b, mark)
}

// AppendInts appends the list as field id, nothing when it is empty; so do the other lists.
func AppendInts[S ~[]E, E isInt](b []byte, id uint32, s S) []byte {
	if len(s) == 0 {
		return b
	}
	b, mark := Begin(b, id)
	for _, v := range s {
		b = protowire.AppendVarint(b, protowire.EncodeZigZag(int64(v)))
	}
	return End(b, mark)
}

// AppendUints appends the list as field id.
func AppendUints[S ~[]E, E isUint](b []byte, id uint32, s S) []byte {
	if len(s) == 0 {
		return b
	}
	b, mark := Begin(b, id)
	for _, v := range s {
		b = protowire.AppendVarint(b, uint64(v))
	}
	return End(b, mark)
}

// AppendBools appends the list as field id.
func AppendBools[S ~[]E, E isBool](b []byte, id uint32, s S) []byte {
	if len(s) == 0 {
		return b
	}
	b = appendLength(b, id, len(s))
	for _, v := range s {
		b = append(b, byte(protowire.EncodeBool(bool(v))))
	}
	return b
}

// AppendFloat32s appends the list as field id.
func AppendFloat32s[S ~[]E, E isFloat32](b []byte, id uint32, s S) []byte {
	if len(s) == 0 {
		return b
	}
	b = appendLength(b, id, 4*len(s))
	for _, v := range s {
		b = protowire.AppendFixed32(b, math.Float32bits(float32(v)))
	}
	return b
}

// AppendFloat64s appends the list as field id.
func AppendFloat64s[S ~[]E, E isFloat64](b []byte, id uint32, s S) []byte {
	if len(s) == 0 {
		return b
	}
	b = appendLength(b, id, 8*len(s))
	for _, v := range s {
		b = protowire.AppendFixed64(b, math.Float64bits(float64(v)))
	}
	return b
}

// Begin opens a message as field id; End closes it. Its length goes into one byte, or moves the message when it is long.
func Begin(b []byte, id uint32) (_ []byte, mark int) {
	b = appendLength(b, id, 0)
	return b, len(b)
}

// End closes the message that Begin opened.
func End(b []byte, mark int) []byte {
	n := len(b) - mark
	if n < 1<<7 {
		b[mark-1] = byte(n)
		return b
	}
	more := protowire.SizeVarint(uint64(n)) - 1
	b = slices.Grow(b, more)[:len(b)+more]
	copy(b[mark+more:], b[mark:mark+n])
	protowire.AppendVarint(b[:mark-1], uint64(n))
	return b
}

// Room is how much room a message of one kind needs, as far as those before it tell: its buffer then seldom grows.
type Room struct{ bytes atomic.Int64 }

// maxRoom bounds what a short message may take because the one before it was long.
const maxRoom = mostKept

// Buffer begins a message.
func (r *Room) Buffer() []byte { return allocate(int(r.bytes.Load()))[:0] }

// Done ends it. Where messages are about as long as each other nothing is written: many goroutines share a Room.
func (r *Room) Done(b []byte) []byte {
	if have, n := r.bytes.Load(), min(int64(len(b)+7)&^7, maxRoom); n > have || n < have/4 {
		r.bytes.Store(n)
	}
	return b
}

// New makes what an optional points to.
func New[T any](f *Fields) *T {
	spend[T](f)
	for i, s := range f.spare[:f.spares] {
		if p, ok := s.(*T); ok {
			f.spares--
			f.spare[i] = f.spare[f.spares]
			Zero(p)
			return p
		}
	}
	return new(T)
}

// Keep lets New use p again.
func Keep[T any](f *Fields, p *T) {
	if p != nil && f.spares < len(f.spare) {
		f.spare[f.spares] = p
		f.spares++
	}
}

// Set tells whether p points to something.
func Set[T any](p *T) bool { return p != nil }

// Failed tells whether err is an error.
func Failed(err error) bool { return err != nil }

// Add makes a list longer by one element, which it returns.
func Add[S ~[]E, E any](f *Fields, s *S) *E {
	var zero E
	e := Extend(f, s)
	*e = zero
	return e
}

// Extend is Add, but the element may be one that the list had before, when it was longer.
func Extend[S ~[]E, E any](f *Fields, s *S) *E {
	if !spend[E](f) {
		return new(E)
	}
	n := len(*s)
	if n == cap(*s) {
		*s = slices.Grow(*s, reserve[E](f))
	}
	*s = (*s)[:n+1]
	return &(*s)[n]
}

// Clear empties a map.
func Clear[M ~map[K]E, K comparable, E any](m M) M {
	clear(m)
	return m
}

// Zero sets v to nothing.
func Zero[T any](v *T) {
	var zero T
	*v = zero
}

// Put sets m[k] to e; it makes the map when there is none.
func Put[M ~map[K]E, K comparable, E any](f *Fields, m *M, k K, e E) {
	if !spend[K](f) || !spend[E](f) {
		return
	}
	if *m == nil {
		*m = M{}
	}
	(*m)[k] = e
}
