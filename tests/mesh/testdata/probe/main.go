// Command probe is a cell that the tests of the mesh call from other machines.
package main

import (
	"context"
	"fmt"
	"iter"
	"os"

	"github.com/cell-network/cell/sdk"
)

// Probe answers about itself and its callers.
type Probe struct{}

// Refused is an error of the cell's own.
type Refused struct{ Code int64 }

func (e *Refused) Error() string { return "refused on purpose" }

// Where returns the id of the process, and who calls as name, node and user.
func (Probe) Where(ctx context.Context) (pid int64, caller string, err error) {
	who, _ := sdk.Caller(ctx)
	return int64(os.Getpid()), fmt.Sprintf("%q@%q uid %d", who.Cell, who.Node, who.UID), nil
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
