package vmtests

import "testing"

// Cells come back after a reboot and after the power was cut, with what they had written down.
func init() {
	scenario("reboot", oneGuest, func(t *testing.T, g *guest) {
		g.misfit("/srv/app", "", "[life]\nwarm = true")
		g.misfit("/srv/asleep", "", "")
		g.misfit("/srv/stopped", "", "")
		g.misfit("/home/alice/web", "alice", "")
		g.run("cell stop stopped && echo kept >/srv/app/data/note && sync")
		check := func(after string) {
			t.Helper()
			g.until("ready", "cell status app")
			g.says("cat /srv/app/data/note", "kept")
			g.says(get("/srv/asleep", ""), "misfit 1 serve")
			g.says(get("/home/alice/web", ""), "misfit 1 serve")
			if uid := g.run("stat -c %U /proc/" + g.pid("web")); uid != "alice" {
				t.Errorf("%s alice's cell runs as %s", after, uid)
			}
			g.says("cell status stopped", "stopped")
		}
		g.reboot()
		check("after a reboot")
		// Cut in the middle of an upgrade: the old version or the new one runs, and the next mitosis ends it.
		g.run("touch /srv/asleep/changed && (cell mitosis /srv/asleep >/dev/null 2>&1 &)")
		g.cut()
		g.boot()
		check("after a power cut")
		g.run("cell mitosis /srv/asleep")
		g.says(get("/srv/asleep", ""), "misfit 1 serve")
	})
}
