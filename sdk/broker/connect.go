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
	"sync"
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
// cells in full. hash is the wire hash of the genome that the caller was built with. The instances to avoid are connected to only
// when no other one listens. The grant says what was connected; the
// connection ends to be served at its expiry unless Keep renews it. While celld is away, as when it is replaced, it is asked again until ctx ends, for ten seconds when ctx has no
// deadline. The error is an *Error when celld refused, or when asking again would not help.
func Connect(ctx context.Context, target, hash string, avoid ...string) (net.Conn, Grant, error) {
	var conn net.Conn
	var g Grant
	err := ask(ctx, &Request{Op: OpConnect, Target: target, Hash: hash, Avoid: avoid}, func(_ *net.UnixConn, a Answer, fds []int) (err error) {
		g = Grant{
			Target: target, Hash: hash, Instance: a.Instance, Replicas: int(min(a.Replicas, 1<<20)), Nonce: a.Nonce,
			Expires: time.Unix(a.Expires, 0),
			Takes:   time.Duration(min(a.Takes, uint64(time.Hour))),
		}
		conn, err = connOf(fds, target)
		return err
	})
	return conn, g, err
}

// Asked is a request for a connection in the name of a program that knows nothing of celld.
type Asked struct {
	request Request
	line    *net.UnixConn // over which it was sent; nil when it was not yet
}

// AskFor is Connect for who connects in a program's name; number is WantsTCP, WantsUnix or Copies. It does not wait: the connection must be
// taken by Connection. It asks over connections that it keeps.
func AskFor(target string, number uint64) *Asked {
	a := &Asked{request: Request{Op: OpConnect, Target: target, Number: number, Sequence: 1}}
	c := lines.take()
	if c == nil {
		return a
	}
	if _, err := c.Write(a.request.Append(nil)); err != nil { // of a celld that has gone
		c.Close()
		return a
	}
	a.line = c
	return a
}

// Connection waits for the answer, once. confined tells whether the program may have the connection itself: see Answer.
func (a *Asked) Connection(ctx context.Context) (conn *os.File, confined bool, err error) {
	r := &a.request
	use := func(c *net.UnixConn, answer Answer, fds []int) error {
		if len(fds) != 1 {
			closeAll(fds)
			return &Error{Failed, r.Target, fmt.Sprintf("celld sent %d descriptors instead of one", len(fds))}
		}
		conn, confined = os.NewFile(uintptr(fds[0]), "connection"), answer.Confined
		lines.keep(c)
		return nil
	}
	if c := a.line; c != nil {
		answer, fds, err := receive(ctx, c, r)
		if err == nil {
			err = use(c, answer, fds)
		}
		if _, final := errors.AsType[*Error](err); final {
			lines.keep(c)
			return nil, false, err
		}
		if err == nil || ctx.Err() != nil {
			return conn, confined, err
		}
		c.Close()
	}
	err = askKeeping(ctx, r, use)
	return conn, confined, err
}

// kept are connections to celld that nothing is asked over at the moment.
type kept struct {
	mu   sync.Mutex
	all  []*net.UnixConn
	used time.Time // when one was kept last
}

var lines kept

const (
	mostLines = 4
	lineRests = 30 * time.Second // celld ends one after a minute
)

func (k *kept) take() *net.UnixConn {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.all)
	if n == 0 {
		return nil
	}
	c := k.all[n-1]
	k.all = k.all[:n-1]
	return c
}

func (k *kept) keep(c *net.UnixConn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.all) >= mostLines {
		c.Close()
		return
	}
	if len(k.all) == 0 && time.Since(k.used) > lineRests {
		time.AfterFunc(lineRests, k.rest)
	}
	k.used = time.Now()
	k.all = append(k.all, c)
}

// rest closes what was not used for a while.
func (k *kept) rest() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if left := lineRests - time.Since(k.used); left > 0 {
		time.AfterFunc(left, k.rest)
		return
	}
	for _, c := range k.all {
		c.Close()
	}
	k.all, k.used = nil, time.Time{}
}

