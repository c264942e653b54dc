package replicas

import (
	"testing"

	"github.com/cell-network/cell/sdk/internal/spans"
	"github.com/cell-network/cell/sdk/internal/spantest"
)

// spanned makes a call within a span.
func spanned(t *testing.T, c *Client, call func(*Client) recorded) ([]byte, error) {
	ctx, span := spans.Calling(t.Context(), c.Target, "Do")
	result, err := call(c)(ctx, span, 1, number(1))
	span.End()
	return result, err
}

func TestSpanOfHedgedCall(t *testing.T) {
	h := newHerd(t, "a", "b")
	c := h.full()
	r := spantest.Record(t)
	h.get("a").hold.Store(true)
	h.eventually("a call is made at a and then at b", func() bool {
		r.Reset()
		if _, err := spanned(t, c, repeat); err != nil {
			t.Fatal(err)
		}
		s := r.Wait(t, 1)[0]
		if len(r.Spans()) != 1 || s.Status != "ok" || s.Peer != "b" || s.Cell != "b" {
			t.Fatalf("%d spans: %s at %s", len(r.Spans()), spantest.Side(s), s.Peer)
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
	r := spantest.Record(t)
	h.eventually("a call is made at a and then at b", func() bool {
		r.Reset()
		if _, err := spanned(t, c, do); err != nil {
			t.Fatal(err)
		}
		s := r.Wait(t, 1)[0]
		if spantest.Side(s) != "calls b Do ok" || s.Peer != "b" {
			t.Fatalf("%s at %s", spantest.Side(s), s.Peer)
		}
		return len(s.Attempts) == 2 && s.Attempts[0].Peer == "a" && s.Attempts[1].Peer == "b"
	})
}
