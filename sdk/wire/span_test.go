package wire

import (
	"context"
	"testing"
)

// spanFrame builds a SPAN by hand.
func spanFrame(id uint64, parent byte, more ...byte) []byte {
	return frame(typeSpan, flagIgnorable, id, append([]byte{0, 0, 0, 0, 0, 0, 0, parent, Sampled}, more...))
}

// A span belongs to the call that has its id, and to no other one.
func TestSpan(t *testing.T) {
	got := make(chan Span, 1)
	f := serve(t, func(s *Server) {
		s.Handler = func(_ context.Context, r Request) ([]byte, error) { got <- r.Span; return nil, nil }
	})
	span := func(n byte) Span { return Span{ID: [8]byte{7: n}, Flags: Sampled} }

	c := f.dial(t)
	for _, want := range []Span{span(1), {}, span(2), {ID: [8]byte{1}}} {
		if _, err := c.Do(t.Context(), Call{Method: mEcho, Span: want}); err != nil || <-got != want {
			t.Errorf("%v, %v was not what arrived", err, want)
		}
	}

	nc := f.raw(t)
	for _, test := range []struct {
		name   string
		frames []byte
		want   Span
	}{
		{"ahead of its call", frames(helloFrame(), spanFrame(1, 5), callFrame(1, mEcho, nil)), span(5)},
		{"ahead of no call", frames(spanFrame(2, 5), callFrame(3, mEcho, nil)), Span{}},
		{"behind its call", callFrame(4, mEcho, nil), Span{}},
		{"behind the call before", frames(spanFrame(4, 5), callFrame(5, mEcho, nil)), Span{}},
		{"the later of two", frames(spanFrame(6, 5), spanFrame(6, 6), frame(typePing, 0, 0, nil), callFrame(6, mEcho, nil)), span(6)},
		{"with more than is known", frames(spanFrame(7, 5, make([]byte, maxSpan-spanSize)...), callFrame(7, mEcho, nil)), span(5)},
	} {
		if _, err := nc.Write(test.frames); err != nil {
			t.Fatal(err)
		}
		if s := <-got; s != test.want {
			t.Errorf("%s: %v, want %v", test.name, s, test.want)
		}
	}
}

func TestSpanThatIsTooShortOrLong(t *testing.T) {
	for _, size := range []int{0, spanSize - 1, maxSpan + 1} {
		var h [headerSize]byte
		copy(h[:], appendHeader(nil, header{length: uint32(size), kind: typeSpan, flags: flagIgnorable, id: 1}))
		if _, err := parseHeader(&h); err == nil {
			t.Errorf("%d bytes are taken", size)
		}
	}
}

func TestTraceParent(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	trace, span, ok := ParseTraceParent(" " + good)
	if !ok || trace[0] != 0x4b || trace[15] != 0x36 || span != (Span{ID: [8]byte{0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7}, Flags: 1}) {
		t.Errorf("%x %v %v", trace, span, ok)
	}
	if _, _, ok := ParseTraceParent("cc" + good[2:] + "-what-comes-later"); !ok {
		t.Error("a later version is refused")
	}
	for _, bad := range []string{
		"", good[:54], good + "0", good + "-00", "ff" + good[2:], "0x" + good[2:], "00-4BF92F3577B34DA6A3CE929D0E0E4736" + good[35:],
		"00-00000000000000000000000000000000" + good[35:], good[:36] + "0000000000000000-01", "00-" + good[4:], good[:53] + "0g",
	} {
		if trace, span, ok := ParseTraceParent(bad); ok || trace != [16]byte{} || span != (Span{}) {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzTraceParent(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Add("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-more")
	f.Add("----")
	f.Fuzz(func(t *testing.T, header string) {
		trace, span, ok := ParseTraceParent(header)
		if ok == (trace == [16]byte{}) || ok == (span.ID == [8]byte{}) {
			t.Errorf("%q: %x %v %v", header, trace, span, ok)
		}
	})
}
