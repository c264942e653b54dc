// Package link gives the mesh's interface its addresses and routes. Everything that it makes goes away with the interface but the
// local route, which CleanUp removes.
package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/cellnet/wg"
)

func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Set brings the interface up with the address of the machine and the route to the tissue, and makes all of the node's addresses
// local: none of a cell is configured (AnyIP, a local route on lo). It may be repeated.
func Set(name string, self netip.Addr, node, tissue netip.Prefix) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find the interface %s: %w", name, err)
	}
	if err := netlink.LinkSetMTU(l, wg.MTU); err != nil {
		return fmt.Errorf("set the MTU of %s: %w", name, err)
	}
	// Without detection of duplicates, which would keep the address from use for a second: it belongs to a key.
	has, err := netlink.AddrList(l, netlink.FAMILY_V6)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", name, err)
	}
	there := false
	for _, a := range has {
		ip, _ := netip.AddrFromSlice(a.IP)
		if ip == self {
			there = true
		} else if !ip.IsLinkLocalUnicast() {
			_ = netlink.AddrDel(l, &a)
		}
	}
	if !there {
		address := &netlink.Addr{IPNet: ipnet(netip.PrefixFrom(self, 128)), Flags: unix.IFA_F_NODAD}
		if err := netlink.AddrAdd(l, address); err != nil && !errors.Is(err, syscall.EEXIST) {
			return fmt.Errorf("give %s the address %v: %w", name, self, err)
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	route := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipnet(tissue), Src: self.AsSlice(), Scope: netlink.SCOPE_LINK}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("route %v to %s: %w", tissue, name, err)
	}
	local, err := localRoute(node)
	if err == nil {
		err = netlink.RouteReplace(local)
	}
	if err != nil {
		return fmt.Errorf("make %v local: %w", node, err)
	}
	return nil
}

func localRoute(node netip.Prefix) (*netlink.Route, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return nil, err
	}
	return &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: ipnet(node), Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL}, nil
}

// CleanUp removes the local routes within a tissue's addresses.
func CleanUp(tissue netip.Prefix) error {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: unix.RT_TABLE_LOCAL}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("list local routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil || r.Type != unix.RTN_LOCAL {
			continue
		}
		if ip, ok := netip.AddrFromSlice(r.Dst.IP); ok && tissue.Contains(ip) {
			if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("remove the local route to %v: %w", r.Dst, err)
			}
		}
	}
	return nil
}

// Addresses are those at which other machines may reach this one, outside of a tissue.
func Addresses(tissue netip.Prefix) (all []netip.Addr, err error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range ifaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, ok := netip.AddrFromSlice(n.IP)
			if ip = ip.Unmap(); ok && ip.IsGlobalUnicast() && !tissue.Contains(ip) {
				all = append(all, ip)
			}
		}
	}
	return all, nil
}

// Watch has changed be signalled, until ctx ends, after addresses or interfaces of this machine have come, gone, or been switched.
func Watch(ctx context.Context, changed chan<- struct{}) error {
	addrs, links := make(chan netlink.AddrUpdate, 16), make(chan netlink.LinkUpdate, 16)
	if err := netlink.AddrSubscribe(addrs, ctx.Done()); err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	if err := netlink.LinkSubscribe(links, ctx.Done()); err != nil {
		return fmt.Errorf("watch interfaces: %w", err)
	}
	go func() {
		for addrs != nil || links != nil {
			select {
			case _, ok := <-addrs:
				if !ok {
					addrs = nil
				}
			case _, ok := <-links:
				if !ok {
					links = nil
				}
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	return nil
}

// Cut ends the TCP connections with addresses that gone tells of, whoever's they are on this machine, so that nobody waits for what will
// never come. With a kernel without CONFIG_INET_DIAG_DESTROY they end when they send next, by the rules.
func Cut(gone func(netip.Addr) bool) error {
	sockets, err := netlink.SocketDiagTCP(unix.AF_INET6)
	if err != nil {
		return fmt.Errorf("list connections: %w", err)
	}
	for _, s := range sockets {
		far, ok := netip.AddrFromSlice(s.ID.Destination)
		if !ok || !gone(far) {
			continue
		}
		err := netlink.SocketDestroy(&net.TCPAddr{IP: s.ID.Source, Port: int(s.ID.SourcePort)}, &net.TCPAddr{IP: s.ID.Destination, Port: int(s.ID.DestinationPort)})
		switch {
		case errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, netlink.ErrNotImplemented):
			return nil
		case err != nil && !errors.Is(err, unix.ENOENT):
			return fmt.Errorf("end a connection with %v: %w", far, err)
		}
	}
	return nil
}
