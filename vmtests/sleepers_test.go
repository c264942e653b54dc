package vmtests

import (
	"strconv"
	"strings"
	"testing"
)

// A thousand cells that sleep fit into a small machine, and each wakes when it is called.
func init() {
	scenario("sleepers", bigGuest, func(t *testing.T, g *guest) {
		before := available(g)
		g.run(`mkdir -p /srv/forest && cd /srv/forest && { echo '[cell]'; echo 'exec = ["/bin/sleep", "100000"]'; echo 'speaks = "tcp"'; echo '[cells]'; } >cell.toml
for i in $(seq 1000); do mkdir leaf$i; printf '[cell]\nexec = ["/opt/misfit", "serve"]\nspeaks = "http"\n' >leaf$i/cell.toml; echo "leaf$i = {}" >>cell.toml; done`)
		g.run("cell mitosis --asleep /srv/forest")
		if n := g.run("cell ps | grep -c sleeping"); n != "1001" {
			t.Errorf("%s cells sleep", n)
		}
		used := before - available(g)
		t.Logf("1001 sleeping cells take %d MB of memory", used>>10)
		if used > 600<<10 {
			t.Errorf("1001 sleeping cells take %d MB", used>>10)
		}
		for _, leaf := range []string{"leaf1", "leaf500", "leaf1000"} {
			g.says(get("/srv/forest/"+leaf, ""), "misfit 1 serve")
		}
	})
}

// available is the guest's memory that programs may still have, in KiB.
func available(g *guest) int {
	n, err := strconv.Atoi(strings.Fields(g.run("grep MemAvailable /proc/meminfo"))[1])
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}
