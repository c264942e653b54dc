package stub

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/cell-network/cell/sdk"
	"github.com/cell-network/cell/sdk/wire"
)

// calc is a client of a cell with one error type, Overflow.
var calc = &Client{Target: "calc", Remote: &Remote{Error: func(name, text string, payload []byte) (error, func(any) bool, error) {
	if name != "Overflow" {
		return nil, nil, nil
	}
	if len(payload) == 0 {
		return nil, nil, errors.New("damaged")
	}
	v := &remoteOverflow{text}
	return *v, func(as any) bool {
		p, ok := as.(**remoteOverflow)
		if ok {
			*p = v
		}
		return ok
	}, nil
}}}

type remoteOverflow struct{ text string }

func (e remoteOverflow) Error() string { return e.text }

// What a caller is given, its text, and whether the call may have run.
func TestCallErrors(t *testing.T) {
	lost, gone := &wire.Lost{Err: wire.ErrClosed}, &wire.NotSent{Err: wire.ErrClosed}
	late := context.DeadlineExceeded
	tests := []struct {
		err, want error
		text      string
		run       bool
	}{
		{lost, &sdk.Down{Cell: "calc", Err: lost}, "call cell calc: not reachable: connection lost during the call: connection closed", true},
		{gone, &sdk.Down{Cell: "calc", Err: gone}, "call cell calc: not reachable: call not sent: connection closed", false},
		{&wire.NotSent{Err: late}, &sdk.Interrupted{Cell: "calc", Method: "add", Err: late, Sent: false}, "call add of cell calc: context deadline exceeded", false},
		{&wire.Abandoned{Err: context.Canceled}, &sdk.Interrupted{Cell: "calc", Method: "add", Err: context.Canceled, Sent: true}, "call add of cell calc: context canceled", true},
		{&wire.Error{Code: wire.CodeCanceled}, &sdk.Interrupted{Cell: "calc", Method: "add", Err: context.Canceled, Sent: true}, "call add of cell calc: context canceled", true},
		{&wire.Error{Code: wire.CodeDeadlineExceeded}, &sdk.Interrupted{Cell: "calc", Method: "add", Err: late, Sent: true}, "call add of cell calc: context deadline exceeded", true},
		{&wire.Error{Code: wire.CodeDenied, Message: "not you"}, &sdk.Denied{Cell: "calc", Method: "add", Reason: "not you"}, "call add of cell calc: denied: not you", false},
		{&wire.Error{Code: wire.CodeOverloaded}, &sdk.Overloaded{Cell: "calc"}, "call cell calc: overloaded", false},
		{&wire.Error{Code: wire.CodeRemote, Message: "m"}, &sdk.RemoteError{Cell: "calc", Method: "add", Message: "m"}, "call add of cell calc: m", true},
		{&wire.Error{Code: wire.CodeApplication, Name: "E"}, &sdk.RemoteError{Cell: "calc", Method: "add", Message: "error E, which this program does not know"}, "", true},
		{&wire.Error{Code: wire.CodeApplication, Name: "Overflow"}, &sdk.RemoteError{Cell: "calc", Method: "add", Message: "error Overflow, which this program does not know"}, "", true},
		{&wire.Error{Code: wire.CodeNoSuchMethod, Message: "m"}, &sdk.RemoteError{Cell: "calc", Method: "add", Message: "no such method: m"}, "", true},
		{&wire.Error{Code: 77}, &sdk.RemoteError{Cell: "calc", Method: "add", Message: "error code 77"}, "", true},
		{
			&wire.Error{Code: wire.CodeInvalidRequest, Payload: []byte("\n\x01f\x12\x01r")},
			&sdk.InvalidRequest{Field: "f", Reason: "r", Answered: true}, "invalid request: f: r", false,
		},
		{&wire.Error{Code: wire.CodeInvalidRequest, Message: "m", Payload: []byte{0xff}}, &sdk.InvalidRequest{Reason: "m", Answered: true}, "invalid request: m", false},
	}
	for _, test := range tests {
		got := failed(calc, "add", test.err)
		if !reflect.DeepEqual(got, test.want) || test.text != "" && got.Error() != test.text || sdk.MayHaveRun(got) != test.run {
			t.Errorf("%v: %#v %q %v, want %#v", test.err, got, got, sdk.MayHaveRun(got), test.want)
		}
	}
	// A stream was running when the cell gave it up, unless the cell says otherwise.
	for _, code := range []wire.Code{wire.CodeOverloaded, wire.CodeInvalidRequest} {
		if !sdk.MayHaveRun(broken(calc, "add", &wire.Error{Code: code})) || sdk.MayHaveRun(broken(calc, "add", &wire.Error{Code: code, NotExecuted: true})) {
			t.Errorf("%v in a stream: it is not told whether it may have run", code)
		}
	}
	if err := failed(calc, "add", nil); err != nil {
		t.Errorf("no error became %v", err)
	}
	if !sdk.MayHaveRun(errors.New("something")) {
		t.Error("an error that is of no call says that nothing ran")
	}
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if err := failed(calc, "add", &wire.Abandoned{Err: end}); !errors.Is(err, end) {
			t.Errorf("%v is not %v", err, end)
		}
	}
}

// The cell's own error is found as a value and as a pointer, whichever the provider returned.
func TestOwnErrors(t *testing.T) {
	err := fmt.Errorf("work: %w", failed(calc, "add", &wire.Error{Code: wire.CodeApplication, Name: "Overflow", Message: "too much", Payload: []byte{1}}))
	v, isValue := errors.AsType[remoteOverflow](err)
	p, isPointer := errors.AsType[*remoteOverflow](err)
	if !isValue || !isPointer || v.text != "too much" || p.text != "too much" || !sdk.MayHaveRun(err) {
		t.Errorf("%v: %v %v", err, isValue, isPointer)
	}
	if want := "work: call add of cell calc: too much"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}
