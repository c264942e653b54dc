package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/cell-network/cell/cellnet/firewall"
	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/link"
	"github.com/cell-network/cell/cellnet/record"
	"github.com/cell-network/cell/cellnet/registry"
	"github.com/cell-network/cell/cellnet/wg"
)

// invited are the addresses of whoever comes with an invite.
func invited(tissue identity.Tissue, invite record.WireGuardKey) netip.Prefix {
	return tissue.Node(identity.Key(invite))
}

// apply gives the kernel what follows from the registry: first the rules, then the peers. It writes differences only; n.mu is held.
func (n *Node) apply() error {
	if n.reg == nil || n.dev == nil {
		return nil
	}
	self, tissue := n.self(), n.reg.Tissue()
	node := tissue.Node(self)
	want := firewall.Wanted{
		Interface: Interface, Tissue: tissue.Prefix(), Self: identity.Address(node, identity.NodeItself),
		Ports: []uint16{portJoin, portSync}, Join: portJoin, Paths: portPaths, Daemon: uint32(os.Geteuid()), Cells: cellSlice(),
	}
	for _, u := range n.users() {
		want.Users = append(want.Users, firewall.User{ID: u.id, Address: identity.Address(node, u.number)})
	}
	var peers []wg.Peer
	has, err := n.devicePeers()
	if err != nil {
		return err
	}
	n.claims = claims(n.reg.Members(), n.reg.Invites(), has)
	out := n.reg.Revoked(self) // then nobody is there for this machine
	for _, m := range n.reg.Members() {
		if m.Key == self || out {
			continue
		}
		if n.reg.Current(m) {
			want.Members = append(want.Members, m.Prefix)
			if m.Role == record.RoleMember {
				want.Own = append(want.Own, m.Prefix)
			}
		} else {
			want.Quarantine = append(want.Quarantine, m.Prefix)
		}
		if n.keyOf(m) != (wg.Key{}) {
			peers = append(peers, wg.Peer{Key: n.keyOf(m), Allowed: m.Prefix, Keepalive: n.keepalive(m.Key)})
			if other := n.otherKeyOf(m); other != (wg.Key{}) {
				peers = append(peers, wg.Peer{Key: other}) // it may shake hands, and nothing else
			}
		}
	}
	for _, i := range n.reg.Invites() {
		if out {
			break
		}
		p := invited(tissue, i.Key)
		want.Quarantine = append(want.Quarantine, p)
		peers = append(peers, wg.Peer{Key: wg.Key(i.Key), Allowed: p})
	}
	for _, k := range n.reg.RevokedKeys() {
		want.Revoked = append(want.Revoked, tissue.Node(k))
	}
	if out {
		want.Revoked = []netip.Prefix{tissue.Prefix()}
	}
	doors := n.allow(&want)
	byAddress := func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) }
	slices.SortFunc(want.Members, byAddress)
	slices.SortFunc(want.Own, byAddress)
	slices.SortFunc(want.Quarantine, byAddress)
	slices.SortFunc(want.Revoked, byAddress)
	if text := fmt.Sprint(want); text != n.applied {
		n.refuse()
		switch err := firewall.Apply(want); {
		case errors.Is(err, firewall.ErrNoGroups):
			n.firewall = "nftables; " + err.Error()
		case err != nil:
			n.firewall = err.Error()
			return err
		default:
			n.firewall = "nftables"
		}
		n.applied, n.rules, n.refusals = text, want, nil
	}
	wanted := map[wg.Key]bool{}
	for _, p := range peers {
		wanted[p.Key] = true
	}
	var gone []wg.Key
	for k := range has {
		if !wanted[k] {
			gone = append(gone, k)
		}
	}
	if err := n.dev.Remove(gone...); err != nil {
		return err
	}
	if len(gone) > 0 {
		if err := link.Cut(n.expelled); err != nil {
			n.Log.Warn("cut connections", "error", err)
		}
	}
	if err := n.dev.Set(peers...); err != nil {
		return err
	}
	n.relay.Keep(func(k identity.Key) bool {
		m, ok := n.reg.Member(k)
		return ok && n.reg.Current(m)
	})
	n.openDoors(doors)
	return nil
}

// expelled tells whether an address is one of a machine that is no member, or of any other when this one is none; n.mu is held.
func (n *Node) expelled(a netip.Addr) bool {
	tissue := n.reg.Tissue()
	if !tissue.Prefix().Contains(a) || identity.Of(a) == tissue.Node(n.self()) {
		return false
	}
	_, member := n.reg.At(identity.Of(a))
	return !member || n.reg.Revoked(n.self())
}

func (n *Node) peer(k identity.Key) *peer {
	p := n.peers[k]
	if p == nil {
		p = &peer{}
		n.peers[k] = p
	}
	return p
}

// upkeep does what time brings: certificates are renewed, what has expired is dropped, addresses are looked at.
func (n *Node) upkeep(ctx context.Context) {
	t := time.NewTicker(10 * time.Second)
	defer t.Stop()
	for {
		n.route(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		n.mu.Lock()
		err := n.keep()
		n.mu.Unlock()
		if err != nil {
			n.Log.Warn("keep the mesh up", "error", err)
		}
	}
}

func (n *Node) keep() error {
	if n.reg == nil {
		return nil
	}
	n.reg.Sweep()
	n.refuse()
	if time.Since(n.state.Keyed) > keyLife {
		if err := n.turn(); err != nil {
			return err
		}
	}
	if err := n.renew(); err != nil {
		return err
	}
	if err := n.restate(); err != nil {
		return err
	}
	if err := n.apply(); err != nil {
		return err
	}
	return n.write()
}

// write puts the registry on disk where it has changed.
func (n *Node) write() error {
	change := n.reg.Change()
	if change == n.written {
		return nil
	}
	if err := n.reg.Save(n.path("registry")); err != nil {
		return err
	}
	n.written = change
	return nil
}

// renew signs the certificates of members anew that will expire, where this machine may do that.
func (n *Node) renew() error {
	if !n.reg.Signs(n.self()) {
		return nil
	}
	for _, m := range n.reg.Members() {
		if time.Until(m.Until) > registry.Membership-registry.Renew {
			continue
		}
		if err := n.certify(m.Key, m.Name, m.Role); err != nil {
			return err
		}
	}
	return nil
}

// certify makes a machine one of the tissue's for some days.
func (n *Node) certify(k identity.Key, name string, role record.Role) error {
	return n.sign(&record.Record{
		Kind: record.Member, Subject: k[:], Body: record.MemberBody{Name: name, Role: role}.Append(nil), Expires: time.Now().Add(registry.Membership),
	})
}
