package sdk

import (
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
func (e *Down) MayHaveRun() bool {
	_, lost := errors.AsType[*wire.Lost](e.Err)
	return lost
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
	Ran  bool // a stream that it took, until its items were too many
}

func (e *Overloaded) Error() string { return fmt.Sprintf("call cell %s: overloaded", e.Cell) }

// MayHaveRun is false, the call did not run, except for a stream that the cell gave up.
func (e *Overloaded) MayHaveRun() bool { return e.Ran }

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
	Match        func(target any) bool // finds Err in another form, as errors.As wants it; may be nil
}

func (e *MethodError) Error() string {
	return fmt.Sprintf("call %s of cell %s: %v", e.Method, e.Cell, e.Err)
}
func (e *MethodError) Unwrap() error { return e.Err }

// As finds an error that is a value as a pointer, too.
func (e *MethodError) As(target any) bool { return e.Match != nil && e.Match(target) }

// MayHaveRun is true: the method ran.
func (e *MethodError) MayHaveRun() bool { return true }

// Interrupted is around the error of the context that ended before the call did.
type Interrupted struct {
	Cell, Method string
	Err          error
	Sent         bool // the call may have run
}

func (e *Interrupted) Error() string { return fmt.Sprintf("call %s: %v", of(e.Method, e.Cell), e.Err) }
func (e *Interrupted) Unwrap() error { return e.Err }

// MayHaveRun tells whether the call may have run at the cell.
func (e *Interrupted) MayHaveRun() bool { return e.Sent }

// InvalidRequest is returned when a request cannot be decoded.
type InvalidRequest struct {
	Field    string // path of the field, or empty
	Reason   string
	Answered bool // by a called cell, so it says nothing about the request that is being served
	Ran      bool // an item of a stream, which may have run until then
}

func (e *InvalidRequest) Error() string {
	if e.Field == "" {
		return "invalid request: " + e.Reason
	}
	return fmt.Sprintf("invalid request: %s: %s", e.Field, e.Reason)
}

// MayHaveRun is false, the call did not run, except for an item of a stream.
func (e *InvalidRequest) MayHaveRun() bool { return e.Ran }

// MayHaveRun tells whether a call that failed with err may have run all the same, so that making it again may do its work
// twice. It is true for errors that are not of a call.
func MayHaveRun(err error) bool {
	var says interface{ MayHaveRun() bool }
	if errors.As(err, &says) {
		return says.MayHaveRun()
	}
	return true
}

func encodeInvalid(e *InvalidRequest) []byte {
	b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), e.Field)
	return protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), e.Reason)
}
