// Package meta carries with a context what a call hands on to the calls that it causes. The deadline of a call and its end are
// those of its context.
package meta

import (
	"context"
	"crypto/rand"

	"github.com/cell-network/cell/sdk/wire"
)

// Meta goes with every call.
type Meta struct {
	Trace    [16]byte  // all zero outside of a call
	Span     wire.Span // within which calls are made
	Priority uint8
	Caller   any // of the call that is being served, as package sdk knows it; nil outside of one
}

type key struct{}

// With returns a context that carries m.
func With(ctx context.Context, m Meta) context.Context { return context.WithValue(ctx, key{}, m) }

// Of is what the context carries.
func Of(ctx context.Context) Meta {
	m, _ := ctx.Value(key{}).(Meta)
	return m
}

// Begin is Of for a call that is about to be made: one that nothing caused begins a trace.
func Begin(ctx context.Context) Meta {
	m := Of(ctx)
	if m.Trace == [16]byte{} {
		_, _ = rand.Read(m.Trace[:]) // never fails
	}
	return m
}

type reuseKey struct{}

// Reuse lets the items of streams that are received with the context share memory.
func Reuse(ctx context.Context) context.Context { return context.WithValue(ctx, reuseKey{}, true) }

// Reuses tells whether Reuse was called.
func Reuses(ctx context.Context) bool { return ctx.Value(reuseKey{}) != nil }
