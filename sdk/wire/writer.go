package wire

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// softQueue is how many queued bytes make a caller wait before it adds a frame.
	softQueue = 1 << 20
	// hardQueue is how many bytes, of frames whose sender cannot wait, end the connection when they queue up behind one write.
	hardQueue = 2 << 20

	copyBelow = 8 << 10  // a shorter payload is copied behind the frame before it, to be written with it
	chunkSize = 64 << 10 // of the buffers that frames are copied into
	writeStep = 1 << 20  // bytes for which one write deadline counts
)

// buffer is a part of the stream: a chunk, from chunks and returned to it when written, or a payload as it was given.
type buffer struct {
	b     []byte
	chunk *[chunkSize]byte // nil for a payload
}

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

func (b *buffer) free() {
	if b.chunk != nil {
		chunks.Put(b.chunk)
	}
}

var errSlowPeer = errors.New("the other side does not read")

// writer combines the frames of many goroutines: whatever was added while one write was under way goes out with the next.
// A frame that nothing else waits with may be written by the goroutine that adds it, without ever blocking it.
type writer struct {
	conn  net.Conn
	raw   syscall.RawConn // nil when conn has no descriptor
	stall time.Duration   // how long a write may make no progress
	fail  func(error)     // called once, when writing failed

	mu      sync.Mutex
	changed sync.Cond     // the queue, writing or err changed
	space   chan struct{} // closed when the queue got shorter; nil when nobody waits
	queue   []buffer
	pending int // bytes in queue and in the write under way
	urgent  int // bytes in queue whose sender did not wait
	writing bool
	err     error

	// Positions in the stream: bytes added so far, and bytes of which the other side may have something.
	added, sent uint64
}

func newWriter(conn net.Conn, stall time.Duration, fail func(error)) *writer {
	w := &writer{conn: conn, stall: stall, fail: fail}
	w.changed.L = &w.mu
	if c, ok := conn.(syscall.Conn); ok {
		w.raw, _ = c.SyscallConn()
	}
	return w
}

// lock waits until there is space for a frame and returns with w.mu held, or with an error and w.mu free.
func (w *writer) lock(ctx context.Context) error {
	for {
		w.mu.Lock()
		if w.err != nil {
			w.mu.Unlock()
			return w.err
		}
		if w.pending < softQueue {
			return nil
		}
		if w.space == nil {
			w.space = make(chan struct{})
		}
		space := w.space
		w.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lockNow is lock for who must not wait with a frame of size bytes: it ends the connection when the other side lets too much
// pile up.
func (w *writer) lockNow(size int) error {
	w.mu.Lock()
	w.urgent += size
	if w.err == nil && w.urgent > hardQueue {
		w.mu.Unlock()
		w.stop(errSlowPeer)
		w.fail(errSlowPeer)
		return errSlowPeer
	}
	if w.err != nil {
		w.mu.Unlock()
		return w.err
	}
	return nil
}

// add queues a frame; w.mu is held. A payload that is long and the writer's own is kept, otherwise it is copied.
func (w *writer) add(h header, ext *extension, payload []byte, own bool) {
	h.length = uint32(len(payload))
	if ext != nil {
		h.length += extensionSize
	}
	w.pending += headerSize + int(h.length)
	w.added += uint64(headerSize) + uint64(h.length)
	need := headerSize + extensionSize
	if len(payload) < copyBelow {
		need += len(payload)
	}
	if n := len(w.queue); n == 0 || w.queue[n-1].chunk == nil || cap(w.queue[n-1].b)-len(w.queue[n-1].b) < need {
		chunk := chunks.Get().(*[chunkSize]byte)
		w.queue = append(w.queue, buffer{chunk[:0], chunk})
	}
	b := &w.queue[len(w.queue)-1].b
	*b = appendHeader(*b, h)
	if ext != nil {
		*b = appendExtension(*b, ext)
	}
	switch {
	case len(payload) < copyBelow:
		*b = append(*b, payload...)
	case own:
		w.queue = append(w.queue, buffer{b: payload})
	default:
		w.queue = append(w.queue, buffer{b: bytes.Clone(payload)})
	}
}

// unlock sends what add queued. alone is a hint that no other frame will follow at once: then this goroutine tries a write.
func (w *writer) unlock(alone bool) {
	if !alone || w.raw == nil || w.writing || len(w.queue) != 1 {
		w.mu.Unlock()
		w.changed.Broadcast()
		return
	}
	first := w.queue[0]
	w.queue = w.queue[:0]
	w.writing, w.sent, w.urgent = true, w.added, 0
	w.mu.Unlock()

	n, err := w.tryWrite(first.b)

	w.mu.Lock()
	w.writing = false
	w.pending -= n
	rest := len(first.b) - n
	w.sent -= uint64(rest)
	if err == nil && w.err == nil && rest > 0 {
		// The rest stays first in the queue and is left to the flusher.
		first.b = first.b[n:]
		w.queue = slices.Insert(w.queue, 0, first)
	} else {
		first.free()
	}
	w.mu.Unlock()
	w.changed.Broadcast()
	if err != nil {
		w.broken(err)
	}
}
