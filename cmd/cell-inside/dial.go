package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/internal/handoff"
	"github.com/cell-network/cell/membrane/filter"
)

// A cell that may reach some hosts has no network. What connects it to them is a process of the same unit and user in the machine's
// network: beside sends it the number of a host and a socket, on which it answers with a connection or with why there is none.

// dialSocket is the descriptor over which the two speak.
const dialSocket = 3

// outsideWithin is how long a host outside may take to answer.
const outsideWithin = 20 * time.Second

// serveDial connects to hosts, each a HOST:PORT, and to nothing else, until nobody can ask any more.
func serveDial(hosts []string) int {
	signal.Ignore(stops...) // systemd signals every process of the unit: this one ends with the program
	err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	if err == nil {
		err = filter.Load()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cell-inside dial:", err)
		return 1
	}
	handoff.Serve(dialSocket, func(number byte) (*os.File, error) {
		if int(number) >= len(hosts) {
			return nil, errors.New("there is no such host")
		}
		return dialHost(hosts[number])
	})
	return 0
}

func dialHost(at string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(context.Background(), outsideWithin)
	defer cancel()
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return nil, err
	}
	addrs := []netip.Addr{}
	if a, err := netip.ParseAddr(host); err == nil {
		addrs = append(addrs, a)
	} else if addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil, err
	}
	var all []string
	for _, a := range addrs {
		if !outside(a) {
			all = append(all, fmt.Sprintf("its address %v is no host outside", a.Unmap()))
			continue
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(a.String(), port))
		if err != nil {
			all = append(all, err.Error())
			continue
		}
		defer c.Close()
		return c.(*net.TCPConn).File()
	}
	return nil, errors.New(strings.Join(all, "; "))
}

// outside tells whether an address is that of a host outside: neither this machine nor one of its tissue, whose addresses are unique
// local ones (RFC 4193). Who answers for a name must not lead a cell to what listens here.
func outside(a netip.Addr) bool {
	a = a.Unmap()
	local := a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast()
	return !local && !(a.Is6() && a.IsPrivate())
}

// askDial asks for a connection to the host of a number.
func askDial(ctx context.Context, number int) (*os.File, error) {
	return handoff.Ask(ctx, dialSocket, byte(number))
}
