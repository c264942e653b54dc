package mesh

import (
	"os/exec"
	"strings"
	"testing"
)

// A web application that knows nothing of Cell has its database on another machine, without a line more than on one.
func TestStack(t *testing.T) {
	for _, p := range []string{"psql", "redis-server"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
	r := newRig(t)
	a, b := r.node("a"), r.node("b")
	join(a, b)
	a.cell("mitosis", a.copied("../../examples/stack/db"))
	for _, d := range []string{"web", "redis", "db"} { // of db the directory alone
		b.copied("../../examples/stack/" + d)
	}
	b.cell("mitosis", b.state+"/redis")
	b.cell("mitosis", b.state+"/web")
	r.eventually("the web application writes to its database on a", func() bool {
		return strings.Contains(b.ask("web", "/"), "written down")
	})
	// The database sleeps and wakes, and is away and comes back.
	a.cell("systemctl", "stop", "cell@db.service")
	if out := b.ask("web", "/"); !strings.Contains(out, "written down") {
		t.Errorf("with the database asleep: %s", out)
	}
	a.cell("stop", "db")
	if out := b.ask("web", "/"); strings.Contains(out, "written down") {
		t.Errorf("without a database: %s", out)
	}
	a.cell("start", "db")
	r.eventually("it comes back", func() bool { return strings.Contains(b.ask("web", "/"), "written down") })
}
