// Package spans records the calls of this process for its tracer. A nil *Recording is a call that is not recorded; all methods may
// be called on it.
package spans

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"github.com/cell-network/cell/sdk/internal/meta"
	"github.com/cell-network/cell/sdk/trace"
	"github.com/cell-network/cell/sdk/wire"
)

// Recording is a span that has not ended.
type Recording struct {
	span *trace.Span
	to   trace.Tracer
}

// begin begins a span within at, which is the new one afterwards; it returns nil when nothing is recorded. What is not recorded
// hands its parent on, and where there is none, an id that tells whom it calls that this trace is not.
func begin(t trace.Tracer, id [16]byte, at *wire.Span) *Recording {
	parent, sampled := at.ID, t.Sampled(id, *at)
	if at.Flags &^= wire.Sampled; sampled {
		at.Flags |= wire.Sampled
	} else if parent != [8]byte{} {
		return nil
	}
	for at.ID == parent || at.ID == [8]byte{} {
		binary.BigEndian.PutUint64(at.ID[:], mathrand.Uint64())
	}
	if !sampled {
		return nil
	}
	return &Recording{&trace.Span{Trace: id, ID: at.ID, Parent: parent, Begun: time.Now()}, t}
}

// Serving begins the span of a call that is served; method is empty when there is no such method. r is then within that span. The
// caller of the method is the instance peer, or no cell where that is empty.
func Serving(cell, method, peer string, r *wire.Request) *Recording {
	t := trace.Current()
	if t == nil {
		return nil
	}
	if r.Trace == [16]byte{} {
		_, _ = rand.Read(r.Trace[:]) // never fails
	}
	s := begin(t, r.Trace, &r.Span)
	if s == nil {
		return nil
	}
	if method == "" {
		method = "_OTHER"
	}
	s.span.Served, s.span.Cell, s.span.Method, s.span.Peer = true, cell, method, peer
	return s
}

// Calling begins the span of a call that is made, and returns the context to make it with.
func Calling(ctx context.Context, cell, method string) (context.Context, *Recording) {
	t := trace.Current()
	if t == nil {
		return ctx, nil
	}
	m := meta.Begin(ctx)
	s := begin(t, m.Trace, &m.Span)
	if s != nil {
		s.span.Cell, s.span.Method = cell, method
	}
	return meta.With(ctx, m), s
}

// Attempt notes that the call is made at a replica.
func (s *Recording) Attempt(replica string) {
	if s != nil {
		s.span.Attempts = append(s.span.Attempts, trace.Attempt{Peer: replica, At: time.Now()})
		s.Answered(replica)
	}
}

// Answered says at which replica the call ended.
func (s *Recording) Answered(replica string) {
	if s != nil && replica != "" {
		s.span.Peer = replica
		s.span.Cell, _, _ = strings.Cut(replica, ":")
	}
}

// Fail says how the call ended and, when that is an error of the cell's own, of which type; the first one counts. An empty status is
// none.
func (s *Recording) Fail(status, own string) {
	if s != nil && s.span.Status == "" {
		s.span.Status, s.span.Error = status, own
	}
}

// End gives the span away: nothing may be done with it afterwards. A call that did not fail is ok.
func (s *Recording) End() {
	if s == nil {
		return
	}
	s.Fail(Status(0), "")
	s.span.Ended = s.span.Begun.Add(time.Since(s.span.Begun)) // by the monotonic clock: never before it began
	s.to.End(s.span)
}

// Status is a code's name in cell metrics.
func Status(c wire.Code) string {
	if c == 0 {
		return "ok"
	}
	if c > wire.CodeDeadlineExceeded {
		c = wire.CodeRemote
	}
	return strings.ReplaceAll(strings.TrimSuffix(c.String(), " error"), " ", "_")
}

// within is how long the end of a process waits for its last spans: systemd leaves half a second beside CELL_STOP_WITHIN, and
// callers may be waiting for the next process.
const within = 300 * time.Millisecond

// Stop lets the tracer deliver what is left.
func Stop() {
	if t := trace.Current(); t != nil {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		t.Stop(ctx)
	}
}
