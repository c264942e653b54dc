package sdk

import (
	"context"

	"github.com/cell-network/cell/sdk/internal/meta"
	"github.com/cell-network/cell/sdk/replicas"
)

// Race makes the calls with the context, of methods that are safe to repeat, at all replicas at once that the client is
// connected to, four at most. The first answer counts and the other calls are canceled.
func Race(ctx context.Context) context.Context { return replicas.Race(ctx) }

// Reuse makes the items of streams that are received with the context share memory: an item is good until the next one is asked
// for, and who keeps a part of it copies that. A range over many items then allocates little.
func Reuse(ctx context.Context) context.Context { return meta.Reuse(ctx) }

// Priority is that of the call being served, 0 when it is ordinary.
func Priority(ctx context.Context) uint8 { return meta.Of(ctx).Priority }

// WithPriority gives a priority to the calls made with the context and to all that they cause.
func WithPriority(ctx context.Context, p uint8) context.Context {
	m := meta.Of(ctx)
	m.Priority = p
	return meta.With(ctx, m)
}
