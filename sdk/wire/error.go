package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Code says what kind of error ended a call. Values that are not listed may arrive from a newer peer.
type Code uint32

// The codes, in their values on the wire.
const (
	CodeApplication Code = 1 + iota // an error type of the cell's package: Name and Payload are set
	CodeRemote                      // any other error of the method, or a panic
	CodeInvalidRequest
	CodeNoSuchMethod
	CodeDenied
	CodeOverloaded
	CodeCanceled
	CodeDeadlineExceeded
)

var codeNames = [...]string{
	CodeApplication: "application error", CodeRemote: "remote error", CodeInvalidRequest: "invalid request",
	CodeNoSuchMethod: "no such method", CodeDenied: "denied", CodeOverloaded: "overloaded", CodeCanceled: "canceled",
	CodeDeadlineExceeded: "deadline exceeded",
}

func (c Code) String() string {
	if c > 0 && int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("error code %d", uint32(c))
}

// Error is the error that a server answered. A Handler may return one to choose what is answered.
type Error struct {
	Code    Code
	Name    string // of the application's error type
	Message string
	Payload []byte

	// NotExecuted is true when the server says that the call did not run. It is not read from what a Handler returns.
	NotExecuted bool
}

func (e *Error) Error() string {
	s := e.Code.String()
	if e.Name != "" {
		s += " " + e.Name
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// Is makes the codes for canceled and deadline exceeded equal to the errors of package context.
func (e *Error) Is(target error) bool {
	return e.Code == CodeCanceled && target == context.Canceled ||
		e.Code == CodeDeadlineExceeded && target == context.DeadlineExceeded
}

// NotSent is returned for a call that certainly did not run: it may be made again on another connection, unless its own
// context has ended, which Unwrap then gives.
type NotSent struct{ Err error }

func (e *NotSent) Error() string { return "call not sent: " + e.Err.Error() }
func (e *NotSent) Unwrap() error { return e.Err }

// Lost is returned for a call whose connection broke before the answer came: it may have run or not.
type Lost struct{ Err error }

func (e *Lost) Error() string { return "connection lost during the call: " + e.Err.Error() }
func (e *Lost) Unwrap() error { return e.Err }

// Abandoned is returned for a call that this side gave up after it was sent, because its context ended or its Stream was
// closed: it may have run or not. Unwrap gives the error of the context.
type Abandoned struct{ Err error }

func (e *Abandoned) Error() string { return "call given up: " + e.Err.Error() }
func (e *Abandoned) Unwrap() error { return e.Err }

// ErrClosed is the cause within NotSent and Lost when this side closed the connection.
var ErrClosed = errors.New("connection closed")

// maxMessage keeps an error's texts from filling a frame.
const maxMessage = 64 << 10

// appendError encodes e within most bytes; a payload which does not fit is left out, and the message says so.
func appendError(b []byte, e *Error, most int) []byte {
	name, message, payload := cut(e.Name, maxName), cut(e.Message, min(maxMessage, most/2)), e.Payload
	if len(payload) > most-len(name)-len(message)-64 {
		return appendError(b, &Error{Code: CodeRemote, Message: "error " + name + " is too large to be sent: " + message}, most)
	}
	b = appendUint(b, 1, uint64(e.Code))
	if name != "" {
		b = appendText(b, 2, name)
	}
	b = appendText(b, 3, message)
	if len(payload) > 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, 4, protowire.BytesType), payload)
	}
	return b
}

// parseError decodes the payload of an ERROR; Payload aliases b.
func parseError(b []byte) (*Error, error) {
	e := &Error{}
	err := eachField(b, func(n protowire.Number, number uint64, data []byte) error {
		switch n {
		case 1:
			e.Code = Code(min(number, 1<<32-1))
		case 2:
			e.Name = text(data)
		case 3:
			e.Message = text(data)
		case 4:
			e.Payload = data
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read error: %w", err)
	}
	return e, nil
}

// allCalls is the last call of a GOAWAY after which every call already on its way still runs.
const allCalls = 1<<64 - 1

// goAway is the payload of a GOAWAY.
type goAway struct {
	last    uint64
	code    Code
	message string
}

func (g *goAway) Error() string { return "the server went away: " + g.message }

// As makes a server that went away because it may not serve this client the same as one that denied the call.
func (g *goAway) As(target any) bool {
	e, ok := target.(**Error)
	if ok = ok && g.code == CodeDenied; ok {
		*e = &Error{Code: g.code, Message: g.message, NotExecuted: true}
	}
	return ok
}

func appendGoAway(b []byte, g *goAway) []byte {
	b = binary.LittleEndian.AppendUint64(b, g.last)
	b = appendUint(b, 1, uint64(g.code))
	return appendText(b, 2, cut(g.message, maxGoAway/2))
}

func parseGoAway(b []byte) (*goAway, error) {
	g := &goAway{last: binary.LittleEndian.Uint64(b)}
	err := eachField(b[8:], func(n protowire.Number, number uint64, data []byte) error {
		switch n {
		case 1:
			g.code = Code(min(number, 1<<32-1))
		case 2:
			g.message = text(data)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read going away: %w", err)
	}
	return g, nil
}
