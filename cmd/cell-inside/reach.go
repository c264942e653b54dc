package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cell-network/cell/membrane/spec"
	"github.com/cell-network/cell/sdk/broker"
)

// patience is how long a connection to a needed cell may take to be made: it may have to wake, or be exchanged at the moment.
const patience = 30 * time.Second

// way is something that the program may reach: where it connects to, and how a connection is had.
type way struct {
	name, at string
	ask      func(number uint64) pending // as broker.AskFor
	said     complaint
	shared   bool // the network is the machine's: nothing listens at the address

	mu      sync.Mutex
	waiting []<-chan made // connections that are had for who comes to the listener
}

// pending waits for a connection that was asked for; confined tells whether the program may have it itself.
type pending func(ctx context.Context) (conn *os.File, confined bool, err error)

// made is a connection, or why there is none.
type made struct {
	conn     *os.File
	confined bool // the program may have it itself
	err      error
}

// wayOf reads NAME=ADDRESS:PORT, where NAME is a need or, with a port, a host outside, of which hosts were before it.
func wayOf(word string, hosts *int) *way {
	name, at, _ := strings.Cut(word, "=")
	w := &way{name: name, at: at}
	if strings.Contains(name, ":") {
		number := *hosts
		*hosts++
		w.ask = func(uint64) pending {
			return func(ctx context.Context) (*os.File, bool, error) {
				c, err := askDial(ctx, number)
				if err != nil {
					err = fmt.Errorf("connect to %s: %w", name, err)
				}
				return c, false, err // its network is the machine's: in the program's hands it would lead everywhere
			}
		}
	} else {
		w.ask = func(number uint64) pending { return broker.AskFor(name, number).Connection }
	}
	return w
}

// socket is the way's Unix socket, empty where it has none.
func (w *way) socket() string {
	if strings.Contains(w.name, ":") {
		return ""
	}
	return filepath.Join(spec.NeedsAt, w.name+".sock")
}

// listen takes connections at the way's address and on its Unix socket.
func (w *way) listen() error {
	if path := w.socket(); path != "" {
		l, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		go w.take(l)
	}
	if w.shared {
		return nil
	}
	l, err := net.Listen("tcp", w.at)
	if err == nil {
		go w.take(l)
	}
	return err
}

// now waits for a connection. What went wrong is said in the cell's log.
func (w *way) now(p pending) made {
	giveBack().Reset(rests)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, confined, err := p(ctx)
	if err != nil {
		w.said.say(err)
	}
	return made{c, confined, err}
}

// make is now in the background.
func (w *way) make(p pending) <-chan made {
	result := make(chan made, 1)
	go func() { result <- w.now(p) }()
	return result
}

// drop closes a connection that nobody wants any more, when it comes.
func drop(c <-chan made) {
	if m := <-c; m.conn != nil {
		m.conn.Close()
	}
}

// leave keeps a connection that the program cannot have itself, and which may still be on its way, for who comes to the listener next.
// Nobody may come.
func (w *way) leave(coming <-chan made) {
	c := make(chan made, 1)
	go func() {
		m := <-coming
		c <- m
		if m.err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_ = broker.Do(ctx, broker.Request{Op: broker.OpCopied, Target: w.name})
		}
	}()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = append(w.waiting, c)
	time.AfterFunc(patience, func() {
		w.mu.Lock()
		i := slices.IndexFunc(w.waiting, func(other <-chan made) bool { return other == c })
		if i >= 0 {
			w.waiting = slices.Delete(w.waiting, i, i+1)
		}
		w.mu.Unlock()
		if i >= 0 {
			drop(c)
		}
	})
}

// next is the connection for who has come to the listener.
func (w *way) next() <-chan made {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		return w.make(w.ask(broker.Copies))
	}
	c := w.waiting[0]
	w.waiting = w.waiting[1:]
	return c
}

func (w *way) take(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			time.Sleep(20 * time.Millisecond) // out of descriptors: callers wait in the backlog
			continue
		}
		go func() {
			to := <-w.next()
			var conn net.Conn
			if to.err == nil {
				conn, to.err = net.FileConn(to.conn)
				to.conn.Close()
			}
			if to.err != nil {
				refuse(c)
				return
			}
			join(c.(stream), conn.(stream))
		}()
	}
}

// refuse closes a connection as one that nobody listens for.
func refuse(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	c.Close()
}

// stream is a connection that ends each way on its own.
type stream interface {
	net.Conn
	CloseWrite() error
}

// join passes bytes both ways, each way to its own end.
func join(a, b stream) {
	defer a.Close()
	defer b.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(a, b)
		_ = a.CloseWrite()
	}()
	_, _ = io.Copy(b, a)
	_ = b.CloseWrite()
	<-done
}

// complaint writes what went wrong to the cell's log, and the same at most once in a second.
type complaint struct {
	mu   sync.Mutex
	text string
	at   time.Time
}

func (c *complaint) say(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err.Error() == c.text && time.Since(c.at) < time.Second {
		return
	}
	c.text, c.at = err.Error(), time.Now()
	fmt.Fprintln(os.Stderr, err)
}
