package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/record"
)

// Resolver is the machine's own, which programs ask for names.
type Resolver interface {
	// Route makes it ask server, on an interface, for the names of cells.
	Route(ctx context.Context, iface int, server netip.Addr) error
}

// noResolver stands where the machine's resolver is not this daemon's to tell.
type noResolver struct{}

func (noResolver) Route(context.Context, int, netip.Addr) error {
	return errors.New("nobody asks it by itself under the embedded manager")
}

// route tells the machine's resolver of the name server, unless it knows it.
func (n *Node) route(ctx context.Context) {
	n.mu.Lock()
	if n.routed || n.reg == nil {
		n.mu.Unlock()
		return
	}
	server := identity.Address(n.reg.Tissue().Node(n.self()), identity.NodeItself)
	n.mu.Unlock()
	i, err := net.InterfaceByName(Interface)
	if err == nil {
		err = n.Resolver.Route(ctx, i.Index, server)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.routed, n.names = err == nil, "NAME.cell by systemd-resolved"
	if err != nil {
		n.names = fmt.Sprintf("NAME.cell at the name server %v (%v)", netip.AddrPortFrom(server, portNames), err)
	}
}

// portNames is that of the name server, UDP and TCP.
const portNames = 53

// Lookup are the addresses of a cell on all machines, this one's first.
func (n *Node) Lookup(name string) (all []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reg == nil {
		return nil
	}
	for _, m := range n.reg.Members() {
		for _, c := range m.Cells {
			if !strings.EqualFold(c.Name, name) {
				continue
			}
			a := identity.Address(m.Prefix, c.Number)
			if m.Key == n.self() {
				all = append([]netip.Addr{a}, all...)
			} else if n.reg.Current(m) && m.Role == record.RoleMember {
				all = append(all, a)
				n.want(m.Key, time.Minute) // somebody will connect
			}
		}
	}
	return all
}

// onLink tells whether an address is in a network that this machine is in itself.
func onLink(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, i := range addrs {
		if n, ok := i.(*net.IPNet); ok && n.Contains(a.AsSlice()) {
			return true
		}
	}
	return false
}
