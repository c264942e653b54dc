package wire

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tryWrite writes what the socket takes of the first count of w.vec, without waiting; it belongs to who writes.
func (w *writer) tryWrite(count int) (n int, err error) {
	w.count = count
	err = w.raw.Write(w.attempt)
	if !w.waits && isTimeout(err) { // the deadline of a write that was long ago
		w.conn.SetWriteDeadline(time.Time{})
		err = w.raw.Write(w.attempt)
	}
	n = w.n
	if err == nil {
		err = w.nerr
	} else {
		n = 0
	}
	clear(w.vec[:count])
	if err == syscall.EAGAIN {
		err = nil
	}
	return max(n, 0), err
}

func (w *writer) tryOnce(fd uintptr) bool {
	for {
		if w.count == 1 {
			w.n, w.nerr = syscall.Write(int(fd), w.vec[0])
		} else {
			w.n, w.nerr = unix.Writev(int(fd), w.vec[:w.count])
		}
		if w.nerr != syscall.EINTR {
			return w.nerr != syscall.EAGAIN || !w.waits
		}
	}
}

// writeSoon goes on to write a batch of which n bytes are written, until the pacer ends that.
func (w *writer) writeSoon(batch []buffer, n, size int) (int, error) {
	w.mu.Lock()
	w.soon.now = true
	w.soon.turns++
	start := !w.soon.watched
	w.soon.watched = true
	w.mu.Unlock()
	if start {
		watch(w)
	}
	w.waits = true
	var err error
	for n < size && err == nil {
		count, skip := 0, n
		for _, b := range batch {
			if skip >= len(b.b) {
				skip -= len(b.b)
				continue
			}
			w.vec[count], skip = b.b[skip:], 0
			count++
		}
		var more int
		more, err = w.tryWrite(count)
		n += more
	}
	w.waits = false
	w.mu.Lock()
	defer w.mu.Unlock()
	w.soon.now = false
	if w.soon.kicked || isTimeout(err) {
		w.soon.kicked = false
		w.conn.SetWriteDeadline(time.Time{})
	}
	if isTimeout(err) { // it is left to run, which has a deadline of its own
		err = nil
	}
	return n, err
}

// tick is called while somebody waits in writeSoon, or did of late.
func (w *writer) tick() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.soon
	quiet := s.seen == s.turns
	s.seen = s.turns
	switch {
	case !quiet:
		return true
	case s.now:
		s.kicked = true
		w.conn.SetWriteDeadline(time.Unix(1, 0))
		return true
	}
	s.watched = false
	return false
}

// run writes the queue until nothing is left, the writer is stopped or a write fails.
func (w *writer) run() {
	for {
		runtime.Gosched() // the goroutines that are about to add a frame do it now
		w.mu.Lock()
		if w.err != nil || len(w.queue) == 0 {
			w.writing = false
			w.mu.Unlock()
			w.quiet.Broadcast()
			return
		}
		batch := w.queue
		w.queue, w.spare = w.spare, nil
		w.sent, w.urgent = w.added, 0
		size := 0
		for _, b := range batch {
			size += len(b.b)
		}
		w.mu.Unlock()

		n, err := w.write(batch)

		for i := range batch {
			batch[i].free()
		}
		clear(batch)
		w.mu.Lock()
		w.spare = batch[:0]
		w.pending -= size
		w.sent -= uint64(size - n)
		if w.space != nil && w.pending < softQueue {
			close(w.space)
			w.space = nil
		}
		if err != nil {
			w.writing = false
		}
		w.mu.Unlock()
		if err != nil {
			w.quiet.Broadcast()
			w.broken(err)
			return
		}
	}
}

// write writes the buffers in order, as many in one call of the system as it takes.
func (w *writer) write(batch []buffer) (written int, err error) {
	var step net.Buffers
	for i, at := 0, 0; i < len(batch); {
		step = step[:0]
		for size := 0; i < len(batch) && size < writeStep; {
			b := batch[i].b[at:]
			if len(b) > writeStep-size {
				b = b[:writeStep-size]
				at += len(b)
			} else {
				i, at = i+1, 0
			}
			size += len(b)
			step = append(step, b)
		}
		w.conn.SetWriteDeadline(time.Now().Add(w.stall))
		var n int64
		if len(step) == 1 {
			var m int
			m, err = w.conn.Write(step[0])
			n = int64(m)
		} else {
			rest := step // WriteTo consumes what it is given
			n, err = rest.WriteTo(w.conn)
		}
		written += int(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (w *writer) broken(err error) {
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		err = errSlowPeer
	}
	err = fmt.Errorf("write frame: %w", err)
	w.stop(err)
	w.fail(err)
}

// stop ends the writer; what is still queued is dropped. The first error stays.
func (w *writer) stop(err error) {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
		w.queue = nil
		if w.space != nil {
			close(w.space)
			w.space = nil
		}
	}
	w.mu.Unlock()
	w.quiet.Broadcast()
}

// flush waits until all that was added is written, or writing has failed.
func (w *writer) flush() {
	w.push()
	w.mu.Lock()
	for w.err == nil && (w.writing || len(w.queue) > 0) {
		w.quiet.Wait()
	}
	w.mu.Unlock()
}

// settle waits for the write under way, which the end of the connection has ended: then it is known what was sent.
func (w *writer) settle() {
	w.mu.Lock()
	for w.writing {
		w.quiet.Wait()
	}
	w.mu.Unlock()
}

// mayHaveArrived says whether the other side can have the frame that ends at position end of the stream.
func (w *writer) mayHaveArrived(end uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return end <= w.sent
}
