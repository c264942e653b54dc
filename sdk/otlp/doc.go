// Package otlp sends the spans of a program's calls to a collector of OpenTelemetry: OTLP over HTTP, in protobuf's wire format. A cell
// opts in with one line and is configured by its environment; without an endpoint nothing is sent and calls cost what they did:
//
//	func main() {
//		otlp.Start()
//		sdk.Main(Shop{})
//	}
//
// Spans tell which cell called which method of which other one, when, and how it ended; never what the call was about. Package sdk does
// not know this one, and a cell without it links no HTTP. docs/tracing.md has the variables.
package otlp

import (
	"context"
	"log/slog"
	"os"

	"github.com/cell-network/cell/sdk/trace"
)

// Start sends the spans of the calls that this process makes and serves from now on, if the environment names an endpoint. It is called
// once, before sdk.Main. A mistake in the environment is logged, and nothing is sent. sdk.Main delivers the last spans by itself; a
// program without it calls stop, which waits as long as for any delivery.
func Start() (stop func()) {
	c, err := configure(os.Getenv)
	if err != nil {
		slog.Error("calls are not traced: " + err.Error())
	}
	if c == nil {
		return func() {}
	}
	e := newExporter(c)
	trace.Set(e)
	return func() {
		trace.Set(nil)
		ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
		defer cancel()
		e.Stop(ctx)
	}
}
