package sdk

import (
	"context"
	"errors"
	"testing"
)

// Who listens gets what is published from then on; who falls behind is told how much it missed, and publishing never waits.
func TestTopic(t *testing.T) {
	var topic Topic[int]
	topic.Publish(0) // nobody listens
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow, quick := topic.Listen(ctx), topic.Listen(ctx)
	const many = topicQueue + 44
	for i := 1; i <= many; i++ {
		topic.Publish(i)
		if i == 1 {
			for v, err := range quick {
				if v != 1 || err != nil {
					t.Errorf("%d %v", v, err)
				}
				break
			}
		}
	}
	next, missed := 0, uint64(0)
	for v, err := range slow {
		if e, ok := errors.AsType[*Missed](err); ok {
			missed, next = e.Count, int(e.Count)
			continue
		}
		if next++; v != next || err != nil {
			t.Fatalf("%d %v, want %d", v, err, next)
		}
		if v == many {
			break
		}
	}
	if missed != many-topicQueue {
		t.Errorf("missed %d, want %d", missed, many-topicQueue)
	}
	if len(topic.subs) != 0 {
		t.Errorf("%d still subscribed", len(topic.subs))
	}
	ended := topic.Listen(ctx)
	cancel()
	for _, err := range ended {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func TestMeta(t *testing.T) {
	const id = "0af7651916cd43dd8448eb211c80319c"
	ctx := t.Context()
	if TraceID(ctx) != "" || Priority(ctx) != 0 {
		t.Error("a context of no call has a trace or a priority")
	}
	ctx = WithPriority(WithTraceID(ctx, id), 7)
	if m := metaOf(ctx); TraceID(ctx) != id || Priority(ctx) != 7 || m.priority != 7 {
		t.Errorf("%s %d", TraceID(ctx), Priority(ctx))
	}
	for _, bad := range []string{"", "x", id[:30], id + "00"} {
		if TraceID(WithTraceID(ctx, bad)) != id {
			t.Errorf("%q was taken", bad)
		}
	}
	if a, b := metaOf(t.Context()), metaOf(t.Context()); a.trace == b.trace {
		t.Error("two calls that nothing caused have one trace")
	}
}
