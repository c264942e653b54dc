// Package unixtest has sockets for tests.
package unixtest

import (
	"net"
	"testing"
)

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
