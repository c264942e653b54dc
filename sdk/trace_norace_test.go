//go:build !race

package sdk_test

import (
	"context"
	"testing"

	"github.com/cell-network/cell/sdk/stub"
)

// Without a tracer a call allocates as often as before there were any, at both ends together.
func TestUntracedCallAllocates(t *testing.T) {
	c := cellOf(t, "c", stub.Method{ID: 1, Name: "Echo", Call: func(_ context.Context, b []byte) ([]byte, error) { return b, nil }})
	ctx, request := t.Context(), make([]byte, 32)
	for name, call := range map[string]func(context.Context, *stub.Client, uint32, string, []byte) ([]byte, error){"Call": stub.Call, "Repeat": stub.Repeat} {
		n := testing.AllocsPerRun(500, func() {
			if _, err := call(ctx, c, 1, "Echo", request); err != nil {
				t.Fatal(err)
			}
		})
		if n > 8 {
			t.Errorf("%s: %v allocations, want 8", name, n)
		}
	}
}
