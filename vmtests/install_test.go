package vmtests

import (
	"strings"
	"testing"
)

func init() {
	scenario("install", oneGuest, walk)
	scenario("install-13", newGuest, walk)
}

// walk is what the README shows, with the package installed.
func walk(t *testing.T, g *guest) {
	g.run("cd /srv && cell new --http site && cell mitosis site")
	g.says("cell status site", "● site", "ready", "cell@site.service")
	g.says("systemctl status --no-pager cell@site", "active (running)")
	g.run("curl -sS --max-time 60 --unix-socket /srv/site/run/cell.sock http://cell/")
	g.says("cell logs site", "site[")
	g.says("cell mitosis --plan /srv/site", "nothing was done")
	g.says("cell doctor", "ok       systemd", "ok       control groups", "ok       WireGuard", "ok       nftables", "answers, and knows 1 cell")
	if out := g.run("cell explain site"); strings.Contains(out, "no: ") {
		t.Errorf("a rule does not hold on a whole machine:\n%s", out)
	}
	g.run("cell apoptosis site && test -e /srv/site/cell.toml && test ! -e /srv/site/run")
	g.run("dpkg -P cell && test ! -e /var/lib/cell && test ! -e /run/cell")
}
