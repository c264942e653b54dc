package wire

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

type testColor int8

func TestCodecRoundTrip(t *testing.T) {
	at := time.Date(1815, 12, 10, 1, 2, 3, 4, time.UTC)
	var b []byte
	b = AppendInt(b, 1, testColor(-128))
	b = AppendUint(b, 2, uint64(math.MaxUint64))
	b = AppendBool(b, 3, true)
	b = AppendFloat32(b, 4, float32(1.5))
	b = AppendFloat64(b, 5, math.Inf(-1))
	b = AppendString(b, 6, "grüße")
	b = AppendBytes(b, 7, []byte{0, 255})
	b = AppendTime(b, 8, at)
	b = AppendInts(b, 9, []time.Duration{-1, 0, math.MaxInt64})
	b = AppendUints(b, 10, []uint16{0, 65535})
	b = AppendBools(b, 11, []bool{true, false})
	b = AppendFloat32s(b, 12, []float32{1, 2})
	b = AppendFloat64s(b, 13, []float64{3, 4})
	b = AppendInts(b, 14, []int{})
	b = AppendTime(b, 15, time.Time{})
	b = AppendInt(b, 99, 7)

	got := map[uint32]any{}
	f := NewFields(b)
	for f.Next() {
		switch f.ID {
		case 1:
			got[1] = GetInt[testColor](f, "x")
		case 2:
			got[2] = GetUint[uint64](f, "x")
		case 3:
			got[3] = GetBool[bool](f, "x")
		case 4:
			got[4] = GetFloat32[float32](f, "x")
		case 5:
			got[5] = GetFloat64[float64](f, "x")
		case 6:
			got[6] = GetString[string](f, "x")
		case 7:
			got[7] = GetBytes[[]byte](f, "x")
		case 8, 15:
			id := f.ID
			got[id] = GetTime(f, "x")
		case 9:
			got[9] = GetInts(f, "x", []time.Duration(nil))
		case 10:
			got[10] = GetUints(f, "x", []uint16(nil))
		case 11:
			got[11] = GetBools(f, "x", []bool(nil))
		case 12:
			got[12] = GetFloat32s(f, "x", []float32(nil))
		case 13:
			got[13] = GetFloat64s(f, "x", []float64(nil))
		}
	}
	if !f.OK() {
		t.Fatal(f.Err())
	}
	want := map[uint32]any{
		1: testColor(-128), 2: uint64(math.MaxUint64), 3: true, 4: float32(1.5), 5: math.Inf(-1), 6: "grüße", 7: []byte{0, 255},
		8: at, 9: []time.Duration{-1, 0, math.MaxInt64}, 10: []uint16{0, 65535}, 11: []bool{true, false}, 12: []float32{1, 2},
		13: []float64{3, 4}, 15: time.Time{},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if !got[15].(time.Time).IsZero() {
		t.Error("the zero time is no longer zero")
	}
}

// The length of a message is written after it: short and long ones, one within the other, must be as protowire has them.
func TestCodecMessageLength(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 128, 129, 16381, 16382, 16383, 16384, 70000} {
		text := strings.Repeat("x", n)
		b, outer := Begin([]byte("head"), 1)
		b, inner := Begin(b, 2)
		b = AppendString(b, 3, text)
		b = End(b, inner)
		b = AppendInt(b, 4, 1)
		b = End(b, outer)

		in := protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), text)
		out := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), in)
		out = protowire.AppendVarint(protowire.AppendTag(out, 4, protowire.VarintType), 2)
		want := protowire.AppendBytes(protowire.AppendTag([]byte("head"), 1, protowire.BytesType), out)
		if !bytes.Equal(b, want) {
			t.Errorf("%d bytes: the encoding differs", n)
		}
	}
}

func TestCodecUnpacked(t *testing.T) {
	b := AppendInts(AppendInt(nil, 1, 5), 1, []int{6, 7})
	var got []int
	f := NewFields(b)
	for f.Next() {
		got = GetInts(f, "x", got)
	}
	if !reflect.DeepEqual(got, []int{5, 6, 7}) || !f.OK() {
		t.Error(got, f.Err())
	}
}

