package nspawn

import (
	"os"
	"strings"
	"testing"

	"github.com/cell-network/cell/tests/internet"
)

// TestPackagedMesh joins machines of two releases on which the package was installed, and reboots one.
func TestPackagedMesh(t *testing.T) {
	need(t)
	if lacks := internet.Lacks(); lacks != "" {
		t.Skip(lacks)
	}
	network := internet.New(t)
	up := func(name, of string) *machine {
		m := bareMachine(t, release(t, of))
		m.name, m.net = name, network.Host(name).Path()
		if err := os.Remove(m.path("/etc/systemd/system/systemd-resolved.service")); err != nil {
			t.Fatal(err)
		}
		m.write("/etc/resolv.conf", "nameserver 127.0.0.53\n", 0o644)
		m.boot()
		m.run(0, "dpkg", "-i", m.bring(t, "0.0.1", "deb"))
		m.active(0, "celld.service")
		return m
	}
	a, b := up("a", "bookworm"), up("b", "trixie")

	// Whoever is no administrator may look, and changes nothing.
	a.has(alice, []string{"cell", "net", "status"}, "in no tissue")
	a.fails(alice, 5, "network.cell.administer-mesh", "cell", "invite")

	b.run(0, "cell", "join", strings.TrimSpace(a.run(0, "cell", "invite")))
	for _, m := range []string{"a", "b"} {
		a.until(alice, m+" ", "cell", "nodes")
		b.until(alice, m+" ", "cell", "nodes")
	}
	a.has(0, []string{"cell", "net", "status"}, "home", "nftables")
	if user := a.property("cellnetd.service", "User"); user != "cell-net" {
		t.Errorf("cellnetd runs as %q", user)
	}
	a.has(0, []string{"systemctl", "is-enabled", "cellnetd"}, "enabled")

	// Any program reaches a cell by its name.
	a.kinds("/srv", 0)
	a.run(0, "cell", "mitosis", "/srv/port")
	for _, m := range []*machine{a, b} {
		m.until(0, "by systemd-resolved", "cell", "net", "status")
		m.until(0, "Directory listing", "curl", "-s", "http://port.cell/")
	}

	// Calls, also after either side was replaced or was away.
	a.run(0, "cell", "mitosis", "/srv/calculator")
	b.until(0, "7", "cell", "use", "calculator", "add", "3", "4")

	b.run(0, "systemctl", "restart", "cellnetd", "celld")
	b.until(0, "7", "cell", "use", "calculator", "add", "3", "4")
	a.reboot()
	b.until(0, "7", "cell", "use", "calculator", "add", "3", "4")

	b.run(0, "cell", "leave")
	b.has(0, []string{"cell", "net", "status"}, "in no tissue")
	b.fails(0, 0, "", "sh", "-c", "! ip link show cell0")
	a.run(0, "dpkg", "-P", "cell")
	a.run(0, "sh", "-c", "! ls -d /var/lib/cell-net && ! ip link show cell0 && ! nft list table inet cell")
}
