package node

import (
	"net/netip"
	"testing"

	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/record"
	"github.com/cell-network/cell/cellnet/registry"
	"github.com/cell-network/cell/cellnet/wg"
)

// A machine that states another's key of WireGuard, or an invite's, does not get it.
func TestClaims(t *testing.T) {
	prefix := func(n byte) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 13: n}), 112) }
	member := func(n byte, role record.Role, now, next byte) registry.Member {
		return registry.Member{
			Key: identity.Key{n}, Role: role, Stated: true, Prefix: prefix(n),
			Node: record.NodeBody{WireGuard: record.WireGuardKey{now}, Next: record.WireGuardKey{next}},
		}
	}
	const own, guest = record.RoleMember, record.RoleGuest
	for _, c := range []struct {
		what    string
		members []registry.Member
		held    map[byte]byte // keys that the device has, and for which machine
		key     byte
		whose   byte // 0 for nobody
	}{
		{"its own", []registry.Member{member(1, own, 11, 12), member(2, own, 21, 22)}, nil, 11, 1},
		{"its next one", []registry.Member{member(1, own, 11, 12), member(2, own, 21, 22)}, nil, 22, 2},
		{"a guest uses a member's", []registry.Member{member(1, guest, 21, 12), member(2, own, 21, 22)}, map[byte]byte{21: 1}, 21, 2},
		{"a guest announces a member's", []registry.Member{member(1, guest, 11, 21), member(2, own, 21, 22)}, nil, 21, 2},
		{"a guest uses what a member has announced", []registry.Member{member(1, guest, 22, 12), member(2, own, 21, 22)}, nil, 22, 2},
		{"a member announces another's", []registry.Member{member(1, own, 11, 21), member(2, own, 21, 22)}, nil, 21, 2},
		{"two use one, and one had it", []registry.Member{member(1, own, 21, 12), member(2, own, 21, 22)}, map[byte]byte{21: 2}, 21, 2},
		{"two use one, and nobody had it", []registry.Member{member(2, own, 21, 22), member(1, own, 21, 12)}, nil, 21, 1},
		{"an invite's", []registry.Member{member(1, own, 99, 12)}, nil, 99, 0},
		{"none at all", []registry.Member{member(1, own, 11, 0)}, nil, 0, 0},
	} {
		has := map[wg.Key]wg.State{}
		for k, n := range c.held {
			has[wg.Key{k}] = wg.State{Allowed: []netip.Prefix{prefix(n)}}
		}
		all := claims(c.members, []registry.Invite{{Key: record.WireGuardKey{99}}}, has)
		if whose := all[wg.Key{c.key}]; whose[0] != c.whose {
			t.Errorf("%s: it is machine %d's, want %d", c.what, whose[0], c.whose)
		}
	}
}
