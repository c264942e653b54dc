package wire

import (
	"encoding/binary"
	"math"
	"slices"
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
	return binary.AppendUvarint(b, uint64(id)<<3|uint64(t))
}

// AppendInt appends field id.
func AppendInt[T isInt](b []byte, id uint32, v T) []byte {
	return binary.AppendVarint(appendTag(b, id, protowire.VarintType), int64(v))
}

// AppendUint appends field id.
func AppendUint[T isUint](b []byte, id uint32, v T) []byte {
	return binary.AppendUvarint(appendTag(b, id, protowire.VarintType), uint64(v))
}

// AppendBool appends field id.
func AppendBool[T isBool](b []byte, id uint32, v T) []byte {
	return append(appendTag(b, id, protowire.VarintType), bit(bool(v)))
}

// AppendFloat32 appends field id.
func AppendFloat32[T isFloat32](b []byte, id uint32, v T) []byte {
	return binary.LittleEndian.AppendUint32(appendTag(b, id, protowire.Fixed32Type), math.Float32bits(float32(v)))
}

// AppendFloat64 appends field id.
func AppendFloat64[T isFloat64](b []byte, id uint32, v T) []byte {
	return binary.LittleEndian.AppendUint64(appendTag(b, id, protowire.Fixed64Type), math.Float64bits(float64(v)))
}

// AppendString appends field id.
func AppendString[T isString](b []byte, id uint32, v T) []byte {
	b = binary.AppendUvarint(appendTag(b, id, protowire.BytesType), uint64(len(v)))
	return append(b, v...)
}

// AppendBytes appends field id.
func AppendBytes[T isBytes](b []byte, id uint32, v T) []byte {
	b = binary.AppendUvarint(appendTag(b, id, protowire.BytesType), uint64(len(v)))
	return append(b, v...)
}

// AppendTime appends field id: an instant, without its time zone.
func AppendTime(b []byte, id uint32, v time.Time) []byte {
	b, mark := Begin(b, id)
	b = binary.AppendUvarint(appendTag(b, 1, protowire.VarintType), uint64(v.Unix()))
	b = binary.AppendUvarint(appendTag(b, 2, protowire.VarintType), uint64(v.Nanosecond()))
	return End(b, mark)
}

// AppendInts appends the list as field id, nothing when it is empty; so do the other lists.
func AppendInts[S ~[]E, E isInt](b []byte, id uint32, s S) []byte {
	return appendPacked(b, id, s, func(b []byte, v E) []byte { return binary.AppendVarint(b, int64(v)) })
}

// AppendUints appends the list as field id.
func AppendUints[S ~[]E, E isUint](b []byte, id uint32, s S) []byte {
	return appendPacked(b, id, s, func(b []byte, v E) []byte { return binary.AppendUvarint(b, uint64(v)) })
}

// AppendBools appends the list as field id.
func AppendBools[S ~[]E, E isBool](b []byte, id uint32, s S) []byte {
	return appendPacked(b, id, s, func(b []byte, v E) []byte { return append(b, bit(bool(v))) })
}

// AppendFloat32s appends the list as field id.
func AppendFloat32s[S ~[]E, E isFloat32](b []byte, id uint32, s S) []byte {
	return appendPacked(b, id, s, func(b []byte, v E) []byte {
		return binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(v)))
	})
}

// AppendFloat64s appends the list as field id.
func AppendFloat64s[S ~[]E, E isFloat64](b []byte, id uint32, s S) []byte {
	return appendPacked(b, id, s, func(b []byte, v E) []byte {
		return binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(v)))
	})
}

func appendPacked[S ~[]E, E any](b []byte, id uint32, s S, one func([]byte, E) []byte) []byte {
	if len(s) == 0 {
		return b
	}
	b, mark := Begin(b, id)
	for _, v := range s {
		b = one(b, v)
	}
	return End(b, mark)
}

func bit(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// Begin opens a message as field id; End closes it. Its length goes into one byte, or moves the message when it is long.
func Begin(b []byte, id uint32) (_ []byte, mark int) {
	b = append(appendTag(b, id, protowire.BytesType), 0)
	return b, len(b)
}

// End closes the message that Begin opened.
func End(b []byte, mark int) []byte {
	n := len(b) - mark
	if n < 1<<7 {
		b[mark-1] = byte(n)
		return b
	}
	var head [binary.MaxVarintLen64]byte
	h := binary.PutUvarint(head[:], uint64(n))
	b = slices.Grow(b, h-1)[:len(b)+h-1]
	copy(b[mark+h-1:], b[mark:mark+n])
	copy(b[mark-1:], head[:h])
	return b
}

// New makes what an optional points to.
func New[T any](f *Fields) *T {
	spend[T](f)
	return new(T)
}

// Set tells whether p points to something.
func Set[T any](p *T) bool { return p != nil }

// Failed tells whether err is an error.
func Failed(err error) bool { return err != nil }

// Push appends e to s.
func Push[S ~[]E, E any](f *Fields, s S, e E) S {
	if !spend[E](f) {
		return s
	}
	return append(s, e)
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
