package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/sdk"
	"github.com/cell-network/cell/sdk/internal/spantest"
	"github.com/cell-network/cell/sdk/internal/unixtest"
	"github.com/cell-network/cell/sdk/replicas"
	"github.com/cell-network/cell/sdk/stub"
	"github.com/cell-network/cell/sdk/trace"
	"github.com/cell-network/cell/sdk/wire"
)

// cellOf is a client of a cell in this process, with a connection of its own.
func cellOf(t testing.TB, name string, methods ...stub.Method) *stub.Client {
	t.Helper()
	g := &stub.Genome{Name: name, Methods: methods, Error: func(err error) (string, string, []byte, bool) {
		return "Unsupported", "", nil, err == errors.ErrUnsupported
	}}
	handle, err := sdk.Handler(g, name)
	if err != nil {
		t.Fatal(err)
	}
	return connected(t, name, handle)
}

func TestSpansOfThreeHops(t *testing.T) {
	r := spantest.Record(t)
	hop := func(to *stub.Client) stub.Method {
		return stub.Method{ID: 1, Name: "Hop", Call: func(ctx context.Context, b []byte) ([]byte, error) {
			if to == nil {
				return []byte(trace.ID(ctx)), nil
			}
			return stub.Call(ctx, to, 1, "Hop", b)
		}}
	}
	a := cellOf(t, "a", hop(cellOf(t, "b", hop(cellOf(t, "c", hop(nil))))))
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	ctx := trace.WithParent(t.Context(), "00-"+id+"-00f067aa0ba902b7-01")
	if got, err := stub.Call(ctx, a, 1, "Hop", nil); err != nil || string(got) != id {
		t.Fatalf("%s %v", got, err)
	}
	parent := "00f067aa0ba902b7"
	want := []string{"calls a", "served a", "calls b", "served b", "calls c", "served c"}
	spans := r.Wait(t, len(want))
	if len(spans) != len(want) {
		t.Fatalf("%d spans, want %d", len(spans), len(want))
	}
	for i, s := range spans {
		if spantest.Side(s) != want[i]+" Hop ok" || fmt.Sprintf("%x", s.Parent) != parent || fmt.Sprintf("%x", s.Trace) != id || s.Ended.Before(s.Begun) {
			t.Errorf("%d: %s, trace %x, parent %x; want %s within %s", i, spantest.Side(s), s.Trace, s.Parent, want[i], parent)
		}
		parent = fmt.Sprintf("%x", s.ID)
	}
}

// A cell that has no tracer, and a call that is not sampled, are passed through.
func TestSpansArePassedOn(t *testing.T) {
	var got string
	last := cellOf(t, "last", stub.Method{ID: 1, Name: "Get", Call: func(ctx context.Context, _ []byte) ([]byte, error) {
		got = trace.Parent(ctx)
		return nil, nil
	}})
	first := cellOf(t, "first", stub.Method{ID: 1, Name: "Get", Call: func(ctx context.Context, b []byte) ([]byte, error) {
		return stub.Call(ctx, last, 1, "Get", b)
	}})
	call := func(ctx context.Context) string {
		t.Helper()
		if _, err := stub.Call(ctx, first, 1, "Get", nil); err != nil {
			t.Fatal(err)
		}
		return got
	}
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	if got := call(trace.WithParent(t.Context(), parent)); got != parent {
		t.Errorf("without a tracer: %s", got)
	}
	if got := call(t.Context()); got != "" {
		t.Errorf("without a span: %s", got)
	}
	if got := trace.Parent(trace.WithID(trace.WithParent(t.Context(), parent), "00000000000000000000000000000001")); got != "" {
		t.Errorf("the span of another trace: %s", got)
	}
	r := spantest.Record(t)
	r.Never = true
	if got, want := call(trace.WithParent(t.Context(), parent)), strings.TrimSuffix(parent, "1")+"0"; got != want {
		t.Errorf("not sampled: %s, want %s", got, want)
	}
	if got := call(t.Context()); !strings.HasSuffix(got, "-00") || strings.Contains(got, "-0000000000000000-") {
		t.Errorf("not sampled, the first: %s", got) // so that nobody further down begins
	}
	if len(r.Spans()) > 0 {
		t.Errorf("%s is recorded", spantest.Side(r.Spans()[0]))
	}
}

