package otlp

import (
	"cmp"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cell-network/cell/sdk/trace"
	"github.com/cell-network/cell/sdk/wire"
)

// The numbers of fields are those of opentelemetry-proto: collector/trace/v1, trace/v1, resource/v1 and common/v1.

const (
	scope = "github.com/cell-network/cell/sdk/otlp"

	kindServer, kindClient = 2, 3
	statusError            = 2

	flagHasRemote, flagRemote = 0x100, 0x200 // whether it is known that the parent is of another process, and that it is
)

// resource is what all spans of a process have in common: a Resource.
func resource(service, instance, version string) []byte {
	b := attribute(nil, 1, "service.name", service)
	b = attribute(b, 1, "service.version", version)
	b = attribute(b, 1, "service.instance.id", instance)
	b = attribute(b, 1, "telemetry.sdk.language", "go")
	return attribute(b, 1, "telemetry.sdk.name", "cell")
}

// encode makes an ExportTraceServiceRequest.
func encode(resource []byte, spans []*trace.Span) []byte {
	inScope := message(nil, 1, text(nil, 1, scope)) // ScopeSpans
	var one []byte
	for _, s := range spans {
		one = appendSpan(one[:0], s)
		inScope = message(inScope, 2, one)
	}
	return message(nil, 1, message(message(nil, 1, resource), 2, inScope)) // ResourceSpans
}

func appendSpan(b []byte, s *trace.Span) []byte {
	kind, flags, other := uint64(kindClient), uint32(wire.Sampled), "server.address"
	if s.Served {
		kind, flags, other = kindServer, flags|flagHasRemote|flagRemote, "client.address"
	}
	b = message(b, 1, s.Trace[:])
	b = message(b, 2, s.ID[:])
	if s.Parent != [8]byte{} {
		b = message(b, 4, s.Parent[:])
	}
	b = text(b, 5, s.Cell+"/"+s.Method)
	b = protowire.AppendVarint(protowire.AppendTag(b, 6, protowire.VarintType), kind)
	b = instant(b, 7, s.Begun)
	b = instant(b, 8, s.Ended)
	b = attribute(b, 9, "rpc.system", "cell")
	b = attribute(b, 9, "rpc.service", s.Cell)
	b = attribute(b, 9, "rpc.method", s.Method)
	b = attribute(b, 9, other, s.Peer)
	if s.Status != "ok" {
		b = attribute(b, 9, "error.type", cmp.Or(s.Error, s.Status))
	}
	if len(s.Attempts) > 1 { // one says no more than the span itself
		for _, a := range s.Attempts {
			e := instant(nil, 1, a.At)
			e = text(e, 2, "attempt")
			b = message(b, 11, attribute(e, 3, other, a.Peer))
		}
	}
	if failed(s) {
		b = message(b, 15, protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), statusError))
	}
	return protowire.AppendFixed32(protowire.AppendTag(b, 16, protowire.Fixed32Type), flags)
}

// failed tells whether a span counts as an error: for the caller all that is no result; for the cell that serves what is its own fault, as
// the conventions for RPC have it, and not an error that it answers on purpose.
func failed(s *trace.Span) bool {
	if !s.Served {
		return s.Status != "ok"
	}
	return s.Status == "remote" || s.Status == "deadline_exceeded" || s.Status == "no_such_method"
}

func message(b []byte, n protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), m)
}

// text appends a string, which has to be UTF-8: a collector refuses the whole request otherwise.
func text(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), strings.ToValidUTF8(s, "\uFFFD"))
}

// attribute appends a KeyValue with a text; an empty one is left out.
func attribute(b []byte, n protowire.Number, key, value string) []byte {
	if value == "" {
		return b
	}
	return message(b, n, message(text(nil, 1, key), 2, text(nil, 1, value)))
}

func instant(b []byte, n protowire.Number, t time.Time) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, n, protowire.Fixed64Type), uint64(t.UnixNano()))
}

// rejected reads an ExportTraceServiceResponse: how many spans the collector did not take although it took the request, and why. What is
// not well formed says nothing.
func rejected(b []byte) (spans uint64, why string) {
	partial := field(b, 1, protowire.BytesType)
	if partial == nil {
		return 0, ""
	}
	partial, _ = protowire.ConsumeBytes(partial)
	if n := field(partial, 1, protowire.VarintType); n != nil {
		spans, _ = protowire.ConsumeVarint(n)
	}
	if m := field(partial, 2, protowire.BytesType); m != nil {
		why, _ = protowire.ConsumeString(m)
	}
	return spans, why
}

// field is where the value of the first such field begins; nil when there is none.
func field(b []byte, want protowire.Number, as protowire.Type) []byte {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return nil
		}
		b = b[size:]
		if size = protowire.ConsumeFieldValue(n, kind, b); size < 0 {
			return nil
		}
		if n == want && kind == as {
			return b[:size]
		}
		b = b[size:]
	}
	return nil
}
