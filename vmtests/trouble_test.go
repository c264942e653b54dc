package vmtests

import "testing"

// A full disk and a clock that jumps: what runs goes on, errors say what is wrong, and afterwards all is as before.
func init() {
	scenario("disk-full", oneGuest, func(t *testing.T, g *guest) {
		g.misfit("/srv/app", "", "")
		g.run("cp -r /srv/app /srv/other && rm -rf /srv/other/run")
		g.run("fallocate -l $(($(df --output=avail -B1 / | tail -1) - 4096)) /srv/ballast || true; dd if=/dev/zero of=/srv/rest bs=4k 2>/dev/null; true")
		g.says(get("/srv/app", ""), "misfit 1 serve")
		if out, code := g.try("cell mitosis /srv/other"); code == 0 {
			t.Errorf("a cell was built on a full disk:\n%s", out)
		}
		g.says("cell mitosis /srv/other", "no space left on device")
		g.run("systemctl restart celld")
		g.until("ready", "cell status app")
		g.run("rm -f /srv/ballast /srv/rest && cell mitosis /srv/other")
		g.says(get("/srv/other", ""), "misfit 1 serve")
		g.reboot()
		g.says(get("/srv/app", ""), "misfit 1 serve")
	})
	scenario("clock", oneGuest, func(t *testing.T, g *guest) {
		g.misfit("/srv/app", "", "[life]\nidle_timeout = \"5s\"")
		pid := g.pid("app")
		for _, jump := range []string{"+1 day", "-2 days", "+1 day"} {
			g.run("timedatectl set-ntp false 2>/dev/null; date -s '" + jump + "' >/dev/null")
			g.says(get("/srv/app", ""), "misfit 1 serve")
			g.says("cell status app", "● app")
			g.run("cell mitosis /srv/app")
		}
		g.until("sleeping", "cell status app") // its idle time is no matter of the clock on the wall
		g.says(get("/srv/app", ""), "misfit 1 serve")
		if now := g.pid("app"); now == pid {
			t.Error("it never slept")
		}
	})
}
