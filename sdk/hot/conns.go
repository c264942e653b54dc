package hot

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/sdk/internal/handover"
)

// Conns keeps open connections over an upgrade or a crash of the cell: see OpenConns.
type Conns struct {
	h     *handover.Process
	name  string
	found []*Conn
}

// Conn is a connection that outlives the process. It ends with Close, and not before: systemd has a copy, so a process that
// ends, in whatever way, leaves it open for the next one.
type Conn struct {
	net.Conn
	close func() error
}

// OpenConns returns the connections of that name that an earlier process of the cell kept, and the place to keep more. It must be
// called before sdk.Main, or before sdk.TellReady; connections that were kept and are not opened by then are ended.
//
// The next process goes on reading where this one ended. What this one had read and not yet answered is gone with it, so
// before it ends on SIGTERM it should answer what it read, and then exit without Close.
func OpenConns(name string) (*Conns, error) { return openConns(handover.This(), name) }

func openConns(h *handover.Process, name string) (*Conns, error) {
	files, err := h.Open(handover.Conn, name)
	if err != nil {
		return nil, err
	}
	c := &Conns{h: h, name: name}
	for _, f := range files {
		nc, err := net.FileConn(f.File)
		f.File.Close()
		if err != nil {
			// Nothing that could be served, and nobody else wants it.
			h.WhenReady(func() error { return h.Remove(f.Entry) })
			continue
		}
		c.found = append(c.found, connOf(h, nc.(socket), f.Entry))
	}
	return c, nil
}

// Found returns the connections that an earlier process kept. Each call returns the same ones.
func (c *Conns) Found() []*Conn { return c.found }

// Held tells whether systemd holds the connections; otherwise they end with the process.
func (c *Conns) Held() bool { return c.h.Holds() }

// Keep has systemd hold a connection. What it returns takes nc's place. It is a *Full when the cell keeps 64 descriptors
// already, and an error when nc is not the operating system's own, as a TLS connection; nc is then as it was.
func (c *Conns) Keep(nc net.Conn) (*Conn, error) {
	own, ok := nc.(socket)
	if !ok {
		return nil, fmt.Errorf("keep %s: a %T is not a connection of the operating system", c.name, nc)
	}
	entry, err := reserve(c.h, handover.Conn, c.name)
	if err == nil {
		err = c.h.Put(entry, own)
	}
	if err != nil {
		return nil, err
	}
	return connOf(c.h, own, entry), nil
}

// socket is a connection with a descriptor.
type socket interface {
	net.Conn
	syscall.Conn
}

func connOf(h *handover.Process, nc socket, entry string) *Conn {
	c := &Conn{Conn: nc}
	c.close = sync.OnceValue(func() error {
		// The peer is told now: systemd may still have its copy for a moment.
		if raw, err := nc.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
		}
		return errors.Join(h.Remove(entry), nc.Close())
	})
	return c
}

// Close ends the connection for this process and the next.
func (c *Conn) Close() error { return c.close() }
