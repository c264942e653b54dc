package sdk

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/cell-network/cell/sdk/wire"
)

// calc is a client of a cell with one error type, Overflow.
var calc = &Client{target: "calc", remote: &Remote{Error: func(name, text string, payload []byte) (error, func(any) bool, error) {
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
		{lost, &Down{"calc", lost}, "call cell calc: not reachable: connection lost during the call: connection closed", true},
		{gone, &Down{"calc", gone}, "call cell calc: not reachable: call not sent: connection closed", false},
		{&wire.NotSent{Err: late}, &Interrupted{"calc", "add", late, false}, "call add of cell calc: context deadline exceeded", false},
		{&wire.Abandoned{Err: context.Canceled}, &Interrupted{"calc", "add", context.Canceled, true}, "call add of cell calc: context canceled", true},
		{&wire.Error{Code: wire.CodeCanceled}, &Interrupted{"calc", "add", context.Canceled, true}, "call add of cell calc: context canceled", true},
		{&wire.Error{Code: wire.CodeDeadlineExceeded}, &Interrupted{"calc", "add", late, true}, "call add of cell calc: context deadline exceeded", true},
		{&wire.Error{Code: wire.CodeDenied, Message: "not you"}, &Denied{"calc", "add", "not you"}, "call add of cell calc: denied: not you", false},
		{&wire.Error{Code: wire.CodeOverloaded}, &Overloaded{Cell: "calc"}, "call cell calc: overloaded", false},
		{&wire.Error{Code: wire.CodeRemote, Message: "m"}, &RemoteError{"calc", "add", "m"}, "call add of cell calc: m", true},
		{&wire.Error{Code: wire.CodeApplication, Name: "E"}, &RemoteError{"calc", "add", "error E, which this program does not know"}, "", true},
		{&wire.Error{Code: wire.CodeApplication, Name: "Overflow"}, &RemoteError{"calc", "add", "error Overflow, which this program does not know"}, "", true},
		{&wire.Error{Code: wire.CodeNoSuchMethod, Message: "m"}, &RemoteError{"calc", "add", "no such method: m"}, "", true},
		{&wire.Error{Code: 77}, &RemoteError{"calc", "add", "error code 77"}, "", true},
		{
			&wire.Error{Code: wire.CodeInvalidRequest, Payload: encodeInvalid(&InvalidRequest{Field: "f", Reason: "r"})},
			&InvalidRequest{Field: "f", Reason: "r", answered: true}, "invalid request: f: r", false,
		},
		{&wire.Error{Code: wire.CodeInvalidRequest, Message: "m", Payload: []byte{0xff}}, &InvalidRequest{Reason: "m", answered: true}, "invalid request: m", false},
	}
	for _, test := range tests {
		got := calc.failed("add", test.err)
		if !reflect.DeepEqual(got, test.want) || test.text != "" && got.Error() != test.text || MayHaveRun(got) != test.run {
			t.Errorf("%v: %#v %q %v, want %#v", test.err, got, got, MayHaveRun(got), test.want)
		}
	}
	// A stream was running when the cell gave it up, unless the cell says otherwise.
	for _, code := range []wire.Code{wire.CodeOverloaded, wire.CodeInvalidRequest} {
		if !MayHaveRun(calc.broken("add", &wire.Error{Code: code})) || MayHaveRun(calc.broken("add", &wire.Error{Code: code, NotExecuted: true})) {
			t.Errorf("%v in a stream: it is not told whether it may have run", code)
		}
	}
	if err := calc.failed("add", nil); err != nil {
		t.Errorf("no error became %v", err)
	}
	if !MayHaveRun(errors.New("something")) {
		t.Error("an error that is of no call says that nothing ran")
	}
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if err := calc.failed("add", &wire.Abandoned{Err: end}); !errors.Is(err, end) {
			t.Errorf("%v is not %v", err, end)
		}
	}
}

// The cell's own error is found as a value and as a pointer, whichever the provider returned.
func TestOwnErrors(t *testing.T) {
	err := fmt.Errorf("work: %w", calc.failed("add", &wire.Error{Code: wire.CodeApplication, Name: "Overflow", Message: "too much", Payload: []byte{1}}))
	v, isValue := errors.AsType[remoteOverflow](err)
	p, isPointer := errors.AsType[*remoteOverflow](err)
	if !isValue || !isPointer || v.text != "too much" || p.text != "too much" || !MayHaveRun(err) {
		t.Errorf("%v: %v %v", err, isValue, isPointer)
	}
	if want := "work: call add of cell calc: too much"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

func TestErrorTexts(t *testing.T) {
	for want, err := range map[string]error{
		"invalid request: a: too long":             &InvalidRequest{Field: "a", Reason: "too long"},
		"invalid request: nothing could be read":   &InvalidRequest{Reason: "nothing could be read"},
		"call cell calc: denied":                   &Denied{Cell: "calc"},
		"listen to T of cell calc: missed 3 items": &Missed{"calc", "T", 3},
		"call cell calc: built against its version 1.2.0 (genome 01234567), but version 1.1.0 (genome 89abcdef) runs, which does not serve that one: " +
			"run cell sync and build the caller anew, or start the older version beside it": &Incompatible{"calc", "1.2.0", "0123456789", "1.1.0", "89abcdef01"},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
