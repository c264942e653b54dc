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
	Err  error
}

func (e *Down) Error() string { return fmt.Sprintf("call cell %s: not reachable: %v", e.Cell, e.Err) }
func (e *Down) Unwrap() error { return e.Err }

// MayHaveRun tells whether the call may have run at the cell.
func (e *Down) MayHaveRun() bool { return !notSent(e.Err) }

func notSent(err error) bool {
	_, lost := errors.AsType[*wire.Lost](err)
	return !lost
}

// Denied is returned when the caller may not call the cell, or the method.
type Denied struct {
	Cell, Method string
	Reason       string
}

func (e *Denied) Error() string {
	s := "call " + of(e.Method, e.Cell) + ": denied"
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// MayHaveRun is false: the call did not run.
func (e *Denied) MayHaveRun() bool { return false }

func of(method, cell string) string {
	if method == "" {
		return "cell " + cell
	}
	return method + " of cell " + cell
}

// Overloaded is returned when the cell had too much to do to take the call.
type Overloaded struct {
	Cell string

	ran bool // a stream that it took, until its items were too many
}

func (e *Overloaded) Error() string { return fmt.Sprintf("call cell %s: overloaded", e.Cell) }

// MayHaveRun is false, the call did not run, except for a stream that the cell gave up.
func (e *Overloaded) MayHaveRun() bool { return e.ran }

// Incompatible is returned when the cell that answers does not serve callers of the genome that this one was built with.
// Versions are those of the cell, hashes the wire hashes of its genomes.
type Incompatible struct {
	Cell               string
	Wants, WantsHash   string // what this program was built with
	Serves, ServesHash string // what runs
}

func (e *Incompatible) Error() string {
	return fmt.Sprintf("call cell %s: built against its version %s (genome %.8s), but version %s (genome %.8s) runs, which does not serve that one: "+
		"run cell sync and build the caller anew, or start the older version beside it", e.Cell, e.Wants, e.WantsHash, e.Serves, e.ServesHash)
}

// MayHaveRun is false: the call did not run.
func (e *Incompatible) MayHaveRun() bool { return false }

// RemoteError is an error of the called method that is none of the error types of its cell. Its text stays at the cell, in
// whose journal it is.
type RemoteError struct {
	Cell, Method string
	Message      string
}

func (e *RemoteError) Error() string {
	return fmt.Sprintf("call %s of cell %s: %s", e.Method, e.Cell, e.Message)
}

// MayHaveRun is true: the method ran.
func (e *RemoteError) MayHaveRun() bool { return true }

// MethodError is around an error of the called cell's own types, which errors.As finds in it.
type MethodError struct {
	Cell, Method string
	Err          error

	as func(any) bool
}

func (e *MethodError) Error() string {
	return fmt.Sprintf("call %s of cell %s: %v", e.Method, e.Cell, e.Err)
}
func (e *MethodError) Unwrap() error { return e.Err }

// As finds an error that is a value as a pointer, too.
func (e *MethodError) As(target any) bool { return e.as != nil && e.as(target) }

// MayHaveRun is true: the method ran.
func (e *MethodError) MayHaveRun() bool { return true }

// Interrupted is around the error of the context that ended before the call did.
type Interrupted struct {
	Cell, Method string
	Err          error

	sent bool
}

func (e *Interrupted) Error() string { return fmt.Sprintf("call %s: %v", of(e.Method, e.Cell), e.Err) }
func (e *Interrupted) Unwrap() error { return e.Err }

// MayHaveRun tells whether the call may have run at the cell.
func (e *Interrupted) MayHaveRun() bool { return e.sent }

// InvalidRequest is returned when a request cannot be decoded.
type InvalidRequest struct {
	Field  string // path of the field, or empty
	Reason string

	answered bool // by a called cell, so it says nothing about the request that is being served
	ran      bool // an item of a stream, which may have run until then
}

func (e *InvalidRequest) Error() string {
	if e.Field == "" {
		return "invalid request: " + e.Reason
	}
	return fmt.Sprintf("invalid request: %s: %s", e.Field, e.Reason)
}

// MayHaveRun is false, the call did not run, except for an item of a stream.
func (e *InvalidRequest) MayHaveRun() bool { return e.ran }

// MayHaveRun tells whether a call that failed with err may have run all the same, so that making it again may do its work
// twice. It is true for errors that are not of a call.
func MayHaveRun(err error) bool {
	var says interface{ MayHaveRun() bool }
	if errors.As(err, &says) {
		return says.MayHaveRun()
	}
	return true
}

// failed turns an error of a wire connection into what the caller of a method is given: an error of the cell's own in a
// *MethodError, or one of the platform's types above.
func (c *Client) failed(method string, err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*wire.Error](err)
	if !ok {
		for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
			if errors.Is(err, end) {
				_, abandoned := errors.AsType[*wire.Abandoned](err)
				return &Interrupted{Cell: c.target, Method: method, Err: end, sent: abandoned || !notSent(err)}
			}
		}
		return &Down{Cell: c.target, Err: err}
	}
	switch e.Code {
	case wire.CodeApplication:
		if c.remote.Error != nil {
			if own, as, err := c.remote.Error(e.Name, e.Message, e.Payload); own != nil && err == nil {
				return &MethodError{Cell: c.target, Method: method, Err: own, as: as}
			}
		}
		return &RemoteError{Cell: c.target, Method: method, Message: "error " + e.Name + ", which this program does not know"}
	case wire.CodeCanceled:
		return &Interrupted{Cell: c.target, Method: method, Err: context.Canceled, sent: true}
	case wire.CodeDeadlineExceeded:
		return &Interrupted{Cell: c.target, Method: method, Err: context.DeadlineExceeded, sent: true}
	case wire.CodeInvalidRequest:
		field, reason := decodeInvalid(e.Payload)
		if reason == "" {
			reason = e.Message
		}
		return &InvalidRequest{Field: field, Reason: reason, answered: true}
	case wire.CodeDenied:
		return &Denied{Cell: c.target, Method: method, Reason: e.Message}
	case wire.CodeOverloaded:
		return &Overloaded{Cell: c.target}
	case wire.CodeRemote:
		return &RemoteError{Cell: c.target, Method: method, Message: e.Message}
	}
	return &RemoteError{Cell: c.target, Method: method, Message: e.Error()}
}

// broken is failed for a stream that was opened: its method runs until it ends, whatever the end is.
func (c *Client) broken(method string, err error) error {
	out := c.failed(method, err)
	if e, ok := errors.AsType[*wire.Error](err); ok && !e.NotExecuted {
		switch out := out.(type) {
		case *Overloaded:
			out.ran = true
		case *InvalidRequest:
			out.ran = true
		}
	}
	return out
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
