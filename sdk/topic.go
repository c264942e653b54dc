package sdk

import (
	"context"
	"fmt"
	"iter"

	"github.com/cell-network/cell/sdk/internal/topics"
)

// Topic publishes items to whoever listens, in this cell or in others. Declared as an exported variable of the package of the
// served type it belongs to the cell's genome, and callers get a method of its name. The zero Topic is ready for use.
type Topic[T any] struct {
	Hub topics.Hub[T] // for generated code
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
func (t *Topic[T]) Publish(v T) { t.Hub.Publish(v) }

// Listen yields what is published from now on until ctx ends; its error is then yielded.
func (t *Topic[T]) Listen(ctx context.Context) iter.Seq2[T, error] {
	s := t.Hub.Subscribe()
	return func(yield func(T, error) bool) {
		defer t.Hub.Leave(s)
		var none T
		for {
			select {
			case <-ctx.Done():
				yield(none, ctx.Err())
				return
			case <-s.Ready():
			}
			items, missed := t.Hub.Take(s)
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
