package sdk

import (
	"context"
	"errors"
	"fmt"

	"github.com/cell-network/cell/sdk/wire"
	"google.golang.org/protobuf/encoding/protowire"
)

// Down is the platform's error for a cell that could not be reached, or whose connection broke during the call.
type Down struct {
	Cell string
	Err  error // *wire.NotSent: the call did not run; *wire.Lost: it may have run
}

func (e *Down) Error() string { return fmt.Sprintf("call cell %s: not reachable: %v", e.Cell, e.Err) }
func (e *Down) Unwrap() error { return e.Err }

// Denied is returned when the caller may not call the method.
type Denied struct {
	Cell, Method string
}

func (e *Denied) Error() string { return fmt.Sprintf("call %s of cell %s: denied", e.Method, e.Cell) }

// Overloaded is returned when the cell had too much to do to take the call: it did not run.
type Overloaded struct {
	Cell string
}

func (e *Overloaded) Error() string { return fmt.Sprintf("call cell %s: overloaded", e.Cell) }

// RemoteError is an error of the called method that is none of the error types of its cell.
type RemoteError struct {
	Cell, Method string
	Message      string
}

func (e *RemoteError) Error() string {
	return fmt.Sprintf("call %s of cell %s: %s", e.Method, e.Cell, e.Message)
}

// InvalidRequest is returned when a request cannot be decoded.
type InvalidRequest struct {
	Field  string // path of the field, or empty
	Reason string

	answered bool // by a called cell, so it says nothing about the request that is being served
}

func (e *InvalidRequest) Error() string {
	if e.Field == "" {
		return "invalid request: " + e.Reason
	}
	return fmt.Sprintf("invalid request: %s: %s", e.Field, e.Reason)
}

// CallError turns an error of wire.Conn.Call into what a caller of method is given: one of the types above, or an error that
// is context.Canceled or context.DeadlineExceeded. Generated code looks for the cell's own error types before.
func CallError(cell, method string, err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*wire.Error](err)
	if !ok {
		if err == context.Canceled || err == context.DeadlineExceeded {
			return err
		}
		return &Down{Cell: cell, Err: err}
	}
	switch e.Code {
	case wire.CodeCanceled, wire.CodeDeadlineExceeded:
		return fmt.Errorf("call %s of cell %s: %w", method, cell, e)
	case wire.CodeInvalidRequest:
		field, reason := decodeInvalid(e.Payload)
		if reason == "" {
			reason = e.Message
		}
		return &InvalidRequest{Field: field, Reason: reason, answered: true}
	case wire.CodeDenied:
		return &Denied{Cell: cell, Method: method}
	case wire.CodeOverloaded:
		return &Overloaded{Cell: cell}
	case wire.CodeRemote:
		return &RemoteError{Cell: cell, Method: method, Message: e.Message}
	}
	return &RemoteError{Cell: cell, Method: method, Message: e.Error()}
}

func encodeInvalid(e *InvalidRequest) []byte {
	b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), e.Field)
	return protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), e.Reason)
}

// decodeInvalid reads what encodeInvalid wrote, as far as it is well formed.
func decodeInvalid(b []byte) (field, reason string) {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			break
		}
		b = b[size:]
		if size = protowire.ConsumeFieldValue(n, kind, b); size < 0 {
			break
		}
		if kind == protowire.BytesType {
			v, _ := protowire.ConsumeString(b)
			switch n {
			case 1:
				field = v
			case 2:
				reason = v
			}
		}
		b = b[size:]
	}
	return field, reason
}
