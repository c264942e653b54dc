package sdk

import (
	"context"
	"errors"
	"testing"

	"github.com/cell-network/cell/sdk/internal/topics"
)

// Who listens gets what is published from then on; who falls behind is told how much it missed, and publishing never waits.
func TestTopic(t *testing.T) {
	var topic Topic[int]
	topic.Publish(0) // nobody listens
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow, quick := topic.Listen(ctx), topic.Listen(ctx)
	const many = topics.Queue + 44
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
	if missed != many-topics.Queue {
		t.Errorf("missed %d, want %d", missed, many-topics.Queue)
	}
	if topic.Hub.Listening() != 0 {
		t.Errorf("%d still subscribed", topic.Hub.Listening())
	}
	ended := topic.Listen(ctx)
	cancel()
	for _, err := range ended {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}