func TestCodecErrors(t *testing.T) {
	nested := func() []byte {
		b, mark := Begin(nil, 1)
		return End(append(b, AppendInt(nil, 2, 300)...), mark)
	}
	tests := []struct {
		name string
		data []byte
		read func(f *Fields)
		want string
	}{
		{"cut", []byte{0x08}, func(*Fields) {}, "the data is cut short"},
		{"length", []byte{0x0a, 5, 1}, func(*Fields) {}, "the data is cut short"},
		{"huge length", append([]byte{0x0a}, bytes.Repeat([]byte{0xff}, 9)...), func(*Fields) {}, "the data is cut short"},
		{"fixed", []byte{0x0d, 1, 2}, func(*Fields) {}, "the data is cut short"},
		{"field 0", []byte{0x00, 1}, func(*Fields) {}, "the data is damaged"},
		{"group", []byte{0x0b, 0x0c}, func(*Fields) {}, "the data is damaged"},
		{"kind", AppendString(nil, 1, "x"), func(f *Fields) { GetInt[int](f, "a") }, "a: it has another type"},
		{"int8", AppendInt(nil, 1, 128), func(f *Fields) { GetInt[int8](f, "a") }, "a: 128 does not fit int8"},
		{"uint16", AppendUint(nil, 1, uint(65536)), func(f *Fields) { GetUint[uint16](f, "a") }, "a: 65536 does not fit uint16"},
		{"packed", AppendInts(nil, 1, []int{1, 200}), func(f *Fields) { GetInts(f, "a", []int8(nil)) }, "a: 200 does not fit int8"},
		{"packed cut", []byte{0x0a, 1, 0x80}, func(f *Fields) { GetInts(f, "a", []int8(nil)) }, "a: the data is cut short"},
		{"text", AppendString(nil, 1, "\xff"), func(f *Fields) { GetString[string](f, "a") }, "a: it is not UTF-8 text"},
		{"path", nested(), func(f *Fields) {
			end := f.Enter()
			for f.Next() {
				GetInt[int8](f, "inner")
			}
			f.Leave(end, "outer")
		}, "outer.inner: 300 does not fit int8"},
		{"no message", AppendInt(nil, 1, 1), func(f *Fields) { f.Leave(f.Enter(), "outer") }, "outer: it has another type"},
		{"nanos", func() []byte {
			b, mark := Begin(nil, 1)
			return End(AppendUint(b, 2, uint(1e9)), mark)
		}(), func(f *Fields) { GetTime(f, "at") }, "at: the nanoseconds are out of range"},
	}
	for _, tt := range tests {
		f := NewFields(tt.data)
		for f.Next() {
			tt.read(f)
		}
		if f.OK() || f.Err().Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, f.Err(), tt.want)
		}
	}
}

// A view refers to the message, a copy does not; who appends to bytes writes into neither.
func TestView(t *testing.T) {
	for name, open := range map[string]func([]byte) *Fields{"XXXX XXXXX": NewView, "text bytes": NewFields} {
		data := AppendInt(AppendBytes(AppendString(nil, 1, "text"), 2, []byte("bytes")), 3, 1)
		f, text, raw, number := open(data), "", []byte(nil), 0
		for f.Next() {
			switch f.ID {
			case 1:
				text = GetString[string](f, "text")
			case 2:
				raw = GetBytes[[]byte](f, "raw")
				_ = append(raw, 0xff)
			case 3:
				number = GetInt[int](f, "number")
			}
		}
		for i := range data {
			data[i] = 'X'
		}
		if got := text + " " + string(raw); !f.OK() || got != name || number != 1 {
			t.Errorf("%s, want %s; %d %v", got, name, number, f.Err())
		}
	}
}

