package sdk

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cell-network/cell/sdk/wire"
)

// Span is one call as one side of it saw it. It never has what the call was about: neither arguments, results nor the texts of errors.
type Span struct {
	Trace  [16]byte
	ID     [8]byte
	Parent [8]byte // all zero for the first of its trace

	Served bool   // by this process, which else made the call
	Cell   string // that serves: its full name, or what cell.toml calls it while it was not reached
	Method string // "_OTHER" when the cell has no such method
	Peer   string // the instance at the other end; empty when that is no cell, or was not reached
	Begun  time.Time
	Ended  time.Time

	Status   string    // "ok", or the code as in cell metrics; "down" and "incompatible" for a cell that was not reached
	Error    string    // type of the cell's own error, when the status is "application"
	Attempts []Attempt // of a call that was made: several when it was made again, or at several replicas at once

	to Tracer
}

// Attempt is a call as it was made at one replica.
type Attempt struct {
	Peer string
	At   time.Time
}

// Tracer gets the spans of this process; package otlp has one. Its methods are called by many goroutines.
type Tracer interface {
	// Sampled decides whether a call is recorded. The parent has no ID when the call is the first of its trace. It must not wait.
	Sampled(trace [16]byte, parent wire.Span) bool
	// End takes a span that has ended; it is the tracer's from then on. It must not wait.
	End(*Span)
	// Serves tells the version of the cell that this process is about to serve.
	Serves(version string)
	// Stop delivers what is left, as far as ctx allows.
	Stop(ctx context.Context)
}

// tracer is what SetTracer set, nil without.
var tracer atomic.Pointer[Tracer]

// SetTracer gives t the spans of the calls that begin from now on; Main stops it in the end. Nil turns that off.
func SetTracer(t Tracer) {
	if t == nil {
		tracer.Store(nil)
		return
	}
	tracer.Store(&t)
}

// traceWithin is how long the end of a process waits for its last spans: systemd leaves half a second beside CELL_STOP_WITHIN, and
// callers may be waiting for the next process.
const traceWithin = 300 * time.Millisecond

func stopTracer() {
	if t := tracer.Load(); t != nil {
		ctx, cancel := context.WithTimeout(context.Background(), traceWithin)
		defer cancel()
		(*t).Stop(ctx)
	}
}

// beginSpan begins a span within at, which is the new one afterwards; it returns nil when nothing is recorded. What is not recorded
// hands its parent on, and where there is none, an id that tells whom it calls that this trace is not.
func beginSpan(t Tracer, trace [16]byte, at *wire.Span) *Span {
	parent, sampled := at.ID, t.Sampled(trace, *at)
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
	return &Span{Trace: trace, ID: at.ID, Parent: parent, Begun: time.Now(), to: t}
}

// serving begins the span of a call that is served; m is nil when there is no such method. r is then within that span.
func serving(cell string, m *Method, r *wire.Request) *Span {
	t := tracer.Load()
	if t == nil {
		return nil
	}
	if r.Trace == [16]byte{} {
		_, _ = rand.Read(r.Trace[:]) // never fails
	}
	s := beginSpan(*t, r.Trace, &r.Span)
	if s == nil {
		return nil
	}
	s.Served, s.Cell, s.Method = true, cell, "_OTHER"
	if m != nil {
		s.Method = m.Name
	}
	if p, _ := r.Peer.(*peer); p != nil {
		s.Peer = p.instance
	}
	return s
}

// calling begins the span of a call that is made, and returns the context to make it with.
func (c *Client) calling(ctx context.Context, method string) (context.Context, *Span) {
	t := tracer.Load()
	if t == nil {
		return ctx, nil
	}
	m := metaOf(ctx)
	s := beginSpan(*t, m.trace, &m.span)
	if s != nil {
		s.Cell, s.Method = c.target, method
	}
	return withMeta(ctx, m), s
}

// attempt notes that the call is made at a replica. All methods may be called on nil, which is a call that is not recorded.
func (s *Span) attempt(replica string) {
	if s != nil {
		s.Attempts = append(s.Attempts, Attempt{replica, time.Now()})
		s.answered(replica)
	}
}

// answered says at which replica the call ended.
func (s *Span) answered(replica string) {
	if s != nil && replica != "" {
		s.Peer = replica
		s.Cell, _, _ = strings.Cut(replica, ":")
	}
}

// fail says with which error the call ended; the first one counts.
func (s *Span) fail(err error) {
	if s != nil && s.Status == "" && err != nil {
		s.Status, s.Error = statusOf(err)
	}
}

// end gives the span away: nothing may be done with it afterwards.
func (s *Span) end(err error) {
	if s == nil {
		return
	}
	if s.fail(err); s.Status == "" {
		s.Status = statusName(0)
	}
	s.Ended = s.Begun.Add(time.Since(s.Begun)) // by the monotonic clock: never before it began
	s.to.End(s)
}

// statusName is a code's name in cell metrics.
func statusName(c wire.Code) string {
	if c == 0 {
		return "ok"
	}
	if c > wire.CodeDeadlineExceeded {
		c = wire.CodeRemote
	}
	return strings.ReplaceAll(strings.TrimSuffix(c.String(), " error"), " ", "_")
}

// statusOf names what a method was answered with, or what its caller is given.
func statusOf(err error) (status, own string) {
	code := wire.CodeRemote
	switch e := err.(type) {
	case *wire.Error:
		code, own = e.Code, e.Name
	case *MethodError:
		code, own = wire.CodeApplication, fmt.Sprintf("%T", e.Err)
		own = own[strings.LastIndexAny(own, ".*")+1:]
	case *Down:
		return "down", ""
	case *Incompatible:
		return "incompatible", ""
	case *Denied:
		code = wire.CodeDenied
	case *Overloaded:
		code = wire.CodeOverloaded
	case *InvalidRequest:
		code = wire.CodeInvalidRequest
	case *itemError: // the caller's own, who so gave the call up
		code = wire.CodeCanceled
	default:
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			code = wire.CodeDeadlineExceeded
		case errors.Is(err, context.Canceled):
			code = wire.CodeCanceled
		}
	}
	return statusName(code), own
}

// fullName is that of the cell that this process is, without the number of the replica.
func fullName(otherwise string) string {
	if name, _, _ := strings.Cut(os.Getenv("CELL_NAME"), ":"); name != "" {
		return name
	}
	return otherwise
}
