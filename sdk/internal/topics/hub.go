// Package topics hands what is published to those who listen.
package topics

import "sync"

// Queue is how many items a subscriber may be behind before the oldest are left out for it.
const Queue = 256

// Hub knows who listens. The zero Hub is ready for use.
type Hub[T any] struct {
	mu   sync.Mutex
	subs map[*Subscriber[T]]struct{}
}

// Subscriber is one who listens.
type Subscriber[T any] struct {
	queue  []T // at most Queue
	missed uint64
	ready  chan struct{} // holds one token while there is something in queue
}

// Ready has a value when there is something to take.
func (s *Subscriber[T]) Ready() <-chan struct{} { return s.ready }

// Publish gives v to all who listen now. It never waits: who is Queue items behind misses the oldest.
func (h *Hub[T]) Publish(v T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		if len(s.queue) == Queue {
			copy(s.queue, s.queue[1:])
			s.queue = s.queue[:Queue-1]
			s.missed++
		}
		s.queue = append(s.queue, v)
		select {
		case s.ready <- struct{}{}:
		default:
		}
	}
}

// Subscribe adds one who listens, until Leave.
func (h *Hub[T]) Subscribe() *Subscriber[T] {
	s := &Subscriber[T]{ready: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = map[*Subscriber[T]]struct{}{}
	}
	h.subs[s] = struct{}{}
	return s
}

// Leave takes s out.
func (h *Hub[T]) Leave(s *Subscriber[T]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subs, s)
}

// Listening is how many there are.
func (h *Hub[T]) Listening() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs)
}

// Take returns what came for s since the last time, and how many items before that were left out.
func (h *Hub[T]) Take(s *Subscriber[T]) (items []T, missed uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	items, missed = s.queue, s.missed
	s.queue, s.missed = nil, 0
	return items, missed
}
