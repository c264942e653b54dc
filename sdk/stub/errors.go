package stub

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cell-network/cell/sdk"
	"github.com/cell-network/cell/sdk/internal/spans"
	"github.com/cell-network/cell/sdk/wire"
)

func notSent(err error) bool {
	_, lost := errors.AsType[*wire.Lost](err)
	return !lost
}

// failed turns an error of a wire connection into what the caller of a method is given: an error of the cell's own in a
// *sdk.MethodError, or one of the platform's types above.
func failed(c *Client, method string, err error) error {
	if err == nil {
		return nil
	}
	switch err.(type) {
	case *sdk.Denied, *sdk.Incompatible:
		return err
	}
	e, ok := errors.AsType[*wire.Error](err)
	if !ok {
		for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
			if errors.Is(err, end) {
				_, abandoned := errors.AsType[*wire.Abandoned](err)
				return &sdk.Interrupted{Cell: c.Target, Method: method, Err: end, Sent: abandoned || !notSent(err)}
			}
		}
		return &sdk.Down{Cell: c.Target, Err: err}
	}
	switch e.Code {
	case wire.CodeApplication:
		if c.Remote.Error != nil {
			if own, as, err := c.Remote.Error(e.Name, e.Message, e.Payload); own != nil && err == nil {
				return &sdk.MethodError{Cell: c.Target, Method: method, Err: own, Match: as}
			}
		}
		return &sdk.RemoteError{Cell: c.Target, Method: method, Message: "error " + e.Name + ", which this program does not know"}
	case wire.CodeCanceled:
		return &sdk.Interrupted{Cell: c.Target, Method: method, Err: context.Canceled, Sent: true}
	case wire.CodeDeadlineExceeded:
		return &sdk.Interrupted{Cell: c.Target, Method: method, Err: context.DeadlineExceeded, Sent: true}
	case wire.CodeInvalidRequest:
		field, reason := decodeInvalid(e.Payload)
		if reason == "" {
			reason = e.Message
		}
		return &sdk.InvalidRequest{Field: field, Reason: reason, Answered: true}
	case wire.CodeDenied:
		return &sdk.Denied{Cell: c.Target, Method: method, Reason: e.Message}
	case wire.CodeOverloaded:
		return &sdk.Overloaded{Cell: c.Target}
	case wire.CodeRemote:
		return &sdk.RemoteError{Cell: c.Target, Method: method, Message: e.Message}
	}
	return &sdk.RemoteError{Cell: c.Target, Method: method, Message: e.Error()}
}

// broken is failed for a stream that was opened: its method runs until it ends, whatever the end is.
func broken(c *Client, method string, err error) error {
	out := failed(c, method, err)
	if e, ok := errors.AsType[*wire.Error](err); ok && !e.NotExecuted {
		switch out := out.(type) {
		case *sdk.Overloaded:
			out.Ran = true
		case *sdk.InvalidRequest:
			out.Ran = true
		}
	}
	return out
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

// fail says in a span with which error of package sdk a call ended.
func fail(span *spans.Recording, err error) {
	if span == nil || err == nil {
		return
	}
	code, own := wire.CodeRemote, ""
	switch e := err.(type) {
	case *sdk.MethodError:
		code, own = wire.CodeApplication, fmt.Sprintf("%T", e.Err)
		own = own[strings.LastIndexAny(own, ".*")+1:]
	case *sdk.Down:
		span.Fail("down", "")
		return
	case *sdk.Incompatible:
		span.Fail("incompatible", "")
		return
	case *sdk.Denied:
		code = wire.CodeDenied
	case *sdk.Overloaded:
		code = wire.CodeOverloaded
	case *sdk.InvalidRequest:
		code = wire.CodeInvalidRequest
	case *itemError: // the caller's own, who so gave the call up
		code = wire.CodeCanceled
	default:
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			code = wire.CodeDeadlineExceeded
		case errors.Is(err, context.Canceled):
			code = wire.CodeCanceled
		}
	}
	span.Fail(spans.Status(code), own)
}
