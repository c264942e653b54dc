// Audit writes down what happened: what it is told as an event, and what it hears from a topic.
package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cell-network/cell/examples/shop/audit/cells/users"
	"github.com/cell-network/cell/sdk"
)

// Audit keeps the last entries in memory.
type Audit struct {
	mu      sync.Mutex
	entries []Entry
}

// Entry is something that happened.
type Entry struct{ Who, What string }

// Record writes an entry. It is an event: nobody waits for it.
func (a *Audit) Record(ctx context.Context, e Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entries = append(a.entries, e)
	a.entries = a.entries[max(0, len(a.entries)-1000):]
}

// Entries returns what was written, oldest first.
func (a *Audit) Entries(ctx context.Context) []Entry {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Entry(nil), a.entries...)
}

// hear writes down who registers, and listens anew whenever the cell of users goes away.
func (a *Audit) hear(ctx context.Context) {
	for ; ; time.Sleep(time.Second) {
		known, err := users.Dial(ctx)
		if err != nil {
			slog.Warn("listen to users", "error", err)
			continue
		}
		for user, err := range known.Registered(ctx) {
			if missed, ok := errors.AsType[*sdk.Missed](err); ok {
				a.Record(ctx, Entry{"", missed.Error()})
				continue
			}
			if err != nil {
				slog.Warn("listen to users", "error", err)
				break
			}
			a.Record(ctx, Entry{user.Name, "registered"})
		}
		sdk.Close(known)
	}
}

func main() {
	a := &Audit{}
	go a.hear(context.Background())
	sdk.Main(a)
}
