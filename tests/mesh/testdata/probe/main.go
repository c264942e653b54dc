// Command probe is a cell that the tests of the mesh call from other machines.
package main

import (
	"context"
	"fmt"
	"iter"
	"os"
	"time"

	"github.com/cell-network/cell/sdk"
)

// Probe answers about itself and its callers.
type Probe struct{}

// Refused is an error of the cell's own.
type Refused struct{ Code int64 }

func (e *Refused) Error() string { return "refused on purpose" }

// began tells one process from the next: in its own namespace each is process 2.
var began = time.Now().UnixNano()

// Where returns when the process began, and who calls as name, node and user.
func (Probe) Where(ctx context.Context) (run int64, caller string, err error) {
	who, _ := sdk.Caller(ctx)
	return began, fmt.Sprintf("%q@%q uid %d", who.Cell, who.Node, who.UID), nil
}

// Home returns the directory that the cell runs in.
//
//cell:repeatable
func (Probe) Home(ctx context.Context) (dir string, err error) { return os.Getenv("CELL_DIR"), nil }

// Count returns the numbers up to n as a stream.
func (Probe) Count(ctx context.Context, n int64) (iter.Seq2[int64, error], error) {
	return func(yield func(int64, error) bool) {
		for i := range n {
			if !yield(i+1, nil) {
				return
			}
		}
	}, nil
}

// Refuse always fails.
func (Probe) Refuse(ctx context.Context, code int64) error { return &Refused{code} }

// Wait ends with its caller.
func (Probe) Wait(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func main() { sdk.Main(Probe{}) }