// Serve tells celld that connections to the port of the caller's program can be had, and returns the socket on which it asks for each.
// It ends when celld goes away.
func Serve(ctx context.Context) (over *os.File, err error) {
	err = ask(ctx, &Request{Op: OpServe, Target: "itself"}, func(c *net.UnixConn, _ Answer, fds []int) (err error) {
		closeAll(fds)
		over, err = c.File()
		return err
	})
	return over, err
}

// Own asks celld for a connection to the cell that asks, as one of its callers gets it.
func Own(ctx context.Context) (conn net.Conn, err error) {
	err = ask(ctx, &Request{Op: OpOwn, Target: "itself"}, func(_ *net.UnixConn, _ Answer, fds []int) (err error) {
		conn, err = connOf(fds, "itself")
		return err
	})
	return conn, err
}

// renewPause is how long Keep waits after celld was asked in vain.
const renewPause = 2 * time.Second

// Keep renews a connection's introduction, each time half of its time has passed, until done is closed or celld refuses: it
// asks celld for one and gives it to send, which sends it over the connection. A celld that is away is asked again.
func (g Grant) Keep(done <-chan struct{}, send func(introduction []byte) error) {
	if len(g.Nonce) == 0 { // nobody was introduced
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
		}
	}()
	for wait := time.Until(g.Expires) / 2; ; {
		select {
		case <-done:
			return
		case <-time.After(wait):
		}
		var a Answer
		err := ask(ctx, &Request{Op: OpRenew, Target: g.Target, Hash: g.Hash, Instance: g.Instance, Nonce: g.Nonce}, func(_ *net.UnixConn, answer Answer, fds []int) error {
			closeAll(fds)
			a = answer
			return nil
		})
		if e, ok := errors.AsType[*Error](err); ok && (e.Code == Denied || e.Code == Invalid) {
			return
		}
		if wait = renewPause; err == nil {
			if send(a.Introduction) != nil {
				return
			}
			wait = max(time.Until(time.Unix(a.Expires, 0))/2, renewPause/10)
		}
	}
}

// Do asks celld for something that has no more of an answer than whether it was done. celld is waited for as in Connect.
func Do(ctx context.Context, r Request) error {
	return ask(ctx, &r, func(_ *net.UnixConn, _ Answer, fds []int) error {
		closeAll(fds)
		return nil
	})
}

// Watch asks celld for the events of a cell and of those below it, and calls f for each until that returns false. It returns
// nil then, and otherwise why there are no more; celld is waited for as in Connect, but only at the beginning.
func Watch(ctx context.Context, target string, f func(Answer) bool) error {
	return ask(ctx, &Request{Op: OpWatch, Target: target}, func(c *net.UnixConn, a Answer, fds []int) error {
		closeAll(fds)
		stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		data := make([]byte, MaxPacket)
		for {
			n, err := c.Read(data)
			if err == nil && n == 0 {
				err = io.ErrUnexpectedEOF
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				return &Error{NotReady, target, "celld tells no more: " + err.Error()}
			}
			a, err := ParseAnswer(data[:n])
			if err != nil {
				return &Error{Failed, target, err.Error()}
			}
			if a.Code != OK {
				return &Error{a.Code, target, a.Message}
			}
			if !f(a) {
				return nil
			}
		}
	})
}

// Measure gives celld the table in which a cell counts its calls, and waits until celld goes away. The error says why celld
// does not take it; it is nil when another celld may be asked.
func Measure(ctx context.Context, table *os.File) error {
	c, err := dial(ctx, "")
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	r := Request{Op: OpMeasure, Sequence: 1}
	if _, _, err := c.WriteMsgUnix(r.Append(nil), unix.UnixRights(int(table.Fd())), nil); err != nil {
		return nil
	}
	data := make([]byte, MaxPacket)
	for {
		n, err := c.Read(data)
		if err != nil || n == 0 {
			return nil
		}
		if a, err := ParseAnswer(data[:n]); err != nil || a.Code != OK {
			return &Error{a.Code, "", a.Message}
		}
	}
}

