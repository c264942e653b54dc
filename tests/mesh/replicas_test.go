package mesh

import (
	"strings"
	"testing"
)

// A cell that runs on two machines is called on both by one client, and on the one that is left when the other is gone.
func TestReplicas(t *testing.T) {
	r := newRig(t)
	a, b, c := r.node("a"), r.node("b"), r.node("c")
	join(a, b, c)
	a.probe("probe")
	c.probe("probe")
	b.copied("testdata/probe")
	b.program("client", "client")
	ask := func() string { return b.cell("use", "client", "ask", "200") }
	r.eventually("both machines serve calls", func() bool {
		out := ask()
		return strings.Contains(out, a.state) && strings.Contains(out, c.state)
	})
	if out := ask(); strings.Contains(out, "failed") {
		t.Errorf("calls fail: %s", out)
	}
	c.Cut()
	r.eventually("calls go on with the machine that is left", func() bool {
		out := ask()
		return strings.Contains(out, a.state) && !strings.Contains(out, c.state) && !strings.Contains(out, "failed")
	})
	c.Plug()
	r.eventually("the machine that is back serves calls again", func() bool { return strings.Contains(ask(), c.state) })
}
