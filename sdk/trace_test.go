package sdk

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cell-network/cell/sdk/wire"
)

// recorder is a Tracer that keeps what it gets.
type recorder struct {
	never bool // samples nothing

	mu    sync.Mutex
	spans []*Span
}

func (r *recorder) Sampled(_ [16]byte, parent wire.Span) bool { return !r.never }
func (r *recorder) Serves(string)                             {}
func (r *recorder) Stop(context.Context)                      {}

func (r *recorder) End(s *Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = append(r.spans, s)
}

// record makes t's tracer.
func record(t testing.TB) *recorder {
	r := &recorder{}
	SetTracer(r)
	t.Cleanup(func() { SetTracer(nil) })
	return r
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = nil
}

// wait returns the spans, in the order in which they began, when there are so many.
func (r *recorder) wait(t testing.TB, n int) []*Span {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		spans := slices.Clone(r.spans)
		r.mu.Unlock()
		if len(spans) >= n {
			slices.SortStableFunc(spans, func(a, b *Span) int { return a.Begun.Compare(b.Begun) })
			return spans
		}
		if time.Now().After(end) {
			t.Fatalf("%d spans, want %d", len(spans), n)
		}
	}
}

// side says whose a span is and what it is about.
func (s *Span) side() string {
	side := "calls"
	if s.Served {
		side = "served"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s", side, s.Cell, s.Method, s.Status, s.Error))
}

// cellOf is a client of a cell in this process, with a connection of its own.
func cellOf(t testing.TB, name string, methods ...Method) *Client {
	t.Helper()
	g := &Genome{Name: name, Methods: methods, Error: func(err error) (string, string, []byte, bool) {
		return "Unsupported", "", nil, err == errors.ErrUnsupported
	}}
	handle, err := handler(g, newGate(name, ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := connected(t, handle)
	c.target, c.pool.live[0].instance = name, name
	return c
}

func TestSpansOfThreeHops(t *testing.T) {
	r := record(t)
	hop := func(to *Client) Method {
		return Method{ID: 1, Name: "Hop", Call: func(ctx context.Context, b []byte) ([]byte, error) {
			if to == nil {
				return []byte(TraceID(ctx)), nil
			}
			return Call(ctx, to, 1, "Hop", b)
		}}
	}
	a := cellOf(t, "a", hop(cellOf(t, "b", hop(cellOf(t, "c", hop(nil))))))
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	ctx := WithTraceParent(t.Context(), "00-"+trace+"-00f067aa0ba902b7-01")
	if got, err := Call(ctx, a, 1, "Hop", nil); err != nil || string(got) != trace {
		t.Fatalf("%s %v", got, err)
	}
	parent := "00f067aa0ba902b7"
	want := []string{"calls a", "served a", "calls b", "served b", "calls c", "served c"}
	spans := r.wait(t, len(want))
	if len(spans) != len(want) {
		t.Fatalf("%d spans, want %d", len(spans), len(want))
	}
	for i, s := range spans {
		if s.side() != want[i]+" Hop ok" || fmt.Sprintf("%x", s.Parent) != parent || fmt.Sprintf("%x", s.Trace) != trace || s.Ended.Before(s.Begun) {
			t.Errorf("%d: %s, trace %x, parent %x; want %s within %s", i, s.side(), s.Trace, s.Parent, want[i], parent)
		}
		parent = fmt.Sprintf("%x", s.ID)
	}
}

// A cell that has no tracer, and a call that is not sampled, are passed through.
func TestSpansArePassedOn(t *testing.T) {
	var got string
	last := cellOf(t, "last", Method{ID: 1, Name: "Get", Call: func(ctx context.Context, _ []byte) ([]byte, error) {
		got = TraceParent(ctx)
		return nil, nil
	}})
	first := cellOf(t, "first", Method{ID: 1, Name: "Get", Call: func(ctx context.Context, b []byte) ([]byte, error) {
		return Call(ctx, last, 1, "Get", b)
	}})
	call := func(ctx context.Context) string {
		t.Helper()
		if _, err := Call(ctx, first, 1, "Get", nil); err != nil {
			t.Fatal(err)
		}
		return got
	}
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	if got := call(WithTraceParent(t.Context(), parent)); got != parent {
		t.Errorf("without a tracer: %s", got)
	}
	if got := call(t.Context()); got != "" {
		t.Errorf("without a span: %s", got)
	}
	if got := TraceParent(WithTraceID(WithTraceParent(t.Context(), parent), "00000000000000000000000000000001")); got != "" {
		t.Errorf("the span of another trace: %s", got)
	}
	r := record(t)
	r.never = true
	if got, want := call(WithTraceParent(t.Context(), parent)), strings.TrimSuffix(parent, "1")+"0"; got != want {
		t.Errorf("not sampled: %s, want %s", got, want)
	}
	if got := call(t.Context()); !strings.HasSuffix(got, "-00") || strings.Contains(got, "-0000000000000000-") {
		t.Errorf("not sampled, the first: %s", got) // so that nobody further down begins
	}
	if len(r.spans) > 0 {
		t.Errorf("%s is recorded", r.spans[0].side())
	}
}

func TestSpanStatus(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	r := record(t)
	method := func(id uint32, name string, f func(context.Context) error) Method {
		return Method{ID: id, Name: name, Call: func(ctx context.Context, _ []byte) ([]byte, error) { return nil, f(ctx) }}
	}
	entered := make(chan struct{}, 1)
	wait := func(ctx context.Context) error { entered <- struct{}{}; <-ctx.Done(); return ctx.Err() }
	c := cellOf(t, "c",
		method(1, "Good", func(context.Context) error { return nil }),
		method(2, "Bad", func(context.Context) error { return errors.New("secret") }),
		method(3, "Own", func(context.Context) error { return errors.ErrUnsupported }),
		method(4, "Panic", func(context.Context) error { panic("x") }),
		method(5, "Invalid", func(context.Context) error { return &InvalidRequest{Reason: "x"} }),
		method(6, "Late", wait), method(7, "Left", wait))
	c.remote.Error = func(name, _ string, _ []byte) (error, func(any) bool, error) { return &Missed{}, nil, nil }
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
		r.reset()
		ctx, cancel := context.WithCancel(t.Context())
		switch test.method {
		case "Late":
			ctx, cancel = context.WithTimeout(ctx, time.Second)
		case "Left":
			go func() { <-entered; cancel() }()
		}
		_, _ = Call(ctx, c, uint32(i+1), test.method, nil)
		cancel()
		for _, s := range r.wait(t, 2) {
			want := "calls c " + test.method + " " + test.calls
			if s.Served {
				want = "served c " + test.served
			}
			if got := s.side(); got != want && got != "served c Late canceled" { // whichever comes first to the cell
				t.Errorf("%s, want %s", got, want)
			}
		}
		if test.method == "Late" {
			<-entered
		}
	}

	r.reset()
	c.pool.close()
	_, _ = Call(t.Context(), c, 1, "Good", nil)
	if got := r.wait(t, 1)[0].side(); got != "calls c Good down" {
		t.Error(got)
	}
}

func TestSpanOfHedgedCall(t *testing.T) {
	h := newHerd(t, "a", "b")
	c := h.full()
	r := record(t)
	h.get("a").hold.Store(true)
	h.eventually("a call is made at a and then at b", func() bool {
		r.reset()
		if _, err := Repeat(t.Context(), c, 1, "Do", number(1)); err != nil {
			t.Fatal(err)
		}
		s := r.wait(t, 1)[0]
		if len(r.spans) != 1 || s.Status != "ok" || s.Peer != "b" || s.Cell != "b" {
			t.Fatalf("%d spans: %s at %s", len(r.spans), s.side(), s.Peer)
		}
		tries := s.Attempts
		return len(tries) == 2 && tries[0].Peer == "a" && tries[1].Peer == "b" && tries[1].At.After(tries[0].At)
	})
}

// A call that one replica refuses and another one takes is one span.
func TestSpanOfRefusedCall(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	h := newHerd(t, "b")
	h.held = 1 // byte of requests: it refuses all
	h.start("a")
	c := h.full()
	r := record(t)
	h.eventually("a call is made at a and then at b", func() bool {
		r.reset()
		if _, err := Call(t.Context(), c, 1, "Do", number(1)); err != nil {
			t.Fatal(err)
		}
		s := r.wait(t, 1)[0]
		if s.side() != "calls b Do ok" || s.Peer != "b" {
			t.Fatalf("%s at %s", s.side(), s.Peer)
		}
		return len(s.Attempts) == 2 && s.Attempts[0].Peer == "a" && s.Attempts[1].Peer == "b"
	})
}

func TestSpansOfStreams(t *testing.T) {
	r := record(t)
	items := func(n int, end error) Method {
		return Method{ID: 1, Name: "Items", Stream: func(_ context.Context, _ []byte, s *wire.Stream) ([]byte, error) {
			for range n {
				if err := s.Send(wire.AppendString(nil, 1, "x")); err != nil {
					return nil, err
				}
			}
			return nil, end
		}}
	}
	take := Method{ID: 2, Name: "Take", Stream: func(_ context.Context, _ []byte, s *wire.Stream) ([]byte, error) {
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
	whole := func(c *Client) {
		for range Receive(t.Context(), c, 1, "Items", nil, read) {
		}
	}
	for _, test := range []struct {
		name, calls, served string
		method              Method
		run                 func(*Client)
	}{
		{"to its end", "Items ok", "Items ok", items(3, nil), whole},
		{"with an error behind items", "Items remote", "Items remote", items(3, errors.New("secret")), whole},
		{"left by the caller", "Items ok", "Items canceled", items(1<<20, nil), func(c *Client) {
			for range Receive(t.Context(), c, 1, "Items", nil, read) {
				return
			}
		}},
		{"sent", "Take ok", "Take ok", take, func(c *Client) { _, _ = Send(t.Context(), c, 2, "Take", nil, yields(nil), write) }},
		{"given up by an error among the items", "Take canceled", "Take ok", take, func(c *Client) {
			_, _ = Send(t.Context(), c, 2, "Take", nil, yields(errors.New("own")), write)
		}},
		{"in both directions", "Take ok", "Take ok", take, func(c *Client) {
			for range Exchange(t.Context(), c, 2, "Take", nil, yields(nil), write, read) {
			}
		}},
	} {
		r.reset()
		test.run(cellOf(t, "c", test.method))
		spans := r.wait(t, 2)
		if a, b := spans[0].side(), spans[1].side(); a != "calls c "+test.calls || b != "served c "+test.served || spans[1].Parent != spans[0].ID {
			t.Errorf("%s: %s, %s", test.name, a, b)
		}
	}
}

// An event's caller does not wait: its span ends first.
func TestSpansOfAnEvent(t *testing.T) {
	r := record(t)
	gate := make(chan struct{})
	c := cellOf(t, "c", Method{ID: 1, Name: "Tell", Call: func(context.Context, []byte) ([]byte, error) { <-gate; return nil, nil }})
	if err := Notify(t.Context(), c, 1, "Tell", nil); err != nil {
		t.Fatal(err)
	}
	called := r.wait(t, 1)[0]
	close(gate)
	if served := r.wait(t, 2)[1]; called.Served || !served.Served || served.Parent != called.ID {
		t.Errorf("%s, %s", called.side(), served.side())
	}
}
