package vmtests

import (
	"strings"
	"testing"
)

// The kernel holds a cell to what its cell.toml says.
func init() {
	scenario("limits", oneGuest, func(t *testing.T, g *guest) {
		const limits = "[resources]\nmemory = \"64MB\"\ntasks = 40\ncpu = 0.5\nstorage = \"10MB\"\nio = { read = \"5MB\" }"
		g.misfit("/srv/hungry", "", limits)
		g.misfit("/srv/neighbour", "", limits)
		explained := strings.Join(strings.Fields(g.run("cell explain hungry")), " ")
		for _, want := range []string{
			"memory 64M cell-hungry.slice yes", "cpu 0.5 cores cell-hungry.slice yes", "tasks 40 cell-hungry.slice yes", "io read 5M cell-hungry.slice yes",
			"storage 10M project quota yes", "open files 65536 LimitNOFILE yes",
		} {
			if !strings.Contains(explained, want) {
				t.Errorf("cell explain has no %q:\n%s", want, explained)
			}
		}
		for file, want := range map[string]string{"memory.max": "67108864", "pids.max": "40", "cpu.max": "50000 100000"} {
			if got := g.cgroup("cell@hungry.service", file); got != want {
				t.Errorf("%s: %s, want %s", file, got, want)
			}
		}
		if got := g.cgroup("cell@hungry.service", "io.max"); !strings.Contains(got, "rbps=5242880") {
			t.Errorf("io.max: %s", got)
		}

		// Over its memory: this cell ends and comes back, nothing else does.
		neighbour, hungry, celld := g.pid("neighbour"), g.pid("hungry"), g.run("systemctl show -P MainPID celld")
		g.try(get("/srv/hungry", "eat?mb=200"))
		g.until("restarted: killed: over its 64 MB of memory", "cell status hungry")
		g.says(get("/srv/hungry", ""), "misfit 1 serve")
		if g.pid("neighbour") != neighbour || g.run("systemctl show -P MainPID celld") != celld || g.pid("hungry") == hungry {
			t.Error("the wrong process ended")
		}

		// Limits change in place.
		g.run("sed -i 's/64MB/96MB/; s/tasks = 40/tasks = 50/' /srv/neighbour/cell.toml && cell mitosis /srv/neighbour")
		if g.cgroup("cell@neighbour.service", "memory.max") != "100663296" || g.cgroup("cell@neighbour.service", "pids.max") != "50" || g.pid("neighbour") != neighbour {
			t.Error("limits were not changed in place")
		}
		g.says(get("/srv/neighbour", "fork?n=100"), "Cannot fork")
		g.says(get("/srv/neighbour", "fill?path=data/big&mb=30"), "disk quota exceeded")
		g.run("dd if=/dev/zero of=/srv/big bs=1M count=30 status=none") // others are not held
		g.try(get("/srv/neighbour", "spin?for=3s"))
		if got := g.cgroup("cell@neighbour.service", "cpu.stat"); strings.Contains(got, "nr_throttled 0 ") || !strings.Contains(got, "nr_throttled ") {
			t.Errorf("a spinning cell was not held back: %s", got)
		}
	})
}
