package vmtests

import (
	"strings"
	"testing"
)

// Cells and their connections outlive celld, a new package, and systemd itself being executed anew.
func init() {
	scenario("daemons", oneGuest, func(t *testing.T, g *guest) {
		g.misfit("/srv/app", "", "")
		pid := g.pid("app")
		// One call after another, until it is told to stop.
		g.run("cat >/opt/load <<'SH'\nn=0; bad=0\nwhile [ ! -e /tmp/stop ]; do\n" + get("/srv/app", "") + " >/dev/null 2>&1 || bad=$((bad+1))\nn=$((n+1))\ndone\necho $n calls, $bad lost >/tmp/result\nSH\n(sh /opt/load >/dev/null 2>&1 &)")
		for _, what := range []string{"systemctl kill -s KILL celld", "dpkg -i /opt/cell.deb", "systemctl daemon-reexec", "systemctl daemon-reload", "systemctl kill -s KILL celld"} {
			g.run(what)
			g.until("ready", "cell status app")
			if now := g.pid("app"); now != pid {
				t.Errorf("%s: the cell's process is %s, was %s", what, now, pid)
			}
		}
		g.run("touch /srv/app/changed && cell mitosis /srv/app") // an upgrade under the same load
		g.run("touch /tmp/stop")
		g.until("calls", "cat /tmp/result")
		if out := g.run("cat /tmp/result"); !strings.HasSuffix(out, ", 0 lost") || strings.HasPrefix(out, "0 ") {
			t.Errorf("under load: %s", out)
		}
	})
}
