package wire

import (
	"encoding/hex"
	"errors"
	"strings"
)

// Span is where in its trace a call is made: parent-id and trace-flags of a W3C traceparent. It goes ahead of its CALL, in a frame of
// its own that who does not know it skips.
type Span struct {
	ID    [8]byte // all zero: none
	Flags uint8
}

// Sampled is the bit of Span.Flags that says that the span is recorded.
const Sampled = 1

const (
	spanSize = 9
	maxSpan  = 64
)

// add queues the frame; w.mu is held.
func (s Span) add(w *writer, id uint64) {
	var b [spanSize]byte
	copy(b[:], s.ID[:])
	b[8] = s.Flags
	w.add(header{kind: typeSpan, flags: flagIgnorable, id: id}, nil, b[:], false)
}

// ahead is the span of a CALL that comes next.
type ahead struct {
	id   uint64 // of the call
	span Span
}

func (c *serverConn) span(h header) error {
	b, err := c.r.payload(h)
	if err == nil {
		c.ahead = ahead{id: h.id, span: Span{ID: [8]byte(b), Flags: b[8]}}
	}
	return err
}

// of is the span of a call, which may have none.
func (a ahead) of(id uint64) Span {
	if a.id != id {
		return Span{}
	}
	return a.span
}

// ParseTraceParent reads a traceparent header of W3C's Trace Context.
func ParseTraceParent(header string) (trace [16]byte, s Span, ok bool) {
	parts := strings.Split(strings.TrimSpace(header), "-")
	if len(parts) < 4 || len(parts[0]) != 2 || parts[0] == "ff" || len(parts) > 4 && parts[0] == "00" {
		return trace, s, false
	}
	if known := strings.Join(parts[:4], ""); known != strings.ToLower(known) {
		return trace, s, false
	}
	version, err0 := hex.DecodeString(parts[0])
	id, err1 := hex.DecodeString(parts[1])
	parent, err2 := hex.DecodeString(parts[2])
	flags, err3 := hex.DecodeString(parts[3])
	if err := errors.Join(err0, err1, err2, err3); err != nil || len(version) != 1 || len(id) != 16 || len(parent) != 8 || len(flags) != 1 {
		return trace, s, false
	}
	trace, s = [16]byte(id), Span{ID: [8]byte(parent), Flags: flags[0]}
	if trace == [16]byte{} || s.ID == [8]byte{} {
		return [16]byte{}, Span{}, false
	}
	return trace, s, true
}