func TestSpanStatus(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	r := spantest.Record(t)
	method := func(id uint32, name string, f func(context.Context) error) stub.Method {
		return stub.Method{ID: id, Name: name, Call: func(ctx context.Context, _ []byte) ([]byte, error) { return nil, f(ctx) }}
	}
	entered := make(chan struct{}, 1)
	wait := func(ctx context.Context) error { entered <- struct{}{}; <-ctx.Done(); return ctx.Err() }
	c := cellOf(t, "c",
		method(1, "Good", func(context.Context) error { return nil }),
		method(2, "Bad", func(context.Context) error { return errors.New("secret") }),
		method(3, "Own", func(context.Context) error { return errors.ErrUnsupported }),
		method(4, "Panic", func(context.Context) error { panic("x") }),
		method(5, "Invalid", func(context.Context) error { return &sdk.InvalidRequest{Reason: "x"} }),
		method(6, "Late", wait), method(7, "Left", wait))
	c.Remote.Error = func(name, _ string, _ []byte) (error, func(any) bool, error) { return &sdk.Missed{}, nil, nil }
	for i, test := range []struct{ method, calls, served string }{
		{"Good", "ok", "Good ok"},
		{"Bad", "remote", "Bad remote"},
		{"Own", "application Missed", "Own application Unsupported"}, // as each side's type is called
		{"Panic", "remote", "Panic remote"},
		{"Invalid", "invalid_request", "Invalid invalid_request"},
		{"Late", "deadline_exceeded", "Late deadline_exceeded"},
		{"Left", "canceled", "Left canceled"},
		{"Gone", "remote", "_OTHER no_such_method"},
	} {
		r.Reset()
		ctx, cancel := context.WithCancel(t.Context())
		switch test.method {
		case "Late":
			ctx, cancel = context.WithTimeout(ctx, time.Second)
		case "Left":
			go func() { <-entered; cancel() }()
		}
		_, _ = stub.Call(ctx, c, uint32(i+1), test.method, nil)
		cancel()
		for _, s := range r.Wait(t, 2) {
			want := "calls c " + test.method + " " + test.calls
			if s.Served {
				want = "served c " + test.served
			}
			if got := spantest.Side(s); got != want && got != "served c Late canceled" { // whichever comes first to the cell
				t.Errorf("%s, want %s", got, want)
			}
		}
		if test.method == "Late" {
			<-entered
		}
	}

	r.Reset()
	c.Close()
	_, _ = stub.Call(t.Context(), c, 1, "Good", nil)
	if got := spantest.Side(r.Wait(t, 1)[0]); got != "calls c Good down" {
		t.Error(got)
	}
}

func TestSpansOfStreams(t *testing.T) {
	r := spantest.Record(t)
	items := func(n int, end error) stub.Method {
		return stub.Method{ID: 1, Name: "Items", Stream: func(_ context.Context, _ []byte, s *wire.Stream) ([]byte, error) {
			for range n {
				if err := s.Send(wire.AppendString(nil, 1, "x")); err != nil {
					return nil, err
				}
			}
			return nil, end
		}}
	}
	take := stub.Method{ID: 2, Name: "Take", Stream: func(_ context.Context, _ []byte, s *wire.Stream) ([]byte, error) {
		for {
			if _, err := s.Recv(); err != nil {
				return nil, nil
			}
		}
	}}
	read := func(f *wire.Fields, v *string) {
		if f.ID == 1 {
			*v = wire.GetString[string](f, "item")
		}
	}
	write := func(b []byte, v string) []byte { return wire.AppendString(b, 1, v) }
	yields := func(err error) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) { _ = yield("x", nil) && (err == nil || yield("", err)) }
	}
	whole := func(c *stub.Client) {
		for range stub.Receive(t.Context(), c, 1, "Items", nil, read) {
		}
	}
	for _, test := range []struct {
		name, calls, served string
		method              stub.Method
		run                 func(*stub.Client)
	}{
		{"to its end", "Items ok", "Items ok", items(3, nil), whole},
		{"with an error behind items", "Items remote", "Items remote", items(3, errors.New("secret")), whole},
		{"left by the caller", "Items ok", "Items canceled", items(1<<20, nil), func(c *stub.Client) {
			for range stub.Receive(t.Context(), c, 1, "Items", nil, read) {
				return
			}
		}},
		{"sent", "Take ok", "Take ok", take, func(c *stub.Client) { _, _ = stub.Send(t.Context(), c, 2, "Take", nil, yields(nil), write) }},
		{"given up by an error among the items", "Take canceled", "Take ok", take, func(c *stub.Client) {
			_, _ = stub.Send(t.Context(), c, 2, "Take", nil, yields(errors.New("own")), write)
		}},
		{"in both directions", "Take ok", "Take ok", take, func(c *stub.Client) {
			for range stub.Exchange(t.Context(), c, 2, "Take", nil, yields(nil), write, read) {
			}
		}},
	} {
		r.Reset()
		test.run(cellOf(t, "c", test.method))
		spans := r.Wait(t, 2)
		if a, b := spantest.Side(spans[0]), spantest.Side(spans[1]); a != "calls c "+test.calls || b != "served c "+test.served || spans[1].Parent != spans[0].ID {
			t.Errorf("%s: %s, %s", test.name, a, b)
		}
	}
}

// An event's caller does not wait: its span ends first.
func TestSpansOfAnEvent(t *testing.T) {
	r := spantest.Record(t)
	gate := make(chan struct{})
	c := cellOf(t, "c", stub.Method{ID: 1, Name: "Tell", Call: func(context.Context, []byte) ([]byte, error) { <-gate; return nil, nil }})
	if err := stub.Notify(t.Context(), c, 1, "Tell", nil); err != nil {
		t.Fatal(err)
	}
	called := r.Wait(t, 1)[0]
	close(gate)
	if served := r.Wait(t, 2)[1]; called.Served || !served.Served || served.Parent != called.ID {
		t.Errorf("%s, %s", spantest.Side(called), spantest.Side(served))
	}
}

// connected is a client of a server that answers with handle. It cannot make another connection.
func connected(t testing.TB, name string, handle wire.Handler) *stub.Client {
	t.Helper()
	c := replicas.New(&stub.Remote{Need: name}, name, nowhere{})
	c.Add(replicas.Reached{Conn: unixtest.Serve(t, handle), Instance: name, Instances: 1})
	return c
}

// nowhere is a celld that does not answer.
type nowhere struct{}

func (nowhere) Connect(context.Context, []string) (replicas.Reached, error) {
	return replicas.Reached{}, &wire.NotSent{Err: net.ErrClosed}
}
func (nowhere) Greeted(context.Context, *wire.Conn) error { return nil }
