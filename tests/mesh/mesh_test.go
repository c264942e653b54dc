// Package mesh tests machines that are joined: each is a network namespace with a manager of its own, a real bus, real celld and
// cellnetd, and real WireGuard (wireguard-go where the kernel has none), on an internet that the test can take apart.
package mesh

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/sdk/api"
)

func TestTwoNodes(t *testing.T) {
	r := newRig(t)
	a, b := r.node("a"), r.node("b")
	if out := a.cell("net", "status"); !strings.Contains(out, "in no tissue") {
		t.Errorf("before any tissue: %s", out)
	}
	// The first invite founds a tissue.
	token := a.cell("invite")
	if out := b.cell("join", token, "--node", "b"); !strings.Contains(out, "home: joined as b") {
		t.Errorf("cell join: %s", out)
	}
	a.probe("probe")

	// Both see both, and nobody did anything for that.
	var last api.Node
	t.Cleanup(func() { t.Logf("b as a saw it last: %+v", last) })
	r.eventually("b is reached from a", func() bool { last = a.nodes()["b"]; return last.Path == "lan" && last.RTT > 0 })
	for name, n := range b.nodes() {
		if n.Role != "member" || !strings.HasPrefix(n.ID, "cell://") || !strings.HasPrefix(n.Address, "fd") || n.Version == "" || n.Seen.IsZero() || n.Capacity.Cores == 0 {
			t.Errorf("%s as b sees it: %+v", name, n)
		}
	}
	if n := b.nodes()["b"]; n.Path != "self" {
		t.Errorf("b sees itself as %+v", n)
	}

	// A call, with who calls; a typed error; a stream.
	if out := b.until("uid 0", "use", "probe", "where"); !strings.Contains(out, `""@"b" uid 0`) {
		t.Errorf("the cell was called by %s", out)
	}
	if out, err := b.try("use", "probe", "refuse", "7"); err == nil || !strings.Contains(out, "refused on purpose (Code=7)") {
		t.Errorf("a typed error: %s %v", out, err)
	}
	if out := b.cell("use", "probe", "count", "5"); out != "1\n2\n3\n4\n5" {
		t.Errorf("a stream: %q", out)
	}

	// It sleeps, and a call from afar wakes it.
	first := run(b.cell("use", "probe", "where"))
	a.until("sleeping", "status", "probe")
	if again := run(b.cell("use", "probe", "where")); again == first {
		t.Errorf("process %s answered before and after it slept", first)
	}

	// What nobody has is said so at once.
	if out, err := b.try("use", "nonesuch", "x"); err == nil || !strings.Contains(out, `no cell "nonesuch" is known here or on another machine of the tissue home`) {
		t.Errorf("a cell that nobody has: %s %v", out, err)
	}
	// A machine is in one tissue.
	if out, err := b.try("join", token); err == nil || !strings.Contains(out, "in the tissue home already") {
		t.Errorf("joining twice: %s %v", out, err)
	}
}

// run is what the method Where answers first.
func run(out string) string {
	_, rest, _ := strings.Cut(out, ":")
	return strings.Fields(rest)[0]
}

