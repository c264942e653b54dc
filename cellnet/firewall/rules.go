// Package firewall says which packets of the mesh pass: one table of nftables, "inet cell", written as a whole in one batch. Other
// tables are neither read nor changed, and may drop what this one lets through.
package firewall

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Table is the name of the table.
const Table = "cell"

// Wanted is all that the rules depend on.
type Wanted struct {
	Interface  string
	Tissue     netip.Prefix
	Members    []netip.Prefix // may reach Ports, and the doors
	Quarantine []netip.Prefix // may reach Join alone: invites, and members whose certificate has expired
	Revoked    []netip.Prefix // reach nothing, also with connections that they have
	Ports      []uint16       // TCP, of the daemon
	Join       uint16         // TCP
	Paths      uint16         // UDP, of the daemon
	Doors      []netip.AddrPort
	User       uint32 // of the daemon: it and root alone open connections to other machines
}

// rule is one line of a chain; its words are those of nft(8).
type rule struct {
	words string
	exprs []expr.Any
}

type chain struct {
	name     string
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	rules    []rule
}

// Sets that rules look into.
const (
	setMembers    = "members"
	setQuarantine = "quarantine"
	setRevoked    = "revoked"
	setDoors      = "doors"
)

// chains are the rules for what is wanted.
func chains(w Wanted) []chain {
	in, out := iface(expr.MetaKeyIIFNAME, w.Interface, expr.CmpOpEq), iface(expr.MetaKeyOIFNAME, w.Interface, expr.CmpOpEq)
	foreign := slices.Concat(iface(expr.MetaKeyIIFNAME, w.Interface, expr.CmpOpNeq), iface(expr.MetaKeyIIFNAME, "lo", expr.CmpOpNeq))
	ports := []rule{}
	for _, p := range w.Ports {
		ports = append(ports, rule{"ip6 saddr @members tcp dport accept", slices.Concat(in, source(setMembers), tcpPort(p), accept())})
	}
	return []chain{
		{
			// Nothing else than the tunnel may bring packets with the tissue's addresses (strict reverse path).
			name: "prerouting", hook: nftables.ChainHookPrerouting, priority: nftables.ChainPriorityRaw,
			rules: []rule{
				{"iifname != cell0, lo ip6 saddr tissue drop", slices.Concat(foreign, within(8, w.Tissue), drop())},
				{"iifname != cell0, lo ip6 daddr tissue drop", slices.Concat(foreign, within(24, w.Tissue), drop())},
			},
		},
		{
			name: "input", hook: nftables.ChainHookInput, priority: nftables.ChainPriorityRef(-10),
			rules: slices.Concat([]rule{
				{"ip6 saddr @revoked drop", slices.Concat(in, source(setRevoked), drop())},
				{"ct state established,related accept", slices.Concat(in, established(), accept())},
				{"ip6 saddr @quarantine tcp dport join accept", slices.Concat(in, source(setQuarantine), tcpPort(w.Join), accept())},
				{"ip6 saddr @members icmpv6 type echo-request accept", slices.Concat(in, source(setMembers), echo(), accept())},
				{"ip6 saddr @members udp dport paths accept", slices.Concat(in, source(setMembers), udpPort(w.Paths), accept())},
			}, ports, []rule{
				{"ip6 saddr @members ip6 daddr . tcp dport @doors accept", slices.Concat(in, source(setMembers), door(), accept())},
				{"counter drop", slices.Concat(in, []expr.Any{&expr.Counter{}}, drop())},
			}),
		},
		{
			name: "output", hook: nftables.ChainHookOutput, priority: nftables.ChainPriorityRef(-10),
			rules: []rule{
				{"oifname cell0 ip6 daddr @revoked drop", slices.Concat(out, destination(setRevoked), drop())},
				{"ct state established,related accept", slices.Concat(out, established(), accept())},
				{"icmpv6 accept", slices.Concat(out, protocol(expr.MetaKeyL4PROTO, unix.IPPROTO_ICMPV6), accept())},
				{"meta skuid root accept", slices.Concat(out, user(0), accept())},
				{"meta skuid daemon accept", slices.Concat(out, user(w.User), accept())},
				{"counter drop", slices.Concat(out, []expr.Any{&expr.Counter{}}, drop())},
			},
		},
		{
			// The machine routes nothing from or into the tissue.
			name: "forward", hook: nftables.ChainHookForward, priority: nftables.ChainPriorityRef(-10),
			rules: []rule{
				{"iifname cell0 drop", slices.Concat(in, drop())},
				{"oifname cell0 drop", slices.Concat(out, drop())},
			},
		},
	}
}

func iface(key expr.MetaKey, name string, op expr.CmpOp) []expr.Any {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: b}}
}

func protocol(key expr.MetaKey, p byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p}}}
}

func ipv6() []expr.Any { return protocol(expr.MetaKeyNFPROTO, unix.NFPROTO_IPV6) }

// within matches the address at an offset of the IPv6 header: 8 is the source, 24 the destination.
func within(offset uint32, p netip.Prefix) []expr.Any {
	a, mask := p.Addr().As16(), make([]byte, 16)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return append(ipv6(),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 16},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 16, Mask: mask, Xor: make([]byte, 16)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a[:]})
}

func lookup(offset uint32, set string) []expr.Any {
	return append(ipv6(),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 16},
		&expr.Lookup{SourceRegister: 1, SetName: set})
}

func source(set string) []expr.Any      { return lookup(8, set) }
func destination(set string) []expr.Any { return lookup(24, set) }

func tcpPort(p uint16) []expr.Any { return port(unix.IPPROTO_TCP, p) }
func udpPort(p uint16) []expr.Any { return port(unix.IPPROTO_UDP, p) }

func port(of byte, p uint16) []expr.Any {
	return append(protocol(expr.MetaKeyL4PROTO, of),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(p)})
}

// door looks the destination and its port up, which stand in registers 1 and 2, one behind the other, as in the set's keys.
func door() []expr.Any {
	return append(protocol(expr.MetaKeyL4PROTO, unix.IPPROTO_TCP),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 16},
		&expr.Payload{DestRegister: 2, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: 1, SetName: setDoors})
}

func established() []expr.Any {
	states := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: states, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// user matches whose socket sends a packet.
func user(uid uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeySKUID, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(uid)},
	}
}

func echo() []expr.Any {
	return append(protocol(expr.MetaKeyL4PROTO, unix.IPPROTO_ICMPV6),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{128}})
}

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }
func drop() []expr.Any   { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }
