package sdk

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/cell-network/cell/sdk/wire"
	"google.golang.org/protobuf/encoding/protowire"
)

// topicQueue is how many items a subscriber may be behind before the oldest are left out for it.
const topicQueue = 256

// Topic publishes items to whoever listens, in this cell or in others. Declared as an exported variable of the package of the
// served type it belongs to the cell's genome, and callers get a method of its name. The zero Topic is ready for use.
type Topic[T any] struct {
	mu   sync.Mutex
	subs map[*subscriber[T]]struct{}
}

type subscriber[T any] struct {
	queue  []T // at most topicQueue
	missed uint64
	ready  chan struct{} // holds one token while there is something in queue
}

// Missed tells a listener that it was too slow: so many items were left out before the next one. The range goes on.
type Missed struct {
	Cell, Topic string
	Count       uint64
}

func (e *Missed) Error() string {
	return fmt.Sprintf("listen to %s of cell %s: missed %d items", e.Topic, e.Cell, e.Count)
}

// Publish gives v to all who listen now. It never waits: who is 256 items behind misses the oldest and is told how many.
func (t *Topic[T]) Publish(v T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.subs {
		if len(s.queue) == topicQueue {
			copy(s.queue, s.queue[1:])
			s.queue = s.queue[:topicQueue-1]
			s.missed++
		}
		s.queue = append(s.queue, v)
		select {
		case s.ready <- struct{}{}:
		default:
		}
	}
}

// Listen yields what is published from now on until ctx ends; its error is then yielded.
func (t *Topic[T]) Listen(ctx context.Context) iter.Seq2[T, error] {
	s := t.subscribe()
	return func(yield func(T, error) bool) {
		defer t.leave(s)
		var none T
		for {
			select {
			case <-ctx.Done():
				yield(none, ctx.Err())
				return
			case <-s.ready:
			}
			items, missed := t.take(s)
			if missed > 0 && !yield(none, &Missed{Count: missed}) {
				return
			}
			for _, v := range items {
				if !yield(v, nil) {
					return
				}
			}
		}
	}
}

func (t *Topic[T]) subscribe() *subscriber[T] {
	s := &subscriber[T]{ready: make(chan struct{}, 1)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.subs == nil {
		t.subs = map[*subscriber[T]]struct{}{}
	}
	t.subs[s] = struct{}{}
	return s
}

func (t *Topic[T]) leave(s *subscriber[T]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.subs, s)
}

func (t *Topic[T]) take(s *subscriber[T]) ([]T, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	items, missed := s.queue, s.missed
	s.queue, s.missed = nil, 0
	return items, missed
}

// Subscribe serves a topic to a caller until it leaves or the cell stops. Generated code calls it.
func Subscribe[T any](ctx context.Context, s *wire.Stream, t *Topic[T], appendItem func([]byte, T) []byte) error {
	sub := t.subscribe()
	defer t.leave(sub)
	var b []byte
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.Draining():
			return nil
		case <-sub.ready:
		}
		items, missed := t.take(sub)
		for _, v := range items {
			b = appendItem(b[:0], v)
			if missed > 0 {
				b = protowire.AppendVarint(protowire.AppendTag(b, missedField, protowire.VarintType), missed)
				missed = 0
			}
			if err := s.Send(b); err != nil {
				return err
			}
		}
	}
}
