package vmtests

import (
	"fmt"
	"testing"
)

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
	}) // A job of the night, on a machine whose clock is set: what was missed runs once, and never two at a time.
	scenario("clock-job", oneGuest, func(t *testing.T, g *guest) {
		g.run("timedatectl set-ntp false 2>/dev/null; date -s '2027-06-01 03:29:50' >/dev/null")
		g.run(`mkdir -p /srv/nightly && cat >/srv/nightly/cell.toml <<'TOML'
[cell]
speaks = "job"
exec = ["/bin/sh", "-c", "mkdir data/now || exec touch data/two; date >> data/ran; sleep 20; rmdir data/now"]
[life]
schedule = "*-*-* 03:30"
TOML
cell mitosis /srv/nightly`)
		ran := func(times int, when string) {
			t.Helper()
			g.until("done", fmt.Sprintf("[ $(cat /srv/nightly/data/ran | wc -l) = %d ] && [ ! -e /srv/nightly/data/now ] && echo done", times))
			g.run("sleep 5")
			if out := g.run("cat /srv/nightly/data/ran | wc -l; ls /srv/nightly/data"); out != fmt.Sprintf("%d\nran", times) {
				t.Errorf("%s: %q", when, out)
			}
		}
		ran(1, "at its time")
		g.run("date -s '2027-06-02 03:29:58' >/dev/null")
		g.until("now", "ls /srv/nightly/data")
		g.run("date -s '2027-06-03 03:40' >/dev/null") // while it runs, past its next time
		ran(3, "missed while it ran")
		g.run("date -s '2027-06-09 12:00' >/dev/null")
		ran(4, "missed for days")
		g.run("date -s '2027-06-09 02:00' >/dev/null")
		ran(4, "set back")
		g.run("date -s '2027-06-09 03:29:58' >/dev/null")
		ran(5, "the clock shows its time once more")
		g.says("cell status nightly", "2027-06-09 12:00:0", "done", "next run 2027-06-10 03:30:00")
	})
}
