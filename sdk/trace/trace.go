// Package trace is for programs that follow calls across cells: the id that a call and all that it causes have in common, W3C
// trace contexts for what is no cell, and the spans of this process for whoever collects them. Package otlp sends them to a
// collector.
package trace

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/cell-network/cell/sdk/internal/meta"
	"github.com/cell-network/cell/sdk/wire"
)

// ID is the id that is common to a call and all that it causes, in 32 hexadecimal digits as in a W3C traceparent; "" outside of a
// call. It is in every line of the journal about the call.
func ID(ctx context.Context) string {
	m := meta.Of(ctx)
	if m.Trace == [16]byte{} {
		return ""
	}
	return hex.EncodeToString(m.Trace[:])
}

// WithID makes the calls made with the context part of a trace. The id has 16 bytes and is not all zero; any other changes nothing.
func WithID(ctx context.Context, id string) context.Context {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != 16 {
		return ctx
	}
	m := meta.Of(ctx)
	if m.Trace != [16]byte(raw) {
		m.Trace, m.Span = [16]byte(raw), wire.Span{} // which is of the other one
	}
	return meta.With(ctx, m)
}

// Parent is the W3C traceparent header for requests to what is no cell; "" where nobody on the way has made a span.
func Parent(ctx context.Context) string {
	m := meta.Of(ctx)
	if m.Trace == [16]byte{} || m.Span.ID == [8]byte{} {
		return ""
	}
	return fmt.Sprintf("00-%x-%x-%02x", m.Trace, m.Span.ID, m.Span.Flags)
}

// WithParent makes the calls made with the context part of the trace that a W3C traceparent header names; one that is not well
// formed changes nothing.
func WithParent(ctx context.Context, header string) context.Context {
	trace, span, ok := wire.ParseTraceParent(header)
	if !ok {
		return ctx
	}
	m := meta.Of(ctx)
	m.Trace, m.Span = trace, span
	return meta.With(ctx, m)
}
