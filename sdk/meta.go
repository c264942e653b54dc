package sdk

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/cell-network/cell/sdk/wire"
)

// meta is what a call hands on to the calls that it causes. Its deadline and its end are those of its context.
type meta struct {
	trace    [16]byte
	span     wire.Span // within which calls are made
	priority uint8
	caller   *peer // of the call that is being served
}

type metaKey struct{}

func withMeta(ctx context.Context, m meta) context.Context {
	return context.WithValue(ctx, metaKey{}, m)
}

// metaOf reads what goes with a call; a call that nothing caused begins a trace.
func metaOf(ctx context.Context) meta {
	m, _ := ctx.Value(metaKey{}).(meta)
	if m.trace == [16]byte{} {
		_, _ = rand.Read(m.trace[:]) // never fails
	}
	return m
}

// TraceID is the id that is common to a call and all that it causes, in 32 hexadecimal digits as in a W3C traceparent; ""
// outside of a call.
func TraceID(ctx context.Context) string {
	m, _ := ctx.Value(metaKey{}).(meta)
	if m.trace == [16]byte{} {
		return ""
	}
	return hex.EncodeToString(m.trace[:])
}

// WithTraceID makes the calls made with the context part of a trace. id has 16 bytes and is not all zero; any other changes
// nothing.
func WithTraceID(ctx context.Context, id string) context.Context {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != 16 {
		return ctx
	}
	m, _ := ctx.Value(metaKey{}).(meta)
	if m.trace != [16]byte(raw) {
		m.trace, m.span = [16]byte(raw), wire.Span{} // which is of the other one
	}
	return withMeta(ctx, m)
}

// TraceParent is the W3C traceparent header for requests to what is no cell; "" where nobody on the way has made a span.
func TraceParent(ctx context.Context) string {
	m, _ := ctx.Value(metaKey{}).(meta)
	if m.trace == [16]byte{} || m.span.ID == [8]byte{} {
		return ""
	}
	return fmt.Sprintf("00-%x-%x-%02x", m.trace, m.span.ID, m.span.Flags)
}

// WithTraceParent makes the calls made with the context part of the trace that a W3C traceparent header names; one that is not well
// formed changes nothing.
func WithTraceParent(ctx context.Context, header string) context.Context {
	trace, span, ok := wire.ParseTraceParent(header)
	if !ok {
		return ctx
	}
	m, _ := ctx.Value(metaKey{}).(meta)
	m.trace, m.span = trace, span
	return withMeta(ctx, m)
}

// Priority is that of the call being served, 0 when it is ordinary.
func Priority(ctx context.Context) uint8 {
	m, _ := ctx.Value(metaKey{}).(meta)
	return m.priority
}

// WithPriority gives a priority to the calls made with the context and to all that they cause.
func WithPriority(ctx context.Context, p uint8) context.Context {
	m, _ := ctx.Value(metaKey{}).(meta)
	m.priority = p
	return withMeta(ctx, m)
}
