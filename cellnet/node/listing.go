package node

import (
	"encoding/base64"
	"time"

	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/sdk/api"
)

// Nodes lists the machines of the tissue.
func (n *Node) Nodes() ([]api.Node, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reg == nil {
		return nil, noTissue()
	}
	has, err := n.devicePeers()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	all := []api.Node{}
	for _, m := range n.reg.Members() {
		out := api.Node{
			Name: m.Name, ID: m.Key.String(), Address: identity.Address(m.Prefix, identity.NodeItself).String(), Role: m.Role.String(),
			Version: m.Node.Version, Path: "none", Cells: len(m.Cells),
			Capacity: api.Capacity{Cores: int(m.Node.Cores), Memory: m.Node.Memory, Storage: m.Node.Storage, Uptime: m.Node.Uptime, MFlops: m.Node.MFlops},
		}
		if m.Stated {
			key := n.keyOf(m)
			out.Key = base64.StdEncoding.EncodeToString(key[:])
		}
		if m.Key == n.self() {
			out.Path, out.Seen = "self", now
		} else {
			p := n.peer(m.Key)
			out.Seen = p.seen
			if out.Seen.IsZero() {
				out.Seen = m.Heard
			}
			if s := has[n.keyOf(m)]; m.Stated && s.Alive(now) {
				out.RTT = float64(p.rtt.Microseconds()) / 1000
				out.Path, out.Endpoint, out.Via = n.how(m, s)
			}
		}
		all = append(all, out)
	}
	return all, nil
}

// Status says what the mesh is made of here.
func (n *Node) Status() (api.NetStatus, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reg == nil {
		return api.NetStatus{}, nil
	}
	self := identity.Address(n.reg.Tissue().Node(n.self()), identity.NodeItself)
	s := api.NetStatus{
		Tissue: n.reg.Name(), ID: n.reg.Tissue().String(), Node: n.state.Name, Address: self.String(), Interface: Interface,
		WireGuard: n.dev.Kind(), Firewall: n.firewall, Port: n.state.Port, Records: n.reg.Len(),
		Names: n.names,
	}
	switch {
	case n.sym:
		s.NAT = "symmetric: it shows another endpoint to each node, so a relay is needed towards nodes behind a NAT that looks at ports"
	case n.nat:
		s.NAT = "it shows the same endpoint to all nodes"
	}
	for _, e := range n.outside {
		s.Outside = append(s.Outside, e.String())
	}
	for _, k := range n.helpers {
		m, _ := n.reg.Member(k)
		s.Helpers = append(s.Helpers, m.Name)
	}
	s.Relaying = n.relay.Pairs()
	if !n.cloned.IsZero() && time.Since(n.cloned) < 2*cloneEvery {
		s.Trouble = clonedAdvice
	}
	if n.reg.Revoked(n.self()) {
		s.Trouble = "this machine was evicted from the tissue: cell leave, then join with a new token"
	}
	return s, nil
}
