// Standby goes on when what it depends on dies: it starts another one of its own cells and takes that.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cell-network/cell/examples/standby/cells/primary"
	"github.com/cell-network/cell/sdk"
)

// Standby asks the primary, or the spare when the primary is away.
type Standby struct {
	mu     sync.Mutex
	client *primary.Primary
	name   string // of the cell that client is connected to
	events []string
}

// Answer has a question answered, and says by whom.
func (s *Standby) Answer(ctx context.Context, question string) (string, error) {
	c, err := s.take(ctx, "primary")
	if err == nil {
		var answer string
		if answer, err = c.Answer(ctx, question); err == nil {
			return answer, nil
		}
	}
	// A question may be asked twice; who is asked to pay would look at sdk.MayHaveRun first.
	if _, down := errors.AsType[*sdk.Down](err); !down {
		return "", err
	}
	if err := sdk.Spawn(ctx, "spare"); err != nil {
		return "", err
	}
	if c, err = s.take(ctx, "spare"); err != nil {
		return "", err
	}
	return c.Answer(ctx, question)
}

// take returns the client in use, connected to the cell of that name when there is none, or none that works.
func (s *Standby) take(ctx context.Context, name string) (*primary.Primary, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil && (name == "primary" || s.name == name) {
		return s.client, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := primary.Dial(ctx, sdk.To(name))
	if err != nil {
		return nil, err
	}
	if s.client != nil {
		sdk.Close(s.client)
	}
	s.client, s.name = c, name
	return c, nil
}

// Events are what happened to the cells below.
func (s *Standby) Events(ctx context.Context) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events
}

// Scale makes n of the spare.
func (s *Standby) Scale(ctx context.Context, n int) error { return sdk.Replicate(ctx, "spare", n) }

// Pause stops the spare.
func (s *Standby) Pause(ctx context.Context) error { return sdk.Stop(ctx, "spare") }

// Reach tries to stop a cell that is not below this one.
func (s *Standby) Reach(ctx context.Context, other string) string {
	return fmt.Sprint(sdk.Stop(ctx, other))
}

// watch notes what happens to the cells below, and goes back to the primary when it is there again.
func (s *Standby) watch(ctx context.Context) {
	for ; ; time.Sleep(time.Second) {
		for e, err := range sdk.Watch(ctx, "") {
			if err != nil {
				slog.Warn("watch", "error", err)
				break
			}
			s.mu.Lock()
			s.events = append(s.events, fmt.Sprintf("%s %s %s", e.Cell, e.What, e.Cause))
			s.events = s.events[max(0, len(s.events)-100):]
			if e.Cell == "standby.primary" && e.What == sdk.Ready && s.client != nil && s.name == "spare" {
				sdk.Close(s.client)
				s.client = nil
			}
			s.mu.Unlock()
		}
	}
}

func main() {
	s := &Standby{}
	go s.watch(context.Background())
	sdk.Main(s)
}
