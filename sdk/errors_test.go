package sdk

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/cell-network/cell/sdk/wire"
)

func TestCallError(t *testing.T) {
	lost := &wire.Lost{Err: wire.ErrClosed}
	tests := []struct {
		err, want error
	}{
		{nil, nil},
		{context.Canceled, context.Canceled},
		{lost, &Down{"calc", lost}},
		{&wire.Error{Code: wire.CodeDenied}, &Denied{"calc", "add"}},
		{&wire.Error{Code: wire.CodeOverloaded}, &Overloaded{"calc"}},
		{&wire.Error{Code: wire.CodeRemote, Message: "m"}, &RemoteError{"calc", "add", "m"}},
		{&wire.Error{Code: wire.CodeApplication, Name: "E", Message: "m"}, &RemoteError{"calc", "add", "application error E: m"}},
		{&wire.Error{Code: wire.CodeNoSuchMethod, Message: "m"}, &RemoteError{"calc", "add", "no such method: m"}},
		{&wire.Error{Code: 77}, &RemoteError{"calc", "add", "error code 77"}},
		{
			&wire.Error{Code: wire.CodeInvalidRequest, Payload: encodeInvalid(&InvalidRequest{Field: "f", Reason: "r"})},
			&InvalidRequest{Field: "f", Reason: "r", answered: true},
		},
		{&wire.Error{Code: wire.CodeInvalidRequest, Message: "m", Payload: []byte{0xff}}, &InvalidRequest{Reason: "m", answered: true}},
	}
	for _, test := range tests {
		if got := CallError("calc", "add", test.err); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%v: %#v, want %#v", test.err, got, test.want)
		}
	}
	if err := CallError("calc", "add", &wire.Error{Code: wire.CodeDeadlineExceeded}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	if err := CallError("calc", "add", &wire.Error{Code: wire.CodeCanceled}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestErrorTexts(t *testing.T) {
	for want, err := range map[string]error{
		"call cell calc: not reachable: gone":    &Down{"calc", errors.New("gone")},
		"call add of cell calc: denied":          &Denied{"calc", "add"},
		"call cell calc: overloaded":             &Overloaded{"calc"},
		"call add of cell calc: disk full":       &RemoteError{"calc", "add", "disk full"},
		"invalid request: a: too long":           &InvalidRequest{Field: "a", Reason: "too long"},
		"invalid request: nothing could be read": &InvalidRequest{Reason: "nothing could be read"},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
