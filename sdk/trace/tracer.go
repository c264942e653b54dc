package trace

import (
	"context"
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

// tracer is what Set set, nil without.
var tracer atomic.Pointer[Tracer]

// Set gives t the spans of the calls that begin from now on; sdk.Main stops it in the end. Nil turns that off.
func Set(t Tracer) {
	if t == nil {
		tracer.Store(nil)
		return
	}
	tracer.Store(&t)
}

// Current is what Set set last, nil without.
func Current() Tracer {
	if t := tracer.Load(); t != nil {
		return *t
	}
	return nil
}