// What a value had before is used again.
func TestReuse(t *testing.T) {
	type value struct {
		list  []string
		byKey map[string]int
		some  *int
	}
	b, mark := Begin(AppendString(AppendString(nil, 1, "a"), 1, "b"), 2)
	data := AppendInt(End(AppendInt(AppendString(b, 1, "k"), 2, 7), mark), 3, 5)
	var v value
	decode := func() {
		f := NewView(data)
		Keep(f, v.some)
		v = value{list: v.list[:0], byKey: Clear(v.byKey)}
		for f.Next() {
			switch f.ID {
			case 1:
				*Add(f, &v.list) = GetString[string](f, "list")
			case 2:
				key, n, end := "", 0, f.Enter()
				for f.Next() {
					if f.ID == 1 {
						key = GetString[string](f, "key")
					} else {
						n = GetInt[int](f, "value")
					}
				}
				f.Leave(end, "byKey")
				Put(f, &v.byKey, key, n)
			case 3:
				v.some = New[int](f)
				*v.some += GetInt[int](f, "some")
			}
		}
		if !f.OK() || !reflect.DeepEqual(v, value{[]string{"a", "b"}, map[string]int{"k": 7}, new(5)}) {
			t.Fatal(v, f.Err())
		}
	}
	decode()
	list, some := &v.list[0], v.some
	if decode(); &v.list[0] != list || v.some != some {
		t.Error("the list or the optional is a new one")
	}
}

// A list has room at once for as many elements as follow.
func TestReserve(t *testing.T) {
	var b []byte
	for i := range 300 {
		b = AppendString(b, 1, strings.Repeat("x", i))
	}
	f, s := NewFields(AppendInt(b, 2, 1)), []string(nil)
	f.Next()
	if Add(f, &s); cap(s) < 300 || cap(s) > 350 {
		t.Errorf("room for %d", cap(s))
	}
}

func TestRoom(t *testing.T) {
	var r Room
	for _, tt := range []struct{ used, want int }{{100, 104}, {27, 104}, {10, 16}, {1 << 20, maxRoom}, {maxRoom, maxRoom}} {
		r.Done(make([]byte, tt.used))
		if b := r.Buffer(); len(b) != 0 || cap(b) != tt.want {
			t.Errorf("after %d bytes: room for %d, want %d", tt.used, cap(b), tt.want)
		}
	}
}

// walk reads a message in every way that fits, and goes into what may be a message.
func walk(f *Fields, n *int) {
	for f.Next() {
		*n++
		switch f.ID {
		case 1:
			end := f.Enter()
			walk(f, n)
			f.Leave(end, "m")
		case 2:
			*n += len(GetInts(f, "i", []int64(nil)))
		case 3:
			*n += len(GetFloat64s(f, "f", []float64(nil)))
		case 4:
			*n += len(GetString[string](f, "s"))
		case 5:
			GetTime(f, "t")
		case 6:
			*n += len(GetBytes[[]byte](f, "b"))
		}
	}
}

func TestCodecDepth(t *testing.T) {
	for depth, ok := range map[int]bool{MaxDepth: true, MaxDepth + 1: false} {
		var b []byte
		for range depth {
			b = AppendBytes(nil, 1, b)
		}
		f, n := NewFields(b), 0
		if walk(f, &n); f.OK() != ok {
			t.Errorf("depth %d: %v", depth, f.Err())
		}
	}
}

func FuzzFields(f *testing.F) {
	f.Add(AppendInts(nil, 2, []int{1, 2, 3}))
	f.Add(AppendTime(AppendString(nil, 4, "x"), 5, time.Unix(1, 2)))
	f.Add(AppendBytes(nil, 1, AppendBytes(nil, 1, AppendInt(nil, 2, 1))))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		walk(NewFields(data), &n)
		if n > 2*len(data) {
			t.Errorf("%d elements from %d bytes", n, len(data))
		}
	})
}

func BenchmarkFields(b *testing.B) {
	request := AppendInt(AppendInt(nil, 1, 3), 2, 4)
	b.ReportAllocs()
	for b.Loop() {
		f, sum := NewFields(request), int64(0)
		for f.Next() {
			sum += GetInt[int64](f, "a")
		}
		if sum != 7 {
			b.Fatal(sum)
		}
	}
}

// JSON that is not UTF-8 is no JSON, although package json takes it.
func TestJSONIsText(t *testing.T) {
	for data, ok := range map[string]bool{`"ü"`: true, "\"\xff\"": false, `{`: false, "": true} {
		f := NewFields(AppendBytes(nil, 1, []byte(data)))
		for f.Next() {
			GetJSON(f, "j")
		}
		if f.OK() != ok {
			t.Errorf("%q: %v", data, f.Err())
		}
	}
}
