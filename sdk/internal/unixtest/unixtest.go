// Package unixtest has sockets for tests.
package unixtest

import (
	"net"
	"testing"

	"github.com/cell-network/cell/sdk/wire"
)

// Serve answers calls with handle until the end of the test, and returns a connection to it.
func Serve(t testing.TB, handle wire.Handler) *wire.Conn {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	s := &wire.Server{Handler: handle}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Close)
	nc, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := wire.NewConn(nc)
	t.Cleanup(func() { c.Close() })
	return c
}

// Datagrams is a socket that collects what is sent to it; it is closed with the test.
func Datagrams(t testing.TB, addr string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: addr, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Datagram waits for the next one.
func Datagram(t testing.TB, c *net.UnixConn) string {
	t.Helper()
	b := make([]byte, 1<<16)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}
