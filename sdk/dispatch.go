package sdk

import (
	"context"
	"errors"
	"fmt"

	"github.com/cell-network/cell/sdk/wire"
)

// handler answers the calls of the genome's methods.
func handler(g *Genome) (wire.Handler, error) {
	methods := make(map[uint32]*Method, len(g.Methods))
	for i := range g.Methods {
		m := &g.Methods[i]
		if m.ID == 0 || m.Call == nil || methods[m.ID] != nil {
			return nil, fmt.Errorf("serve cell %s: method %q has the id %d, which is 0 or not its own, or no function",
				g.Name, m.Name, m.ID)
		}
		methods[m.ID] = m
	}
	return func(ctx context.Context, r wire.Request) ([]byte, error) {
		m := methods[r.Method]
		if m == nil {
			return nil, &wire.Error{Code: wire.CodeNoSuchMethod, Message: fmt.Sprintf("cell %s has no method %d", g.Name, r.Method)}
		}
		result, err := m.Call(ctx, r.Payload)
		if err != nil {
			return nil, g.answer(ctx, err)
		}
		return result, nil
	}, nil
}

// answer says which error of the wire a method's error is.
func (g *Genome) answer(ctx context.Context, err error) error {
	if g.Error != nil {
		if name, payload, ok := g.Error(err); ok {
			return &wire.Error{Code: wire.CodeApplication, Name: name, Message: err.Error(), Payload: payload}
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
		if !e.answered {
			return &wire.Error{Code: wire.CodeInvalidRequest, Message: err.Error(), Payload: encodeInvalid(e)}
		}
	case *wire.FieldError:
		invalid := &InvalidRequest{Field: e.Field, Reason: e.Reason}
		return &wire.Error{Code: wire.CodeInvalidRequest, Message: invalid.Error(), Payload: encodeInvalid(invalid)}
	}
	return &wire.Error{Code: wire.CodeRemote, Message: err.Error()}
}
