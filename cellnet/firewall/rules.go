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
	Self       netip.Addr     // of the machine itself
	Members    []netip.Prefix // may reach Ports and Paths
	Own        []netip.Prefix // those of them that are the owner's of this machine: may reach Open
	Quarantine []netip.Prefix // may reach Join alone: invites, and members whose certificate has expired
	Revoked    []netip.Prefix // reach nothing, also with connections that they have
	Ports      []uint16       // TCP, of the daemon
	Join       uint16         // TCP
	Paths      uint16         // UDP, of the daemon
	Open       []netip.AddrPort
	Pairs      []Pair
	Daemon     uint32 // user of the daemon
	Users      []User // may send to other machines, as may root
	Cells      Slice
}

// Pair lets addresses reach one of a cell's.
type Pair struct {
	From netip.Prefix
	To   netip.AddrPort
}

// User sends from an address of its own, by which other machines know it.
type User struct {
	ID      uint32
	Address netip.Addr
}

// Slice is the control group of the cells, which reach other machines through the daemon alone. ID is the number of its directory, zero
// for none.
type Slice struct {
	ID    uint64
	Level uint32 // below the root
}

// Bounds on new connections from one machine, a second and at once.
const (
	connectionRate  = 200
	connectionBurst = 1000
)

// rule is one line of a chain; its words are those of nft(8).
type rule struct {
	words string
	exprs []expr.Any
}

func line(words string, parts ...[]expr.Any) rule { return rule{words, slices.Concat(parts...)} }

type chain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	rules    []rule
}

// Sets that rules look into.
const (
	setMembers    = "members"
	setOwn        = "own"
	setQuarantine = "quarantine"
	setRevoked    = "revoked"
	setOpen       = "open"      // address . port of cells that all of the owner's machines may reach
	setPairs      = "pairs"     // source . address . port
	setUsers      = "users"     // users who may send
	setAddresses  = "addresses" // user : address
	setRate       = "rate"      // of new connections, by machine
	setRefused    = "refused"   // source . address . port, counted
)

// chains are the rules for what is wanted.
func chains(w Wanted) []chain {
	in, out := iface(expr.MetaKeyIIFNAME, w.Interface, expr.CmpOpEq), iface(expr.MetaKeyOIFNAME, w.Interface, expr.CmpOpEq)
	foreign := slices.Concat(iface(expr.MetaKeyIIFNAME, w.Interface, expr.CmpOpNeq), iface(expr.MetaKeyIIFNAME, "lo", expr.CmpOpNeq))
	self := netip.PrefixFrom(w.Self, 128)
	var ports, cells []rule
	for _, p := range w.Ports {
		ports = append(ports, line("ip6 saddr @members tcp dport daemon accept", in, source(setMembers), port(unix.IPPROTO_TCP, p), accept()))
	}
	if w.Cells.ID != 0 {
		cells = append(cells, line("socket cgroupv2 cell.slice reject", out, group(w.Cells), reject()))
	}
	return []chain{
		{
			// Nothing else than the tunnel may bring packets with the tissue's addresses (strict reverse path).
			name: "prerouting", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookPrerouting, priority: nftables.ChainPriorityRaw,
			rules: []rule{
				line("iifname != cell0, lo ip6 saddr tissue drop", foreign, within(8, w.Tissue), drop()),
				line("iifname != cell0, lo ip6 daddr tissue drop", foreign, within(24, w.Tissue), drop()),
			},
		},
		{
			name: "input", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookInput, priority: nftables.ChainPriorityRef(-10),
			rules: slices.Concat([]rule{
				line("ip6 saddr @revoked drop", in, source(setRevoked), drop()),
				line("ct state established,related accept", in, established(), accept()),
				line("update @rate { ip6 saddr & machine limit rate over … } counter drop", in, tooMany(), counter(), drop()),
				line("ip6 saddr @quarantine tcp dport join accept", in, source(setQuarantine), port(unix.IPPROTO_TCP, w.Join), accept()),
				line("ip6 saddr @members icmpv6 type echo-request accept", in, source(setMembers), echo(), accept()),
				line("ip6 saddr @members udp dport paths accept", in, source(setMembers), port(unix.IPPROTO_UDP, w.Paths), accept()),
			}, ports, []rule{
				line("ip6 saddr @own ip6 daddr . tcp dport @open accept", in, source(setOwn), cell(), accept()),
				line("ip6 saddr . ip6 daddr . tcp dport @pairs accept", in, tcp(), triple(), []expr.Any{&expr.Lookup{SourceRegister: 1, SetName: setPairs}}, accept()),
				line("update @refused { ip6 saddr . ip6 daddr . tcp dport counter }", in, source(setMembers), tcp(), triple(), count(setRefused)),
				line("ip6 saddr @members meta l4proto tcp reject", in, source(setMembers), tcp(), reject()),
				line("counter drop", in, counter(), drop()),
			}),
		},
		{
			name: "output", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookOutput, priority: nftables.ChainPriorityRef(-10),
			rules: slices.Concat([]rule{
				line("ip6 daddr @revoked meta l4proto tcp reject with tcp reset", out, destination(setRevoked), protocol(expr.MetaKeyL4PROTO, unix.IPPROTO_TCP), reset()),
				line("ip6 daddr @revoked drop", out, destination(setRevoked), drop()),
				line("ct state established,related accept", out, established(), accept()),
				line("icmpv6 accept", out, protocol(expr.MetaKeyL4PROTO, unix.IPPROTO_ICMPV6), accept()),
			}, cells, []rule{
				line("meta skuid daemon accept", out, user(w.Daemon), accept()),
				line("ip6 saddr self meta skuid root accept", out, within(8, self), user(0), accept()),
				line("ip6 saddr self meta skuid @users accept", out, within(8, self), skuid(), []expr.Any{&expr.Lookup{SourceRegister: 1, SetName: setUsers}}, accept()),
				line("counter reject", out, counter(), reject()),
			}),
		},
		{
			// Other machines know a user by its address.
			name: "postrouting", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookPostrouting, priority: nftables.ChainPriorityNATSource,
			rules: []rule{
				line("ip6 saddr self snat ip6 to meta skuid map @addresses", out, within(8, self), skuid(), []expr.Any{
					&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: setAddresses},
					&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV6, RegAddrMin: 1},
				}),
			},
		},
		{
			// The machine routes nothing from or into the tissue.
			name: "forward", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookForward, priority: nftables.ChainPriorityRef(-10),
			rules: []rule{
				line("iifname cell0 drop", in, drop()),
				line("oifname cell0 drop", out, drop()),
			},
		},
	}
}

