package wire

import (
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
	b        []byte
	chunk    *[chunkSize]byte // nil for a payload
	borrowed bool             // the payload is its sender's again as soon as w.mu is free
	whole    []byte           // to be recycled when b, a part of it, was written
}

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

func (b *buffer) free() {
	if b.chunk != nil {
		chunks.Put(b.chunk)
	}
	Recycle(b.whole)
}

var errSlowPeer = errors.New("the other side does not read")

// writer combines the frames of many goroutines: whatever was added while one write was under way goes out with the next.
// A frame that nothing else waits with may be written by the goroutine that adds it, without ever blocking it; otherwise a
// goroutine is started that writes until nothing is left.
type writer struct {
	conn  net.Conn
	raw   syscall.RawConn // nil when conn has no descriptor
	stall time.Duration   // how long a write may make no progress
	fail  func(error)     // called once, when writing failed

	mu      sync.Mutex
	quiet   sync.Cond     // writing ended, or err changed
	space   chan struct{} // closed when the queue got shorter; nil when nobody waits
	queue   []buffer
	spare   []buffer // an empty one, to take its place
	pending int      // bytes in queue and in the write under way
	urgent  int      // bytes in queue whose sender did not wait
	writing bool     // a goroutine writes, and looks at the queue again when it has
	err     error

	// Positions in the stream: bytes added so far, and bytes of which the other side may have something.
	added, sent uint64

	// What attempt is to write, and did, for who writes. The function is made once: one for each write would be garbage.
	attempt func(fd uintptr) bool
	vec     [maxVec][]byte
	count   int
	n       int
	nerr    error
	waits   bool // until the socket takes something

	// Of who waits for the socket with its own payload, and the pacer, which ends that.
	soon struct {
		turns, seen          uint64
		now, kicked, watched bool
	}
}

// maxVec is how many buffers are written at once without waiting.
const maxVec = 4

func newWriter(conn net.Conn, stall time.Duration, fail func(error)) *writer {
	w := &writer{conn: conn, stall: stall, fail: fail}
	w.quiet.L = &w.mu
	w.attempt = w.tryOnce
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

// lockIfRoom is lock for who can also come later. Without room, or with an error, w.mu is free.
func (w *writer) lockIfRoom() (room bool, err error) {
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return true, w.err
	}
	if w.pending >= softQueue {
		w.mu.Unlock()
		return false, nil
	}
	return true, nil
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
		w.queue = append(w.queue, buffer{b: chunk[:0], chunk: chunk})
	}
	b := &w.queue[len(w.queue)-1].b
	*b = appendHeader(*b, h)
	if ext != nil {
		*b = appendExtension(*b, ext)
	}
	switch {
	case len(payload) < copyBelow:
		*b = append(*b, payload...)
	default:
		w.queue = append(w.queue, buffer{b: payload, borrowed: !own})
	}
}

// addAnswer is add of an answer, whose memory may be used again if recycle says so.
func (w *writer) addAnswer(kind frameType, id uint64, result []byte, recycle bool) {
	w.add(header{kind: kind, id: id}, nil, result, true)
	switch last := &w.queue[len(w.queue)-1]; {
	case !recycle:
	case last.chunk == nil:
		last.whole = result
	default: // copied
		Recycle(result)
	}
}

// keep copies what is borrowed.
func keep(queue []buffer) {
	for i := range queue {
		if b := &queue[i]; b.borrowed {
			b.whole = append(allocate(len(b.b))[:0], b.b...)
			b.b, b.borrowed = b.whole, false
		}
	}
}

// unlock sends what add queued. alone is a hint that no other frame will follow at once: then this goroutine tries a write.
func (w *writer) unlock(alone bool) {
	switch {
	case w.writing || len(w.queue) == 0:
		keep(w.queue)
		w.mu.Unlock()
	case alone && w.raw != nil && len(w.queue) <= maxVec:
		w.writeHere(false)
	default:
		keep(w.queue)
		w.writing = true
		w.mu.Unlock()
		go w.run()
	}
}

// unlockAndWait is unlock for who may wait a while for the socket to take it: then a long payload need not be copied.
func (w *writer) unlockAndWait() {
	if w.writing || w.raw == nil || len(w.queue) > maxVec {
		w.unlock(true)
		return
	}
	w.writeHere(true)
}

// hold leaves what add queued for a later push, or for another frame to take along.
func (w *writer) hold() {
	keep(w.queue)
	w.mu.Unlock()
}

// push sends what is held.
func (w *writer) push() {
	w.mu.Lock()
	w.unlock(true)
}

// writeHere writes what the socket takes at once, or if wait is set within some milliseconds, and starts a goroutine for the rest;
// w.mu is held, and free afterwards.
func (w *writer) writeHere(wait bool) {
	batch := w.queue
	w.queue, w.spare = w.spare, nil
	w.writing, w.sent, w.urgent = true, w.added, 0
	size := 0
	for i, b := range batch {
		w.vec[i] = b.b
		size += len(b.b)
	}
	borrowed := slices.ContainsFunc(batch, func(b buffer) bool { return b.borrowed })
	w.mu.Unlock()

	n, err := w.tryWrite(len(batch))
	if wait && err == nil && n < size {
		n, err = w.writeSoon(batch, n, size)
	}

	if err == nil && n < size && borrowed {
		keep(batch)
	}
	w.mu.Lock()
	w.pending -= n
	w.sent -= uint64(size - n)
	left := batch[:0]
	for _, b := range batch {
		switch {
		case n >= len(b.b):
			n -= len(b.b)
			b.free()
		default: // it stays first in the queue
			b.b, n = b.b[n:], 0
			left = append(left, b)
		}
	}
	if err == nil && w.err == nil && len(left) > 0 {
		w.queue = slices.Insert(w.queue, 0, left...)
	}
	clear(batch)
	w.spare = batch[:0]
	if w.space != nil && w.pending < softQueue {
		close(w.space)
		w.space = nil
	}
	w.writing = err == nil && w.err == nil && len(w.queue) > 0
	again := w.writing
	w.mu.Unlock()
	switch {
	case again:
		go w.run()
	default:
		w.quiet.Broadcast()
	}
	if err != nil {
		w.broken(err)
	}
}
