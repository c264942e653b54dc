package sdk

import (
	"testing"

	"github.com/cell-network/cell/sdk/internal/meta"
	"github.com/cell-network/cell/sdk/trace"
)

func TestMeta(t *testing.T) {
	const id = "0af7651916cd43dd8448eb211c80319c"
	ctx := t.Context()
	if trace.ID(ctx) != "" || Priority(ctx) != 0 {
		t.Error("a context of no call has a trace or a priority")
	}
	ctx = WithPriority(trace.WithID(ctx, id), 7)
	if m := meta.Begin(ctx); trace.ID(ctx) != id || Priority(ctx) != 7 || m.Priority != 7 {
		t.Errorf("%s %d", trace.ID(ctx), Priority(ctx))
	}
	for _, bad := range []string{"", "x", id[:30], id + "00"} {
		if trace.ID(trace.WithID(ctx, bad)) != id {
			t.Errorf("%q was taken", bad)
		}
	}
	if a, b := meta.Begin(t.Context()), meta.Begin(t.Context()); a.Trace == b.Trace {
		t.Error("two calls that nothing caused have one trace")
	}
}
