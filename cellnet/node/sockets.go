package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// freely lets a socket have an address that is local by a route alone (AnyIP), and binds it to an interface if one is named.
func freely(iface string) func(_, _ string, raw syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) (err error) {
		cerr := raw.Control(func(fd uintptr) {
			if err = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1); err == nil && iface != "" {
				err = unix.BindToDevice(int(fd), iface)
			}
		})
		if err == nil {
			err = cerr
		}
		return err
	}
}

func listenOn(ctx context.Context, at netip.AddrPort, iface string) (net.Listener, error) {
	c := net.ListenConfig{Control: freely(iface)}
	l, err := c.Listen(ctx, "tcp6", at.String())
	if err != nil {
		return nil, fmt.Errorf("listen on %v: %w", at, err)
	}
	return l, nil
}

// dialFrom connects from one of this machine's addresses.
func dialFrom(ctx context.Context, from netip.Addr, to netip.AddrPort) (*net.TCPConn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Control: freely("")}
	c, err := d.DialContext(ctx, "tcp6", to.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}
