// Package hosttest gives tests an embedded manager of their own.
package hosttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/cell-network/cell/internal/host"
)

// Main is what a test's TestMain calls: the test binary itself becomes the init of an embedded manager when it is asked to.
func Main(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "host-init" {
		if err := host.Init(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Up brings up a manager with its state in a directory of the test's own, for ten minutes at most, and ends it with the test.
// Where none can run it skips, or fails under CELL_TEST_REQUIRE.
func Up(t *testing.T) (h *host.Host, state string, ctx context.Context) {
	t.Helper()
	state = t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	h, err := host.Ensure(ctx, host.Embedded, "/bin/true")
	var lacks *host.Error
	if errors.As(err, &lacks) && os.Getenv("CELL_TEST_REQUIRE") == "" {
		t.Skip(lacks)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return h, state, ctx
}
