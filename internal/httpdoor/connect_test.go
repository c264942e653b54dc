package httpdoor

import (
	"context"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/cell-network/cell/sdk/genome"
)

// connectClient calls a method with the real client of Connect and messages of the interface that cell genome --proto writes.
type connectClient struct {
	file protoreflect.FileDescriptor
	url  string
	json bool
}

func (c *connectClient) message(t *testing.T, name, text string) *dynamicpb.Message {
	t.Helper()
	d := c.file.Messages().ByName(protoreflect.Name(name))
	if d == nil {
		t.Fatalf("no message %s", name)
	}
	m := dynamicpb.NewMessage(d)
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	return m
}

func (c *connectClient) call(ctx context.Context, t *testing.T, method, request string) (proto.Message, error) {
	t.Helper()
	rpc := c.file.Services().ByName("Clock").Methods().ByName(protoreflect.Name(method))
	options := []connect.ClientOption{
		connect.WithSchema(rpc),
		connect.WithResponseInitializer(func(_ connect.Spec, message any) error {
			*message.(*dynamicpb.Message) = *dynamicpb.NewMessage(rpc.Output())
			return nil
		}),
	}
	if c.json {
		options = append(options, connect.WithProtoJSON())
	}
	client := connect.NewClient[dynamicpb.Message, dynamicpb.Message](http.DefaultClient, c.url+"/"+string(rpc.Parent().FullName())+"/"+method, options...)
	answer, err := client.CallUnary(ctx, connect.NewRequest(c.message(t, string(rpc.Input().Name()), request)))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

func TestConnect(t *testing.T) {
	p := newProvider(t)
	_, s := open(t, p, nil)
	files, err := (&protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(map[string]string{"clock.proto": string(genome.Proto(p.g))}),
	})}).Compile(t.Context(), "clock.proto")
	if err != nil {
		t.Fatal(err)
	}
	for _, asJSON := range []bool{false, true} {
		c := &connectClient{file: files[0], url: s.URL, json: asJSON}
		for _, call := range []struct{ method, request, answer, want string }{
			{"Add", `{"a":"9007199254740992","b":1}`, "AddResponse", `{"result":"9007199254740993"}`},
			{"Add", `{"a":-3}`, "AddResponse", `{"result":-3}`},
			{"Echo", `{"p":{"UserID":7,"Label":"ü\n"}}`, "EchoResponse", `{"result":{"UserID":7,"Label":"ü\n"}}`},
			{"Note", `{"text":"hi"}`, "NoteResponse", `{}`},
		} {
			got, err := c.call(t.Context(), t, call.method, call.request)
			if err != nil {
				t.Errorf("json %v: %s: %v", asJSON, call.method, err)
				continue
			}
			if want := c.message(t, call.answer, call.want); call.method != "Echo" && !proto.Equal(got, want) {
				t.Errorf("json %v: %s: %v, want %v", asJSON, call.method, got, want)
			} else if call.method == "Echo" { // Raw is JSON null, which is bytes there
				p := got.ProtoReflect().Get(got.ProtoReflect().Descriptor().Fields().ByName("result")).Message()
				f := p.Descriptor().Fields()
				if id, label := p.Get(f.ByName("user_id")).Int(), p.Get(f.ByName("label")).String(); id != 7 || label != "ü\n" {
					t.Errorf("json %v: %s: %v", asJSON, call.method, got)
				}
			}
		}

		// An error of the cell's own comes with its fields.
		_, err := c.call(t.Context(), t, "Add", `{"a":"9223372036854775807","b":"1"}`)
		if connect.CodeOf(err) != connect.CodeFailedPrecondition {
			t.Errorf("json %v: %v", asJSON, err)
		}
		e := err.(*connect.Error)
		if len(e.Details()) != 1 || e.Details()[0].Type() != "my_clock.Overflow" {
			t.Fatalf("json %v: %v", asJSON, e.Details())
		}
		own := c.message(t, "Overflow", `{}`)
		if err := proto.Unmarshal(e.Details()[0].Bytes(), own); err != nil || !proto.Equal(own, c.message(t, "Overflow", `{"A":"9223372036854775807","B":"1"}`)) {
			t.Errorf("json %v: %v %v", asJSON, own, err)
		}

		// On a slow machine the time is over before the call reaches the cell.
		for within, reached := 30*time.Millisecond, false; !reached; within *= 2 {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			if _, err = c.call(ctx, t, "Hang", `{}`); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
				t.Errorf("json %v: %v", asJSON, err)
			}
			cancel()
			select {
			case <-p.hangs:
				reached = true
				<-p.ended
			case <-time.After(within):
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-p.hangs; cancel() }()
		if _, err = c.call(ctx, t, "Hang", `{}`); connect.CodeOf(err) != connect.CodeCanceled {
			t.Errorf("json %v: %v", asJSON, err)
		}
		if <-p.ended == nil {
			t.Error("the call went on at the cell")
		}
		if _, err = c.call(t.Context(), t, "Panic", `{}`); connect.CodeOf(err) != connect.CodeInternal {
			t.Errorf("json %v: %v", asJSON, err)
		}
	}
}
