package vmtests

import (
	"strings"
	"testing"
)

// Two machines with the kernel's WireGuard join and call each other's cells.
func init() {
	scenario("mesh", oneGuest, func(t *testing.T, a *guest) {
		b := a.twin(t)
		n := newNetwork(t)
		n.plug(a)
		cable, _ := n.plug(b)
		token := a.run("cell invite")
		b.run("echo " + token + " | cell join - --node b")
		for _, g := range []*guest{a, b} {
			g.until("guest ", "cell nodes")
			g.until("b ", "cell nodes")
			g.says("cell net status", "kernel, UDP port 23550", "nftables")
			g.says("ip -d link show cell0", "wireguard")
		}
		a.run("cell mitosis /opt/sum")
		a.misfit("/srv/app", "", "")
		b.until("7", "cell use calculator add 3 4")

		// What is not the mesh's stays as it is, and what the mesh made goes away with it.
		b.run("nft add table inet other && nft add chain inet other in '{ type filter hook input priority 0; }' && nft add rule inet other in counter")
		others := func() string { return b.run("nft list table inet other | grep -v counter; ip -6 rule") }
		before := others()

		// The daemon crashes: the tunnel and the rules stay, and the next one takes over what is there.
		index := b.run("cat /sys/class/net/cell0/ifindex")
		b.run("systemctl kill -s KILL cellnetd")
		b.until("active", "systemctl is-active cellnetd")
		b.until("7", "cell use calculator add 3 4")
		if now := b.run("cat /sys/class/net/cell0/ifindex"); now != index {
			t.Errorf("the interface was made anew: %s, before %s", now, index)
		}

		t.Logf("cellnetd: %s", b.run("grep -E 'VmRSS|RssAnon' /proc/$(systemctl show -P MainPID cellnetd)/status | tr -s '\\n\\t ' ' '"))

		// Another key of WireGuard, and calls go on.
		key := b.run("cell nodes --json | python3 -c 'import json,sys; print([n[\"wireguard_key\"] for n in json.load(sys.stdin) if n[\"path\"] == \"self\"][0])'")
		b.run("cell net rotate")
		b.until("7", "cell use calculator add 3 4")
		a.until("turned to its next key", "journalctl -u cellnetd -o cat --no-pager")
		if out := b.run("cell nodes --json"); strings.Contains(out, key) {
			t.Errorf("the key is still %s: %s", key, out)
		}

		cable.set(func(l *link) { l.down = true })
		b.until("not reached", "cell use calculator add 3 4")
		cable.set(func(l *link) { l.down = false })
		b.until("7", "cell use calculator add 3 4")

		a.run("cell evict b") // whether b hears of that before it is cut off depends on how fast it is
		if out, code := b.try("cell use calculator add 3 4"); code == 0 {
			t.Errorf("an evicted machine calls: %s", out)
		}
		b.run("cell leave")
		if out, _ := b.try("nft list table inet cell; ip link show cell0; ip -6 route show table local | grep fd"); strings.Contains(out, "table inet cell {") || strings.Contains(out, "wireguard") || strings.Contains(out, "local fd") {
			t.Errorf("left behind:\n%s", out)
		}
		if after := others(); after != before {
			t.Errorf("of others there was\n%s\nand is\n%s", before, after)
		}
	})
}
