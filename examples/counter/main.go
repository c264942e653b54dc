// Counter counts the + signs that its clients send, and answers each with the new count. The count and the connections outlive the
// process: after an upgrade or a crash the next one goes on with them, and no client notices.
//
//	$ nc -U run/cell.sock
//	+
//	total 1
package main

import (
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/cell-network/cell/sdk"
	"github.com/cell-network/cell/sdk/hot"
)

// state is what outlives the process. A version with other fields says with hot.From how it makes its own of this one.
type state struct {
	Total uint64
}

type counter struct {
	state   *hot.Value[state]
	clients *hot.Conns

	mu      sync.Mutex
	open    map[net.Conn]bool
	serving sync.WaitGroup
	ends    bool
}

func main() {
	log.SetFlags(0)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	c := &counter{open: map[net.Conn]bool{}}
	if err := c.start(); err != nil {
		log.Fatal(err)
	}
	<-stop
	c.end()
}

func (c *counter) start() error {
	listeners, err := sdk.Listeners()
	if err != nil {
		return err
	}
	if len(listeners) == 0 {
		return errors.New("no socket was handed over: run it with `cell mitosis .` in its directory")
	}
	if c.state, err = hot.Open[state]("state"); err != nil {
		return err
	}
	if c.clients, err = hot.OpenConns("clients"); err != nil {
		return err
	}
	for _, conn := range c.clients.Found() {
		c.serve(conn)
	}
	log.Printf("starts with total %d and %d clients", c.state.Get().Total, len(c.clients.Found()))
	for _, l := range listeners {
		go c.accept(l)
	}
	return sdk.TellReady()
}

func (c *counter) accept(l net.Listener) {
	for {
		accepted, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		conn, err := c.clients.Keep(accepted)
		if err != nil {
			// One that cannot be kept would break at the next upgrade: better it is refused now.
			log.Print(err)
			fmt.Fprintln(accepted, "full")
			accepted.Close()
			continue
		}
		c.serve(conn)
	}
}

func (c *counter) serve(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ends {
		return // the next process serves it
	}
	c.open[conn] = true
	c.serving.Go(func() {
		if c.talk(conn) {
			return
		}
		c.mu.Lock()
		delete(c.open, conn)
		c.mu.Unlock()
		conn.Close()
	})
}

// talk answers a client. It returns true when the process ends and the next one is to go on.
func (c *counter) talk(conn net.Conn) bool {
	// A request is one byte, so none is ever read in half.
	request := make([]byte, 1)
	for {
		if _, err := conn.Read(request); err != nil {
			return os.IsTimeout(err)
		}
		if request[0] != '+' {
			continue
		}
		now := c.state.Update(func(s *state) { s.Total++ })
		if _, err := fmt.Fprintf(conn, "total %d\n", now.Total); err != nil {
			return false
		}
	}
}

// end stops reading, and waits until what was read is answered. The connections stay open.
func (c *counter) end() {
	c.mu.Lock()
	c.ends = true
	for conn := range c.open {
		_ = conn.SetReadDeadline(time.Unix(1, 0)) // long ago
	}
	c.mu.Unlock()
	c.serving.Wait()
}
