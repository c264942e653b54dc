package mesh

import (
	"testing"

	"github.com/cell-network/cell/tests/internet"
)

// Machines behind every kind of NAT reach each other, directly where their NATs let them and through a member without one where they do
// not, and take the direct path as soon as there is one.
func TestNAT(t *testing.T) {
	r := newRig(t)
	type kind struct {
		nat  internet.NAT
		hard int // 2 with 1 or more needs a relay
	}
	kinds := map[string]kind{
		"cone": {internet.FullCone, 0}, "addr": {internet.AddressRestricted, 0}, "port": {internet.PortRestricted, 1}, "port2": {internet.PortRestricted, 1},
		"sym": {internet.Symmetric, 2}, "sym2": {internet.Symmetric, 2},
	}
	open := r.node("open")
	nodes, routers := map[string]*node{}, map[string]*internet.Router{}
	var others []*node
	for name, k := range kinds {
		h, router := r.net.Behind(k.nat, name)
		nodes[name], routers[name] = r.on(name, h), router
		others = append(others, nodes[name])
	}
	join(open, others...)
	want := func(a, b string) string {
		if x, y := kinds[a].hard, kinds[b].hard; x+y > 2 {
			return "relay"
		}
		return "direct"
	}
	for a, n := range nodes {
		for b := range nodes {
			if a == b {
				continue
			}
			r.eventually(a+" reaches "+b+" by "+want(a, b), func() bool {
				is := n.nodes()[b]
				return is.Path == want(a, b) && (is.Path != "relay" || is.Via == "open")
			})
		}
		if is := n.nodes()["open"]; is.Path != "lan" && is.Path != "direct" {
			t.Errorf("%s reaches the machine without a NAT by %s", a, is.Path)
		}
	}
	nodes["sym"].probe("probe")
	nodes["sym2"].until("uid 0", "use", "probe", "where")

	// The NAT lets more through: the relay is not needed any more.
	routers["sym"].Become(internet.FullCone)
	r.eventually("sym2 reaches sym directly", func() bool { return nodes["sym2"].nodes()["sym"].Path == "direct" })
	nodes["sym2"].until("uid 0", "use", "probe", "where")

	// A laptop goes to another network.
	_, cafe := r.net.Behind(internet.PortRestricted, "cafe")
	cafe.Take(nodes["sym"].Host)
	nodes["sym2"].until("uid 0", "use", "probe", "where")
	nodes["port"].until("uid 0", "use", "probe", "where")
}

// Two machines come to another place at once, where neither knows the other's address: they find each other on the network.
func TestSameNetwork(t *testing.T) {
	r := newRig(t)
	a, b := r.node("a"), r.node("b")
	join(a, b)
	a.probe("probe")
	b.until("uid 0", "use", "probe", "where")
	a.Cut()
	b.Cut()
	a.Move("198.18.7.1")
	b.Move("198.18.7.2")
	a.Plug()
	b.Plug()
	b.until("uid 0", "use", "probe", "where")
	r.eventually("both know where the other is", func() bool {
		return a.nodes()["b"].Endpoint == "198.18.7.2:23550" && b.nodes()["a"].Endpoint == "198.18.7.1:23550"
	})
}

// Where there is no IPv4, machines join and call over IPv6; one that gets IPv4 only, and one that has both, go on.
func TestIPv6(t *testing.T) {
	r := newRig(t)
	a, b := r.node("a"), r.node("b")
	a.Move("2001:db8::1")
	b.Move("2001:db8::2")
	join(a, b)
	a.probe("probe")
	b.until("uid 0", "use", "probe", "where")
	if e := b.nodes()["a"].Endpoint; e != "[2001:db8::1]:23550" {
		t.Errorf("a is reached at %s", e)
	}
	a.Move("198.18.3.1")
	b.Move("198.18.3.2")
	b.until("uid 0", "use", "probe", "where")
	if e := b.nodes()["a"].Endpoint; e != "198.18.3.1:23550" {
		t.Errorf("a is reached at %s", e)
	}
}