// Programs that know nothing of Cell reach a cell by its name, from its own machine and from another one, and only those whose user
// may.
func TestNames(t *testing.T) {
	r := newRig(t)
	a, b := r.node("a"), r.node("b")
	join(a, b)
	a.cell("mitosis", a.copied("../../examples/hello"))
	for _, n := range []*node{a, b} {
		curl := func(before string) (string, error) {
			server := n.nodes()[n.name].Address
			resolv := filepath.Join(n.state, "resolv.conf")
			if err := os.WriteFile(resolv, []byte("nameserver "+server+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := n.command("unshare", "-m", "sh", "-c", "mount --bind "+resolv+" /etc/resolv.conf && "+before+" curl -sS -m 10 http://hello.cell/").CombinedOutput()
			return string(out), err
		}
		r.eventually("curl http://hello.cell/ answers on "+n.name, func() bool {
			out, err := curl("")
			return err == nil && strings.Contains(out, "hello from hello")
		})
		if out, err := curl("setpriv --reuid 65534 --clear-groups"); err == nil {
			t.Errorf("on %s any user gets %s", n.name, out)
		}
	}
}

// A machine that may not join leaves no trace and changes nothing.
func TestTokens(t *testing.T) {
	r := newRig(t)
	a, b, c := r.node("a"), r.node("b"), r.node("c")
	token := a.cell("invite")
	b.cell("join", token, "--node", "b")
	for name, test := range map[string][2]string{
		"used":      {token, "the token was used already"},
		"cut off":   {token[:len(token)-3], "not copied whole"},
		"something": {"hello", "not a token"},
	} {
		if out, err := c.try("join", test[0]); err == nil || !strings.Contains(out, test[1]) {
			t.Errorf("%s: %s %v", name, out, err)
		}
	}
	if out := c.cell("net", "status"); !strings.Contains(out, "in no tissue") {
		t.Errorf("after all that c is: %s", out)
	}
	if out, err := c.command("ip", "link", "show", "cell0").CombinedOutput(); err == nil {
		t.Errorf("an interface is left: %s", out)
	}
	if out, _ := c.command("ip", "-6", "route", "show", "table", "local").CombinedOutput(); strings.Contains(string(out), "local fd") {
		t.Errorf("a route is left: %s", out)
	}
	if n := a.nodes(); len(n) != 2 {
		t.Errorf("a sees %v", n)
	}
	short := a.cell("invite", "--for", "1s")
	time.Sleep(1100 * time.Millisecond)
	if out, err := c.try("join", short); err == nil || !strings.Contains(out, "the token has expired") {
		t.Errorf("an expired token: %s %v", out, err)
	}
	// A name that is taken is made another one.
	if out := c.cell("join", a.cell("invite"), "--node", "b"); !strings.Contains(out, "joined as b-2") {
		t.Errorf("a second b: %s", out)
	}
}

// A guest calls what [auth] allows it by name, and takes nobody in.
func TestGuest(t *testing.T) {
	r := newRig(t)
	a, b := r.node("a"), r.node("b")
	b.cell("join", a.cell("invite", "--role", "guest"), "--node", "visitor")
	a.probe("probe")
	b.until("no rule there lets it through", "use", "probe", "where")
	a.logged("cellnetd", "refused by the rules", "visitor", "cell=probe@")
	if out := b.cell("net", "why", "probe"); !strings.Contains(out, "meta l4proto tcp reject") || !strings.Contains(out, "the machine visitor is a guest here") {
		t.Errorf("why: %s", out)
	}
	// Nobody is led to a guest by the name of a cell.
	b.probe("lure")
	a.eventually("the record of the guest's cell is there", func() bool { return a.nodes()["visitor"].Cells == 1 })
	if out, err := a.try("use", "lure", "where"); err == nil || !strings.Contains(out, "no cell") {
		t.Errorf("a guest's cell is called: %s", out)
	}
	if out, err := b.try("invite"); err == nil || !strings.Contains(out, "may not invite") {
		t.Errorf("a guest invites: %s %v", out, err)
	}
	if out, err := b.try("evict", a.nodes()["visitor"].ID[:12]); err == nil {
		t.Errorf("a guest evicts: %s", out)
	}
	a.append("probe/cell.toml", "\n[auth]\nallow = [\"node:visitor\"]\n")
	if out := b.until("uid 65534", "use", "probe", "where"); !strings.Contains(out, `@"visitor"`) {
		t.Errorf("a guest that is allowed: %s", out)
	}
	if out := b.cell("net", "why", "probe"); !strings.Contains(out, "@pairs accept") || strings.Contains(out, "NO") {
		t.Errorf("why: %s", out)
	}
}

// The machine that founded the tissue is gone, and the others go on: they call one another, take machines in, survive that all of
// them restart, and evict.
func TestWithoutTheFounder(t *testing.T) {
	r := newRig(t)
	a, b, c, d := r.node("a"), r.node("b"), r.node("c"), r.node("d")
	join(a, b, c)
	r.eventually("b and c know where the other is", func() bool { return b.nodes()["c"].Capacity.Cores > 0 && c.nodes()["b"].Capacity.Cores > 0 })
	a.Cut()
	b.probe("probe")
	c.until("uid 0", "use", "probe", "where")
	b.down()
	c.down()
	b.cell("start", "probe")
	c.until("uid 0", "use", "probe", "where")
	if out := d.cell("join", c.cell("invite"), "--node", "d"); !strings.Contains(out, "joined as d") {
		t.Errorf("cell join: %s", out)
	}
	d.until("uid 0", "use", "probe", "where")
	address := d.nodes()["d"].Address
	ended := make(chan string, 1) // a call that is under way when its machine is evicted
	go func() { out, _ := d.try("use", "probe", "wait"); ended <- out }()
	r.eventually("the call is under way", func() bool { return len(b.connections(address)) > 0 })
	c.cell("evict", "d")
	d.until("evicted", "net", "status")
	select {
	case out := <-ended:
		if out == "" {
			t.Error("a call of an evicted machine ends well")
		}
	case <-time.After(time.Minute):
		t.Error("a call of an evicted machine goes on")
	}
	r.eventually("b has no connection with d", func() bool { return len(b.connections(address)) == 0 })
	r.eventually("d is out", func() bool {
		out, err := d.try("use", "probe", "where")
		return err != nil && len(b.nodes()) == 3 && out != ""
	})
	// The founder comes back and learns all of that.
	a.Plug()
	r.eventually("a has learnt that probe is on b and that d is out", func() bool {
		_, err := a.try("use", "probe", "where")
		return err == nil && len(a.nodes()) == 3
	})
}
