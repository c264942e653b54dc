package mesh

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Machines turn to other keys of WireGuard under connections that go on, also when one was away meanwhile.
func TestKeys(t *testing.T) {
	r := newRig(t)
	a, b := r.node("a"), r.node("b")
	join(a, b)
	a.probe("probe")
	b.until("uid 0", "use", "probe", "where")
	address := a.nodes()["a"].Address
	ports := func() (all []string) {
		for _, c := range b.connections(address) {
			all = append(all, strings.Fields(c)[2])
		}
		return all
	}
	r.eventually("the call before has ended", func() bool { return len(ports()) == 0 })
	waits := make(chan string, 1)
	go func() { out, _ := b.try("use", "probe", "wait"); waits <- out }()
	var before []string
	r.eventually("the call is under way", func() bool {
		before = ports()
		time.Sleep(2 * time.Second) // what the daemons tell one another is over then
		after := ports()
		before = slices.DeleteFunc(before, func(p string) bool { return !slices.Contains(after, p) })
		return len(before) > 0
	})
	key := func(n *node) string { return n.nodes()[n.name].Key }
	var keys []string
	for range 2 {
		for _, n := range []*node{a, b} {
			keys = append(keys, key(n))
			n.cell("net", "rotate")
			begun := time.Now()
			b.until("uid 0", "use", "probe", "where")
			t.Logf("a call went through %v after %s had turned", time.Since(begun).Round(time.Millisecond), n.name)
		}
	}
	keys = append(keys, key(a), key(b))
	slices.Sort(keys)
	if len(slices.Compact(keys)) != 6 {
		t.Errorf("keys: %q", keys)
	}
	// A call that was over may have had a connection yet.
	if after := ports(); !slices.ContainsFunc(before, func(p string) bool { return slices.Contains(after, p) }) {
		t.Errorf("the connection was %q, and there are %q", before, after)
	}
	select {
	case out := <-waits:
		t.Errorf("a call did not go on: %s", out)
	default:
	}

	// One turns while the other is away, and then both were restarted.
	b.Cut()
	a.cell("net", "rotate")
	b.cell("net", "rotate")
	b.Plug()
	b.until("uid 0", "use", "probe", "where")
	a.down()
	b.down()
	a.cell("start", "probe")
	b.until("uid 0", "use", "probe", "where")
}

// Two machines with one key, as after a disk was copied, are told of it.
func TestClone(t *testing.T) {
	r := newRig(t)
	a, b := r.node("a"), r.node("b")
	join(a, b)
	b.down()
	c := r.node("c")
	if err := os.CopyFS(filepath.Join(c.state, "cell/net"), os.DirFS(filepath.Join(b.state, "cell/net"))); err != nil {
		t.Fatal(err)
	}
	b.cell("nodes")
	c.cell("nodes")
	b.until("with a copy of this one's state", "net", "status")
	c.until("with a copy of this one's state", "net", "status")
	c.cell("leave") // which takes the key out of the tissue for both
	b.cell("leave")
	b.cell("join", a.cell("invite"), "--node", "b")
}
