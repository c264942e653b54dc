package httpdoor

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/wire"
)

// code is one of Connect's codes of errors.
type code string

const (
	canceled           code = "canceled"
	deadlineExceeded   code = "deadline_exceeded"
	failedPrecondition code = "failed_precondition"
	internal           code = "internal"
	invalidArgument    code = "invalid_argument"
	notFound           code = "not_found"
	permissionDenied   code = "permission_denied"
	resourceExhausted  code = "resource_exhausted"
	unauthenticated    code = "unauthenticated"
	unavailable        code = "unavailable"
	unimplemented      code = "unimplemented"
)

// statuses are those of Connect's unary protocol.
var statuses = map[code]int{
	canceled: 499, deadlineExceeded: 504, failedPrecondition: 400, internal: 500, invalidArgument: 400, notFound: 404,
	permissionDenied: 403, resourceExhausted: 429, unauthenticated: 401, unavailable: 503, unimplemented: 501,
}

// failure is an error as Connect writes it.
type failure struct {
	Code    code     `json:"code"`
	Message string   `json:"message,omitempty"`
	Details []detail `json:"details,omitempty"`

	status int // when it is not that of the code
}

// detail is an error of the cell's own: its type, its fields as a message of protocol buffers and the same as JSON.
type detail struct {
	Type  string          `json:"type"`
	Value string          `json:"value"` // base64 without padding
	Debug json.RawMessage `json:"debug,omitempty"`
}

func (f *failure) Error() string { return string(f.Code) + ": " + f.Message }

func invalid(format string, args ...any) *failure {
	return &failure{Code: invalidArgument, Message: fmt.Sprintf(format, args...)}
}

func (f *failure) json() []byte {
	b, _ := json.Marshal(f) // a failure can always be written
	return b
}

func (d *Door) fail(w http.ResponseWriter, f *failure) {
	d.patience(w)
	status := f.status
	if status == 0 {
		status = statuses[f.Code]
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(f.json())
}

// failed tells a caller why a call failed. g is what the cell serves, nil when the call did not get so far.
func failed(g *genome.Genome, err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	e, answered := errors.AsType[*wire.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return &failure{Code: canceled, Message: "the call was canceled"}
	case errors.As(err, new(*unreachable)):
		return &failure{Code: unavailable, Message: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{Code: deadlineExceeded, Message: "the call's time is over"}
	case !answered:
		message := err.Error()
		if _, lost := errors.AsType[*wire.Lost](err); lost {
			message += "; it may have run"
		}
		return &failure{Code: unavailable, Message: message}
	}
	switch e.Code {
	case wire.CodeApplication:
		f := &failure{Code: failedPrecondition, Message: e.Message}
		if g != nil {
			d := detail{Type: genome.ProtoName(g, e.Name), Value: base64.RawStdEncoding.EncodeToString(e.Payload)}
			if out, err := genome.DecodeError(g, e.Name, e.Payload); err == nil {
				d.Debug = out.JSON
			}
			f.Details = append(f.Details, d)
		}
		return f
	case wire.CodeInvalidRequest:
		return invalid("%s", e.Message)
	case wire.CodeNoSuchMethod:
		return &failure{Code: unimplemented, Message: e.Message}
	case wire.CodeDenied:
		return &failure{Code: permissionDenied, Message: e.Message}
	case wire.CodeOverloaded:
		return &failure{Code: resourceExhausted, Message: e.Message}
	}
	return &failure{Code: internal, Message: e.Message}
}
