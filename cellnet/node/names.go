package node

import (
	"net"
	"net/netip"
	"strings"

	"github.com/cell-network/cell/cellnet/identity"
)

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
			} else if n.reg.Current(m) {
				all = append(all, a)
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
