package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"
)

const (
	readBuffer = 16 << 10
	// firstRead is what is allocated for a payload before more than that many bytes of it have come.
	firstRead = 256 << 10
	// slowest is how many bytes of a frame have to arrive in a second, beside the patience that is had with every frame.
	slowest = 64 << 10
)

// reader reads frames; it belongs to one goroutine.
type reader struct {
	conn net.Conn
	r    *bufio.Reader
	buf  [headerSize]byte

	patience time.Duration // with a frame that has begun; 0 is without end
	timed    bool          // conn has a deadline
}

func newReader(conn net.Conn) *reader {
	return &reader{conn: conn, r: bufio.NewReaderSize(conn, readBuffer)}
}

// expect gives the next n bytes a time to arrive in, unless they are there.
func (r *reader) expect(n int) {
	if r.patience > 0 && r.r.Buffered() < n {
		r.timed = r.conn.SetReadDeadline(time.Now().Add(r.patience+time.Duration(n)*time.Second/slowest)) == nil
	}
}

// begin waits for a frame to begin, as long as that takes unless expect has said something else.
func (r *reader) begin() error {
	_, err := r.r.Peek(1)
	if r.timed && err == nil {
		r.timed = false
		err = r.conn.SetReadDeadline(time.Time{})
	}
	return err
}

// next reads the header of the next frame of a known type and skips the frames before it. The error is io.EOF only where a
// frame could have begun.
func (r *reader) next() (header, error) {
	for {
		if err := r.begin(); err != nil {
			return header{}, late(err)
		}
		r.expect(headerSize)
		if _, err := io.ReadFull(r.r, r.buf[:]); err != nil {
			return header{}, late(err)
		}
		h, err := parseHeader(&r.buf)
		if err != nil {
			return h, err
		}
		r.expect(int(h.length))
		if h.kind.known() {
			return h, nil
		}
		if err := r.skip(h); err != nil {
			return h, err
		}
	}
}

// errLate is that of a frame that took too long.
var errLate = errors.New("it did not arrive in time")

// late says what a deadline means; other errors are left as they are.
func late(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("read frame: %w", errLate)
	}
	return err
}

// payload reads what follows the header h into a new slice. Memory grows with what arrives, not with what was announced.
func (r *reader) payload(h header) ([]byte, error) {
	total := int(h.length)
	if total == 0 {
		return nil, nil
	}
	b := make([]byte, min(total, firstRead))
	for at := 0; ; {
		n, err := io.ReadFull(r.r, b[at:])
		if at += n; err != nil {
			return nil, within(h, err)
		}
		if at == total {
			return b, nil
		}
		b = slices.Grow(b, min(at, total-at))[:at+min(at, total-at)]
	}
}

// extension looks at the extension of the CALL whose header was read; payload or skip comes next.
func (r *reader) extension(h header) (extension, error) {
	b, err := r.r.Peek(extensionSize)
	if err != nil {
		return extension{}, within(h, err)
	}
	return parseExtension(b), nil
}

func (r *reader) skip(h header) error {
	if _, err := r.r.Discard(int(h.length)); err != nil {
		return within(h, err)
	}
	return nil
}

func within(h header, err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errLate
	}
	return fmt.Errorf("read frame: within %v: %w", h.kind, err)
}

// hungUp tells the ordinary end of a connection from a fault of the other side.
func hungUp(err error) bool {
	return err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