// ask sends a request to the first celld that listens, again while there is none, and calls use with its answer when that is
// OK.
func ask(ctx context.Context, r *Request, use func(*net.UnixConn, Answer, []int) error) error {
	return askKeeping(ctx, r, func(c *net.UnixConn, a Answer, fds []int) error {
		defer c.Close()
		return use(c, a, fds)
	})
}

// askKeeping is ask for a use that closes the connection, or keeps it.
func askKeeping(ctx context.Context, r *Request, use func(*net.UnixConn, Answer, []int) error) error {
	waits := ctx
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		waits, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	r.Sequence = 1
	packet := r.Append(nil)
	if len(packet) > MaxPacket {
		return &Error{Invalid, r.Target[:min(len(r.Target), 64)], fmt.Sprintf("the request has %d bytes, allowed are %d", len(packet), MaxPacket)}
	}
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		c, err := dial(waits, r.Target)
		if err == nil {
			var a Answer
			var fds []int
			if a, fds, err = exchange(ctx, c, r, packet); err == nil { // celld itself answers within a minute
				return use(c, a, fds)
			}
			c.Close()
		}
		if _, final := errors.AsType[*Error](err); final {
			return err
		}
		select {
		case <-waits.Done():
			if errors.Is(waits.Err(), context.Canceled) {
				return waits.Err()
			}
			return fmt.Errorf("ask celld for %s: %w (%w)", r.Target, err, waits.Err())
		case <-time.After(pause):
		}
	}
}

// dial connects to the first celld that listens.
func dial(ctx context.Context, target string) (*net.UnixConn, error) {
	var all []error
	mayCome := false // a celld that is not there now
	for _, path := range Paths() {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unixpacket", path)
		if err == nil {
			return c.(*net.UnixConn), nil
		}
		all = append(all, err)
		mayCome = mayCome || ctx.Err() != nil || errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EAGAIN)
	}
	err := errors.Join(all...)
	if !mayCome {
		err = &Error{Failed, target, err.Error()}
	}
	return nil, err
}

// exchange sends a request and takes the answer with the descriptors that come along.
func exchange(ctx context.Context, c *net.UnixConn, r *Request, packet []byte) (Answer, []int, error) {
	if _, err := c.Write(packet); err != nil {
		return Answer{}, nil, err
	}
	return receive(ctx, c, r)
}

// receive waits for the answer to r.
func receive(ctx context.Context, c *net.UnixConn, r *Request) (Answer, []int, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	data := make([]byte, MaxPacket)
	oob := make([]byte, unix.CmsgSpace(4*8))
	n, oobn, _, _, err := c.ReadMsgUnix(data, oob)
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return Answer{}, nil, err
	}
	fds := descriptors(oob[:oobn])
	a, err := ParseAnswer(data[:n])
	switch {
	case err != nil:
		err = &Error{Failed, r.Target, err.Error()}
	case a.Sequence != r.Sequence:
		err = &Error{Failed, r.Target, "celld answered another question"}
	case a.Code != OK:
		err = &Error{a.Code, r.Target, a.Message}
	}
	if err != nil {
		closeAll(fds)
		return a, nil, err
	}
	return a, fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		syscall.Close(fd)
	}
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

// connOf makes a connection of the one descriptor.
func connOf(fds []int, target string) (net.Conn, error) {
	if len(fds) != 1 {
		closeAll(fds)
		return nil, &Error{Failed, target, fmt.Sprintf("celld sent %d descriptors instead of one", len(fds))}
	}
	f := os.NewFile(uintptr(fds[0]), strings.ToValidUTF8(target, ""))
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, &Error{Failed, target, err.Error()}
	}
	return c, nil
}