// Judge tells which rule decides on a new TCP connection that comes from another machine, and whether it lets that through.
func (w Wanted) Judge(from netip.Addr, to netip.AddrPort) (rule string, through bool) {
	in := func(all []netip.Prefix) bool {
		return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(from) })
	}
	switch {
	case in(w.Revoked):
		return "ip6 saddr @revoked drop", false
	case in(w.Quarantine) && to.Port() == w.Join:
		return "ip6 saddr @quarantine tcp dport join accept", true
	case in(w.Members) && slices.Contains(w.Ports, to.Port()):
		return "ip6 saddr @members tcp dport daemon accept", true
	case in(w.Own) && slices.Contains(w.Open, to):
		return "ip6 saddr @own ip6 daddr . tcp dport @open accept", true
	case slices.ContainsFunc(w.Pairs, func(p Pair) bool { return p.From.Contains(from) && p.To == to }):
		return "ip6 saddr . ip6 daddr . tcp dport @pairs accept", true
	case in(w.Members):
		return "ip6 saddr @members meta l4proto tcp reject", false
	}
	return "counter drop", false
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
func tcp() []expr.Any {
	return append(ipv6(), protocol(expr.MetaKeyL4PROTO, unix.IPPROTO_TCP)...)
}

func mask(bits int) []byte {
	m := make([]byte, 16)
	for i := range bits {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

// within matches the address at an offset of the IPv6 header: 8 is the source, 24 the destination.
func within(offset uint32, p netip.Prefix) []expr.Any {
	a := p.Addr().As16()
	return append(ipv6(),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 16},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 16, Mask: mask(p.Bits()), Xor: make([]byte, 16)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a[:]})
}

func lookup(offset uint32, set string) []expr.Any {
	return append(ipv6(),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 16},
		&expr.Lookup{SourceRegister: 1, SetName: set})
}

func source(set string) []expr.Any      { return lookup(8, set) }
func destination(set string) []expr.Any { return lookup(24, set) }

func port(of byte, p uint16) []expr.Any {
	return append(protocol(expr.MetaKeyL4PROTO, of),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(p)})
}

// cell looks the destination and its port up, which stand in registers 1 and 2, one behind the other, as in the set's keys.
func cell() []expr.Any {
	return append(tcp(),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 16},
		&expr.Payload{DestRegister: 2, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: 1, SetName: setOpen})
}

// triple puts source, destination and port into the registers from 1 on.
func triple() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16},
		&expr.Payload{DestRegister: 2, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 16},
		&expr.Payload{DestRegister: 3, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
	}
}

func count(set string) []expr.Any {
	return []expr.Any{&expr.Dynset{SrcRegKey: 1, SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE, Exprs: []expr.Any{&expr.Counter{}}}}
}

// tooMany matches a new connection of a machine that made too many.
func tooMany() []expr.Any {
	return append(ipv6(),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 16, Mask: mask(112), Xor: make([]byte, 16)},
		&expr.Dynset{SrcRegKey: 1, SetName: setRate, Operation: unix.NFT_DYNSET_OP_UPDATE, Exprs: []expr.Any{
			&expr.Limit{Type: expr.LimitTypePkts, Rate: connectionRate, Burst: connectionBurst, Unit: expr.LimitTimeSecond, Over: true},
		}})
}

func established() []expr.Any {
	states := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: states, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func skuid() []expr.Any { return []expr.Any{&expr.Meta{Key: expr.MetaKeySKUID, Register: 1}} }

// user matches whose socket sends a packet.
func user(uid uint32) []expr.Any {
	return append(skuid(), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(uid)})
}

// group matches packets of sockets that processes below a control group have made.
func group(s Slice) []expr.Any {
	return []expr.Any{
		&expr.Socket{Key: expr.SocketKeyCgroupv2, Level: s.Level, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint64(s.ID)},
	}
}

func echo() []expr.Any {
	return append(protocol(expr.MetaKeyL4PROTO, unix.IPPROTO_ICMPV6),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{128}})
}

func counter() []expr.Any { return []expr.Any{&expr.Counter{}} }
func accept() []expr.Any  { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }
func drop() []expr.Any    { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }

// reset ends the connection of whoever sends.
func reset() []expr.Any { return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}} }

// reject says "administratively prohibited", so that who connects fails at once.
func reject() []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
}
