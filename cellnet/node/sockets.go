package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// freely lets a socket have an address that is local by a route alone (AnyIP).
func freely(_, _ string, raw syscall.RawConn) (err error) {
	cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1) })
	if err == nil {
		err = cerr
	}
	return err
}

func listenOn(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
	c := net.ListenConfig{Control: freely}
	l, err := c.Listen(ctx, "tcp6", at.String())
	if err != nil {
		return nil, fmt.Errorf("listen on %v: %w", at, err)
	}
	return l, nil
}

// dialFrom connects from one of this machine's addresses.
func dialFrom(ctx context.Context, from netip.Addr, to netip.AddrPort) (*net.TCPConn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Control: freely}
	c, err := d.DialContext(ctx, "tcp6", to.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}
