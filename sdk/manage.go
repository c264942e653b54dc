package sdk

import (
	"context"
	"iter"
	"time"

	"github.com/cell-network/cell/sdk/broker"
)

// A cell manages the cells below it with the functions of this file: it names them as its cell.toml does in [cells], or in
// full. A program that is no cell manages those of its user, by their full names. The errors are *broker.Error when celld
// refuses, and those of ctx; celld is waited for while it is replaced.

// Spawn starts a cell that was stopped, with all below it, and waits until it is ready.
func Spawn(ctx context.Context, name string) error {
	return broker.Do(ctx, broker.Request{Op: broker.OpSpawn, Target: name})
}

// Stop stops a cell with all below it. It stays stopped, over a reboot too, until it is spawned.
func Stop(ctx context.Context, name string) error {
	return broker.Do(ctx, broker.Request{Op: broker.OpStop, Target: name})
}

// Replicate makes n replicas of a cell run, at least one; calls take turns among them. A number that does not fit the limits
// of the cells above is refused. What cell.toml says counts again with the next cell mitosis.
func Replicate(ctx context.Context, name string, n int) error {
	return broker.Do(ctx, broker.Request{Op: broker.OpReplicate, Target: name, Number: uint64(max(n, 0))})
}

// Happening is what happened to a cell.
type Happening string

// What happens to cells. Others may come with a newer celld.
const (
	Born     Happening = "born"     // its socket was opened: callers reach it
	Ready    Happening = "ready"    // its program runs and answers
	Died     Happening = "died"     // its program failed; Cause says how
	Asleep   Happening = "asleep"   // its program ended because it had nothing to do, or was told to
	Replaced Happening = "replaced" // a new version or definition took its place
	Gone     Happening = "gone"     // its socket was closed
)

// Event is something that happened to an instance of a cell.
type Event struct {
	Cell  string // full name, with ":N" from the second replica on
	What  Happening
	Cause string
	Time  time.Time
}

// Watch yields what happens from now on to a cell and to all below it; the empty name stands for all below the caller. The
// range ends with an error when celld goes, or when it is too slow for the events, or with that of ctx: who wants to go on
// looks at what there is and watches anew.
func Watch(ctx context.Context, name string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		err := broker.Watch(ctx, name, func(a broker.Answer) bool {
			return yield(Event{a.Instance, Happening(a.Event), a.Message, time.Unix(0, a.Time)}, nil)
		})
		if err != nil {
			yield(Event{}, err)
		}
	}
}
