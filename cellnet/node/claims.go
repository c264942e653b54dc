package node

import (
	"slices"

	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/record"
	"github.com/cell-network/cell/cellnet/registry"
	"github.com/cell-network/cell/cellnet/wg"
)

// claims says whose each key of WireGuard is. A machine states its keys itself and proves them only when it shakes hands, and a device
// gives a peer's addresses to whoever was written last: one that states another's key would cut that off. So a key is an invite's before
// it is a machine's, the owner's before a stranger's, used before it is announced, and in the end whose the device has it for already.
func claims(members []registry.Member, invites []registry.Invite, has map[wg.Key]wg.State) map[wg.Key]identity.Key {
	all := map[wg.Key]identity.Key{}
	for _, i := range invites {
		all[wg.Key(i.Key)] = identity.Key{} // nobody's
	}
	take := func(k wg.Key, m registry.Member) {
		if _, taken := all[k]; !taken && k != (wg.Key{}) && m.Stated {
			all[k] = m.Key
		}
	}
	members = slices.Clone(members)
	slices.SortStableFunc(members, func(a, b registry.Member) int { return a.Key.Compare(b.Key) })
	for _, own := range []bool{true, false} {
		for _, held := range []bool{true, false} {
			for _, m := range members {
				k := wg.Key(m.Node.WireGuard)
				if (m.Role == record.RoleMember) == own && (!held || slices.Contains(has[k].Allowed, m.Prefix)) {
					take(k, m)
				}
			}
		}
		for _, m := range members {
			if (m.Role == record.RoleMember) == own {
				take(wg.Key(m.Node.Next), m)
			}
		}
	}
	return all
}
