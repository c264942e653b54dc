package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is how long a program without a deadline waits for a celld that is away.
	patience = 10 * time.Second

	firstPause = 10 * time.Millisecond
	mostPause  = 500 * time.Millisecond
)

// Error is an answer of celld other than a connection.
type Error struct {
	Code    Code
	Target  string
	Message string
}

func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("connect to %s: %v", e.Target, e.Code)
	}
	return fmt.Sprintf("connect to %s: %s", e.Target, e.Message)
}

// Paths are where celld's socket may be, in the order in which they are tried: that of CELL_BROKER alone when it is set, as in
// a cell; else that of the machine's celld, of the user's, and of the embedded manager's.
func Paths() []string {
	if p := os.Getenv("CELL_BROKER"); p != "" {
		return []string{p}
	}
	paths := []string{"/run/cell/broker/celld.sock"}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		paths = append(paths, filepath.Join(dir, "cell/broker/celld.sock"))
	}
	state := os.Getenv("XDG_STATE_HOME")
	if home, err := os.UserHomeDir(); state == "" && err == nil {
		state = filepath.Join(home, ".local/state")
	}
	if filepath.IsAbs(state) {
		paths = append(paths, filepath.Join(state, "cell/sockets/broker/celld.sock"))
	}
	return paths
}

// Connect asks celld for a connection to the cell that the caller's cell.toml calls target; a program that is no cell names
// cells in full. hash is the wire hash of the genome that the caller was built with. Connect returns the name of the instance
// too. While celld is away, as when it is replaced, it is asked again until ctx ends, for ten seconds when ctx has no
// deadline. The error is an *Error when celld refused.
func Connect(ctx context.Context, target, hash string) (*net.UnixConn, string, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	request := Request{Op: OpConnect, Target: target, Hash: hash, Sequence: 1}
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		conn, answer, err := ask(ctx, &request)
		if err == nil {
			return conn, answer.Instance, nil
		}
		if _, final := errors.AsType[*Error](err); final {
			return nil, "", err
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, "", ctx.Err()
			}
			return nil, "", fmt.Errorf("ask celld for %s: %w (%w)", target, err, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// ask asks the first celld that listens.
func ask(ctx context.Context, r *Request) (*net.UnixConn, Answer, error) {
	var all []error
	for _, path := range Paths() {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unixpacket", path)
		if err != nil {
			all = append(all, err)
			continue
		}
		defer c.Close()
		return exchange(ctx, c.(*net.UnixConn), r)
	}
	return nil, Answer{}, errors.Join(all...)
}

// exchange sends a request and takes the descriptor that comes with the answer.
func exchange(ctx context.Context, c *net.UnixConn, r *Request) (*net.UnixConn, Answer, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.Write(r.Append(nil)); err != nil {
		return nil, Answer{}, err
	}
	data := make([]byte, MaxPacket)
	oob := make([]byte, unix.CmsgSpace(4*8))
	n, oobn, _, _, err := c.ReadMsgUnix(data, oob)
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, Answer{}, err
	}
	fds := descriptors(oob[:oobn])
	a, err := ParseAnswer(data[:n])
	if err == nil && a.Sequence != r.Sequence {
		err = fmt.Errorf("celld answered another question")
	}
	if err == nil && a.Code != OK {
		err = &Error{a.Code, r.Target, a.Message}
	}
	if err == nil && len(fds) != 1 {
		err = &Error{Failed, r.Target, fmt.Sprintf("celld sent %d descriptors instead of one", len(fds))}
	}
	if err != nil {
		for _, fd := range fds {
			syscall.Close(fd)
		}
		return nil, a, err
	}
	conn, err := connOf(fds[0], r.Target)
	return conn, a, err
}

// descriptors are those that came along, closed on exec.
func descriptors(oob []byte) (fds []int) {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		some, err := syscall.ParseUnixRights(&m)
		if err == nil {
			fds = append(fds, some...)
		}
	}
	for _, fd := range fds {
		syscall.CloseOnExec(fd) // ReadMsgUnix asks the kernel for it as well
	}
	return fds
}

func connOf(fd int, target string) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), strings.ToValidUTF8(target, ""))
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, &Error{Failed, target, err.Error()}
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, &Error{Failed, target, "celld sent no Unix socket"}
	}
	return u, nil
}
