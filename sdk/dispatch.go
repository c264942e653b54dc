package sdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cell-network/cell/sdk/internal/generated"
	"github.com/cell-network/cell/sdk/internal/meta"
	"github.com/cell-network/cell/sdk/internal/spans"
	"github.com/cell-network/cell/sdk/stats"
	"github.com/cell-network/cell/sdk/wire"
)

// handler answers the calls of the genome's methods, and counts them in table, which may be nil.
func handler(g *generated.Genome, gate *gate, table *stats.Table) (wire.Handler, error) {
	methods, rows := make(map[uint32]*generated.Method, len(g.Methods)), make(map[uint32]stats.Row, len(g.Methods))
	for i := range g.Methods {
		m := &g.Methods[i]
		if m.ID == 0 || (m.Call == nil) == (m.Stream == nil) || methods[m.ID] != nil {
			return nil, fmt.Errorf("serve cell %s: method %q has the id %d, which is 0 or not its own, or no function",
				g.Name, m.Name, m.ID)
		}
		methods[m.ID] = m
		if table != nil {
			rows[m.ID] = table.Row(i)
		}
	}
	cell := fullName(g.Name)
	return func(ctx context.Context, r wire.Request) (result []byte, err error) {
		m, row, begun := methods[r.Method], rows[r.Method], time.Now()
		span := spans.Serving(cell, nameOf(m), instanceOf(r.Peer), &r)
		code, size := wire.CodeRemote, 0
		err = errPanicked // unless serve returns
		row.Begin(len(r.Payload))
		defer func() {
			took := time.Since(begun)
			row.End(took, uint32(code), size)
			if table != nil && m != nil && m.Stream == nil {
				table.Lately(begun.Add(took), took, uint32(code))
			}
			if err != nil {
				span.Fail(spans.Status(code), ownError(err))
			}
			span.End()
		}()
		result, err = serve(ctx, g, gate, m, r)
		code, size = codeOf(err), len(result)
		return result, err
	}, nil
}

func nameOf(m *generated.Method) string {
	if m == nil {
		return ""
	}
	return m.Name
}

// ownError is the type of an error of the cell's own, which serve has made one of the wire.
func ownError(err error) string {
	if e, ok := err.(*wire.Error); ok {
		return e.Name
	}
	return ""
}

var errPanicked = errors.New("the method panicked")

// codeOf is the code with which an error of serve is answered, 0 for none.
func codeOf(err error) wire.Code {
	if e, ok := err.(*wire.Error); ok {
		return e.Code
	}
	if err != nil {
		return wire.CodeRemote
	}
	return 0
}

// serve answers a call of m, which is nil when there is no such method.
func serve(ctx context.Context, g *generated.Genome, gate *gate, m *generated.Method, r wire.Request) (result []byte, err error) {
	if m == nil {
		return nil, &wire.Error{Code: wire.CodeNoSuchMethod, Message: fmt.Sprintf("cell %s has no method %d", g.Name, r.Method)}
	}
	caller, _ := r.Peer.(*peer)
	m0 := meta.Meta{Trace: r.Trace, Span: r.Span, Priority: r.Priority}
	if caller != nil {
		m0.Caller = caller
	}
	ctx = meta.With(ctx, m0)
	if why := gate.admits(caller, m.Name); why != "" {
		slog.WarnContext(ctx, "denied", "method", m.Name, "caller", caller.Cell, "uid", caller.UID, "reason", why)
		return nil, &wire.Error{Code: wire.CodeDenied, Message: why}
	}
	switch {
	case m.Call != nil && r.Stream == nil:
		result, err = m.Call(ctx, r.Payload)
		wire.Recycle(r.Payload)
	case m.Stream != nil && r.Stream != nil:
		result, err = m.Stream(ctx, r.Payload, r.Stream)
	default:
		err = &InvalidRequest{Reason: m.Name + " was called as a stream and is none, or the other way round"}
	}
	if err != nil {
		return nil, answer(ctx, g, m.Name, err)
	}
	return result, nil
}

// answer says which error of the wire a method's error is.
func answer(ctx context.Context, g *generated.Genome, method string, err error) error {
	if g.Error != nil {
		if name, text, payload, ok := g.Error(err); ok {
			return &wire.Error{Code: wire.CodeApplication, Name: name, Message: text, Payload: payload}
		}
	}
	// Only the caller's own cancellation and deadline are told as such: a method may have a timeout of its own within.
	if ctx.Err() != nil {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return &wire.Error{Code: wire.CodeDeadlineExceeded, Message: err.Error()}
		case errors.Is(err, context.Canceled):
			return &wire.Error{Code: wire.CodeCanceled, Message: err.Error()}
		}
	}
	// Not errors.As: an error within the method's own one is about another request, which the method made.
	switch e := err.(type) {
	case *InvalidRequest:
		if !e.Answered {
			return &wire.Error{Code: wire.CodeInvalidRequest, Message: err.Error(), Payload: encodeInvalid(e)}
		}
	case *wire.FieldError:
		invalid := &InvalidRequest{Field: e.Field, Reason: e.Reason}
		return &wire.Error{Code: wire.CodeInvalidRequest, Message: invalid.Error(), Payload: encodeInvalid(invalid)}
	}
	// What such an error says may be a secret of this cell: it stays here.
	slog.ErrorContext(ctx, method+" failed: "+err.Error(), "method", method)
	return &wire.Error{Code: wire.CodeRemote, Message: "internal error, see the log of " + g.Name}
}
