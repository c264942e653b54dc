package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readBuffer = 16 << 10
	// firstRead is what is allocated for a payload before more than that many bytes of it have come.
	firstRead = 256 << 10
	// slowest is how many bytes of a frame have to arrive in a second, beside the patience that is had with every frame.
	slowest = 64 << 10
)

var readBuffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}

// reader reads frames; it belongs to one goroutine at a time. When reading fails because the connection's deadline has passed it may
// be continued, by another goroutine too: next then returns the same frame again, and payload goes on where it was.
type reader struct {
	conn net.Conn

	// buf has what came and was not looked at yet, from start to end; nil while that is nothing and more is waited for: a connection
	// at rest costs no buffer.
	buf        *[readBuffer]byte
	start, end int

	h    header // of the frame whose payload comes next
	open bool   // there is one
	left int    // bytes to skip
	body []byte // of the payload, as far as it has come
	at   int

	patience time.Duration // with a frame that has begun; 0 is without end
	timed    bool          // conn has a deadline of this reader

	// What receive is to do, and did. The function is made once: one for each read would be garbage.
	raw  syscall.RawConn // nil when conn has no descriptor
	try  func(fd uintptr) bool
	into []byte // a payload's place, which is filled before buf
	n    int
	err  error

	rights *rights // takes the descriptors that come along; nil where none are expected
}

func newReader(conn net.Conn) *reader {
	r := &reader{conn: conn}
	if c, ok := conn.(syscall.Conn); ok {
		r.raw, _ = c.SyscallConn()
		r.try = r.receive
	}
	return r
}

// receive reads what has come into into and, behind it, into the buffer; without any it is false.
func (r *reader) receive(fd uintptr) bool {
	if r.buf == nil {
		r.buf = readBuffers.Get().(*[readBuffer]byte)
	}
	for {
		switch {
		case r.rights != nil && r.into == nil:
			r.n, r.err = r.rights.receive(int(fd), r.buf[r.end:])
		case r.into == nil:
			r.n, r.err = syscall.Read(int(fd), r.buf[r.end:])
		default:
			var both [2][]byte
			both[0], both[1] = r.into, r.buf[:]
			r.n, r.err = unix.Readv(int(fd), both[:])
		}
		switch r.err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			r.rest()
			return false
		}
		return true
	}
}

// rest gives an empty buffer away.
func (r *reader) rest() {
	if r.start == r.end && r.buf != nil {
		readBuffers.Put(r.buf)
		r.buf, r.start, r.end = nil, 0, 0
	}
}

// read waits for bytes and puts them into into, which may be nil, and what is left of them into the buffer; that is empty when into
// is not nil. It returns how many into got.
func (r *reader) read(into []byte) (int, error) {
	if r.raw == nil {
		return r.readConn(into)
	}
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	r.into = into
	err := r.raw.Read(r.try)
	r.into = nil
	if err == nil {
		err = r.err
	}
	if err != nil {
		return 0, err
	}
	if r.n == 0 {
		return 0, io.EOF
	}
	n := min(r.n, len(into))
	r.end += r.n - n
	return n, nil
}

func (r *reader) readConn(into []byte) (int, error) {
	if into != nil {
		return r.conn.Read(into)
	}
	if r.buf == nil {
		r.buf = readBuffers.Get().(*[readBuffer]byte)
	}
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	n, err := r.conn.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		err = nil // it comes again
	}
	return 0, err
}

