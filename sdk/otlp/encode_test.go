package otlp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	traces "go.opentelemetry.io/proto/slim/otlp/trace/v1"

	"github.com/cell-network/cell/sdk/trace"
)

var noon = time.Unix(1_800_000_000, 123)

func texts(attributes []*common.KeyValue) string {
	var all []string
	for _, a := range attributes {
		all = append(all, a.Key+"="+a.Value.GetStringValue())
	}
	return strings.Join(all, " ")
}

// decode is OpenTelemetry's own. Fields that it does not know would be left in the message.
func decode(t testing.TB, body []byte) *traces.ResourceSpans {
	t.Helper()
	var request collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		t.Fatal(err)
	}
	if len(request.ResourceSpans) != 1 || len(request.ResourceSpans[0].ScopeSpans) != 1 {
		t.Fatalf("not one resource with one scope: %v", &request)
	}
	again, err := proto.Marshal(&request)
	if err != nil || len(again) != len(body) {
		t.Errorf("%d bytes, written again %d: %v", len(body), len(again), err)
	}
	for _, s := range request.ResourceSpans[0].ScopeSpans[0].Spans {
		if len(s.ProtoReflect().GetUnknown()) > 0 {
			t.Errorf("span %v has unknown fields", s)
		}
	}
	return request.ResourceSpans[0]
}

func TestEncode(t *testing.T) {
	first := &trace.Span{
		Trace: [16]byte{1, 15: 2}, ID: [8]byte{3}, Cell: "shop.users", Method: "Get", Peer: "shop.users:2", Begun: noon, Ended: noon.Add(time.Second),
		Status: "ok", Attempts: []trace.Attempt{{Peer: "shop.users:2", At: noon}},
	}
	served := &trace.Span{
		Trace: first.Trace, ID: [8]byte{4}, Parent: first.ID, Served: true, Cell: "shop.users", Method: "Get", Peer: "shop.web", Begun: noon, Ended: noon,
		Status: "application", Error: "Not\xffFound",
	}
	raced := &trace.Span{
		Trace: first.Trace, ID: [8]byte{5}, Parent: served.ID, Cell: "db", Method: "Find", Begun: noon, Ended: noon, Status: "down",
		Attempts: []trace.Attempt{{Peer: "db", At: noon}, {Peer: "db:2", At: noon.Add(1)}},
	}
	got := decode(t, encode(resource("shop", "shop:3", "1.2.0"), []*trace.Span{first, served, raced}))
	if got, want := texts(got.Resource.Attributes), "service.name=shop service.version=1.2.0 service.instance.id=shop:3 telemetry.sdk.language=go telemetry.sdk.name=cell"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got.ScopeSpans[0].Scope.Name != scope || len(got.ScopeSpans[0].Spans) != 3 {
		t.Fatalf("%v", got)
	}
	for i, want := range []struct {
		name, attributes string
		kind             traces.Span_SpanKind
		status           traces.Status_StatusCode
		flags            traces.SpanFlags
		events           string
	}{
		{
			"shop.users/Get", "rpc.system=cell rpc.service=shop.users rpc.method=Get server.address=shop.users:2",
			traces.Span_SPAN_KIND_CLIENT, traces.Status_STATUS_CODE_UNSET, 1, "",
		},
		{
			"shop.users/Get", "rpc.system=cell rpc.service=shop.users rpc.method=Get client.address=shop.web error.type=Not\uFFFDFound",
			traces.Span_SPAN_KIND_SERVER, traces.Status_STATUS_CODE_UNSET,
			1 | traces.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | traces.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK, "",
		},
		{
			"db/Find", "rpc.system=cell rpc.service=db rpc.method=Find error.type=down",
			traces.Span_SPAN_KIND_CLIENT, traces.Status_STATUS_CODE_ERROR, 1,
			fmt.Sprintf("%d attempt server.address=db;%d attempt server.address=db:2;", noon.UnixNano(), noon.UnixNano()+1),
		},
	} {
		s, in := got.ScopeSpans[0].Spans[i], []*trace.Span{first, served, raced}[i]
		events := ""
		for _, e := range s.Events {
			events += fmt.Sprint(e.TimeUnixNano, " ", e.Name, " ", texts(e.Attributes), ";")
		}
		if s.Name != want.name || texts(s.Attributes) != want.attributes || s.Kind != want.kind || s.GetStatus().GetCode() != want.status || traces.SpanFlags(s.Flags) != want.flags || events != want.events {
			t.Errorf("%v\n%s\n%s", s, texts(s.Attributes), events)
		}
		parent := in.Parent[:]
		if in.Parent == [8]byte{} {
			parent = nil
		}
		if !bytes.Equal(s.TraceId, in.Trace[:]) || !bytes.Equal(s.SpanId, in.ID[:]) || !bytes.Equal(s.ParentSpanId, parent) ||
			s.StartTimeUnixNano != uint64(in.Begun.UnixNano()) || s.EndTimeUnixNano != uint64(in.Ended.UnixNano()) {
			t.Errorf("%v", s)
		}
	}
}

// Whose fault an error is decides on which side it counts.
func TestFailed(t *testing.T) {
	for status, want := range map[string]string{ // at the caller, at the cell
		"ok": "--", "application": "+-", "remote": "++", "invalid_request": "+-", "no_such_method": "++", "denied": "+-", "overloaded": "+-",
		"canceled": "+-", "deadline_exceeded": "++", "down": "+-", "incompatible": "+-",
	} {
		got := ""
		for _, served := range []bool{false, true} {
			got += map[bool]string{true: "+", false: "-"}[failed(&trace.Span{Served: served, Status: status})]
		}
		if got != want {
			t.Errorf("%s: %s, want %s", status, got, want)
		}
	}
}

func TestRejected(t *testing.T) {
	for _, r := range []*collector.ExportTraceServiceResponse{
		{},
		{PartialSuccess: &collector.ExportTracePartialSuccess{}},
		{PartialSuccess: &collector.ExportTracePartialSuccess{ErrorMessage: "careful"}},
		{PartialSuccess: &collector.ExportTracePartialSuccess{RejectedSpans: 300, ErrorMessage: "too old"}},
	} {
		b, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if n, why := rejected(b); n != uint64(r.GetPartialSuccess().GetRejectedSpans()) || why != r.GetPartialSuccess().GetErrorMessage() {
			t.Errorf("%v: %d %s", r, n, why)
		}
	}
}

func FuzzRejected(f *testing.F) {
	f.Add([]byte("\x0a\x09\x08\x03\x12\x05short"))
	f.Add([]byte("\x0a\x7f\x08"))
	f.Add([]byte{0x0b, 0x0a})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, why := rejected(b)
		if len(why) > len(b) || n > 0 && len(b) < 4 {
			t.Errorf("%x: %d %q", b, n, why)
		}
	})
}
