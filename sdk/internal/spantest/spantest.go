// Package spantest records the spans of a test.
package spantest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cell-network/cell/sdk/trace"
	"github.com/cell-network/cell/sdk/wire"
)

// Recorder is a Tracer that keeps what it gets.
type Recorder struct {
	Never bool // samples nothing

	mu    sync.Mutex
	spans []*trace.Span
}

// Sampled, Serves, Stop and End make it a Tracer.
func (r *Recorder) Sampled(_ [16]byte, parent wire.Span) bool { return !r.Never }

// Serves does nothing.
func (r *Recorder) Serves(string) {}

// Stop does nothing.
func (r *Recorder) Stop(context.Context) {}

// End keeps the span.
func (r *Recorder) End(s *trace.Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = append(r.spans, s)
}

// Record makes a recorder the tracer of a test.
func Record(t testing.TB) *Recorder {
	r := &Recorder{}
	trace.Set(r)
	t.Cleanup(func() { trace.Set(nil) })
	return r
}

// Reset forgets what came.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = nil
}

// Spans are those that came, in the order in which they began.
func (r *Recorder) Spans() []*trace.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	spans := slices.Clone(r.spans)
	slices.SortStableFunc(spans, func(a, b *trace.Span) int { return a.Begun.Compare(b.Begun) })
	return spans
}

// Wait returns the spans when there are so many.
func (r *Recorder) Wait(t testing.TB, n int) []*trace.Span {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		spans := r.Spans()
		if len(spans) >= n {
			return spans
		}
		if time.Now().After(end) {
			t.Fatalf("%d spans, want %d", len(spans), n)
		}
	}
}

// Side says whose a span is and what it is about.
func Side(s *trace.Span) string {
	side := "calls"
	if s.Served {
		side = "served"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", side, s.Cell, s.Method, s.Status, s.Error))
}
