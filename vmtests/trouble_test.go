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
		// systemd 252 makes a directory in /tmp for each unit with devices of its own, so nothing starts, celld neither: it comes back
		// when there is space, and the cell does not notice.
		pid := g.pid("app")
		g.run("systemctl kill -s KILL celld")
		g.says(get("/srv/app", ""), "misfit 1 serve")
		g.run("rm -f /srv/ballast /srv/rest")
		g.until("ready", "cell status app")
		if now := g.pid("app"); now != pid {
			t.Errorf("the cell's process is %s, was %s", now, pid)
		}
		g.run("cell mitosis /srv/other")
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
