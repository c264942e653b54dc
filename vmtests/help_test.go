package vmtests

import (
	"fmt"
	"strings"
)

// misfit makes a cell of the program that misbehaves on request, with more lines of its cell.toml, and starts it.
func (g *guest) misfit(dir, user, more string) {
	g.t.Helper()
	g.as(user, fmt.Sprintf("mkdir -p %s/bin && cp /opt/misfit %[1]s/bin/ && cat >%[1]s/cell.toml <<'TOML'\n[cell]\nexec = [\"bin/misfit\", \"serve\"]\nspeaks = \"http\"\n%s\nTOML\ncell mitosis %[1]s", dir, more))
}

// get is a script that asks a misfit for something.
func get(dir, path string) string {
	return fmt.Sprintf("curl -sS --max-time 120 --unix-socket %s/run/cell.sock 'http://cell/%s'", dir, path)
}

// pid is the process of a cell.
func (g *guest) pid(name string) string {
	g.t.Helper()
	return g.run("systemctl show -P MainPID cell@" + name + ".service")
}

// file reads a file of a unit's control group.
func (g *guest) cgroup(unit, file string) string {
	g.t.Helper()
	return strings.Join(strings.Fields(g.run("cat /sys/fs/cgroup$(systemctl show -P ControlGroup "+unit+")/"+file)), " ")
}