// need waits until n bytes are in the buffer, which has room for any header.
func (r *reader) need(n int) error {
	for r.end-r.start < n {
		if r.buf != nil && r.start+n > len(r.buf) {
			r.end = copy(r.buf[:], r.buf[r.start:r.end])
			r.start = 0
		}
		if _, err := r.read(nil); err != nil {
			if err == io.EOF && r.start < r.end {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// whole tells whether the next frame has come as a whole.
func (r *reader) whole() bool {
	if r.open || r.left > 0 || r.end-r.start < headerSize {
		return false
	}
	h, err := parseHeader((*[headerSize]byte)(r.buf[r.start:]))
	return err != nil || r.end-r.start >= headerSize+int(h.length)
}

// idle tells whether nothing has come of the next frame.
func (r *reader) idle() bool { return !r.open && r.left == 0 && r.start == r.end }

// expect gives the next n bytes a time to arrive in, unless they are there.
func (r *reader) expect(n int) {
	if r.patience > 0 && r.end-r.start < n {
		r.timed = r.conn.SetReadDeadline(time.Now().Add(r.patience+time.Duration(n)*time.Second/slowest)) == nil
	}
}

// begin waits for a frame to begin, as long as that takes unless expect has said something else.
func (r *reader) begin() error {
	err := r.need(1)
	if r.timed && err == nil {
		r.timed = false
		err = r.conn.SetReadDeadline(time.Time{})
	}
	return err
}

// next reads the header of the next frame of a known type and skips the frames before it. The error is io.EOF only where a
// frame could have begun.
func (r *reader) next() (header, error) {
	for !r.open {
		if err := r.discard(); err != nil {
			return r.h, within(r.h, err)
		}
		if err := r.begin(); err != nil {
			return header{}, late(err)
		}
		r.expect(headerSize)
		if err := r.need(headerSize); err != nil {
			return header{}, late(err)
		}
		h, err := parseHeader((*[headerSize]byte)(r.buf[r.start:]))
		if err != nil {
			return h, err
		}
		r.start += headerSize
		r.expect(int(h.length))
		r.h, r.open = h, h.kind.known()
		if !r.open {
			r.left = int(h.length)
		}
	}
	return r.h, nil
}

// lateError is that of a frame that took too long.
type lateError struct{}

func (lateError) Error() string { return "it did not arrive in time" }
func (lateError) Unwrap() error { return os.ErrDeadlineExceeded }

// late says what a deadline means; other errors are left as they are.
func late(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("read frame: %w", lateError{})
	}
	return err
}

// payload reads what follows the header h into a new slice. Memory grows with what arrives, not with what was announced.
func (r *reader) payload(h header) ([]byte, error) {
	total := int(h.length)
	if total == 0 {
		r.open = false
		return nil, nil
	}
	if r.body == nil {
		r.body, r.at = allocate(min(total, firstRead)), 0
	}
	for {
		if r.start < r.end {
			n := copy(r.body[r.at:], r.buf[r.start:r.end])
			r.start += n
			r.at += n
		}
		if r.at == total {
			b := r.body
			r.body, r.open = nil, false
			return b, nil
		}
		if r.at == len(r.body) {
			r.body = slices.Grow(r.body, min(r.at, total-r.at))[:r.at+min(r.at, total-r.at)]
			continue
		}
		n, err := r.read(r.body[r.at:])
		if r.at += n; err != nil {
			return nil, within(h, err)
		}
	}
}

// extension reads the extension of the CALL whose header was read; payload or skip comes next, for the header that it returns. It
// cannot be continued.
func (r *reader) extension(h header) (header, extension, error) {
	if err := r.need(extensionSize); err != nil {
		return h, extension{}, within(h, err)
	}
	e := parseExtension(r.buf[r.start:])
	r.start += extensionSize
	h.length -= extensionSize
	return h, e, nil
}

// skip leaves out what follows the header h.
func (r *reader) skip(h header) error {
	r.open, r.left = false, int(h.length)
	if err := r.discard(); err != nil {
		return within(h, err)
	}
	return nil
}

func (r *reader) discard() error {
	for r.left > 0 {
		if r.start == r.end {
			if _, err := r.read(nil); err != nil {
				return err
			}
		}
		n := min(r.left, r.end-r.start)
		r.start += n
		r.left -= n
	}
	return nil
}

func within(h header, err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = lateError{}
	}
	return fmt.Errorf("read frame: within %v: %w", h.kind, err)
}

// hungUp tells the ordinary end of a connection from a fault of the other side.
func hungUp(err error) bool {
	return err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
