package mesh

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// door makes a cell on the node through which HTTP calls the probe, whose source is there and which runs elsewhere.
func (n *node) door(name string) {
	n.t.Helper()
	dir := filepath.Join(n.state, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		n.t.Fatal(err)
	}
	toml := fmt.Sprintf("[cell]\nname = %q\nexec = [%q, \"--anyone\"]\nspeaks = \"http\"\n[life]\nready = \"notify\"\n[needs]\nprobe = { path = \"../probe\" }\n", name, filepath.Join(programs, "cell-http"))
	if err := os.WriteFile(filepath.Join(dir, "cell.toml"), []byte(toml), 0o644); err != nil {
		n.t.Fatal(err)
	}
	n.cell("mitosis", dir)
}

// ask sends a request to a cell of the node.
func (n *node) ask(cell, path string, more ...string) string {
	n.t.Helper()
	words := append([]string{"curl", "-sS", "-m", "90", "--unix-socket", filepath.Join(n.state, cell, "run/cell.sock"), "http://cell" + path}, more...)
	out, err := n.command(words...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return string(out)
}

// Who reaches a cell on another machine: cells that its [auth] names, and no others; the same for users; and nobody from an address
// that is not his.
func TestRules(t *testing.T) {
	r := newRig(t)
	a, b := r.node("a"), r.node("b")
	join(a, b)
	a.probe("probe")
	a.append("probe/cell.toml", "\n[auth]\nallow = [\"cell:front\"]\n")
	b.copied("testdata/probe")
	b.door("front")
	b.door("back")
	where := func(door string) string {
		return b.ask(door, "/probe/Where", "-H", "Content-Type: application/json", "-d", "{}")
	}
	r.eventually("front calls the probe", func() bool { return strings.Contains(where("front"), `\"front\"@\"b\"`) })
	// Until the rules follow the edit of [auth], a's celld is the one that refuses, and cellnetd has nothing to log.
	var why string
	r.eventually("the rules follow [auth]", func() bool {
		why = b.cell("net", "why", "front", "probe")
		return strings.Contains(why, "@pairs accept")
	})
	if !strings.Contains(why, "allows it") || strings.Contains(why, "NO") {
		t.Errorf("why front: %s", why)
	}
	r.eventually("back does not", func() bool { return strings.Contains(where("back"), `"code":"unavailable"`) })
	if out := b.cell("net", "why", "back", "probe"); !strings.Contains(out, "NO") || !strings.Contains(out, "does not allow it") {
		t.Errorf("why back: %s", out)
	}
	a.logged("cellnetd", "refused by the rules", "caller=back@b", "cell=probe@a")

	// Users: whom [auth] names; whom it does not; and one whom nobody knows. The probe has its number, so that this is the next.
	a.cell("mitosis", a.copied("../../examples/hello"))
	a.append("hello/cell.toml", "\n[auth]\nallow = [\"user:games\"]\n")
	address := a.cellAddress(17)
	curl := func(uid string) string {
		out, _ := b.command("setpriv", "--reuid", uid, "--clear-groups", "curl", "-sS", "-m", "20", "http://["+address+"]/").CombinedOutput()
		return string(out)
	}
	r.eventually("games reaches hello", func() bool { return strings.Contains(curl("games"), "hello from hello") })
	if out := curl("daemon"); strings.Contains(out, "hello from hello") {
		t.Errorf("daemon gets %s", out)
	}
	a.logged("celld", "denied", "caller=\"user daemon@b\"", "cell=hello")
	if out := curl("54321"); !strings.Contains(out, "Permission denied") && !strings.Contains(out, "Could not connect") && !strings.Contains(out, "Couldn't connect") {
		t.Errorf("a user without an account: %s", out)
	}

	// A cell with a network of its own, which runs as root, does not pass for another one, nor for root.
	b.cell("mitosis", b.copied("testdata/spy"))
	for _, from := range []string{b.nodes()["b"].Address, b.cellAddress(16), b.cellAddress(17)} {
		if out := b.ask("spy", "/?from="+from+"&to="+a.cellAddress(16)+"&port=23550"); !strings.Contains(out, "Permission denied") {
			t.Errorf("from %s: %s", from, out)
		}
	}

	// A machine that opens connections without end is held back, and only it.
	flood := b.command("python3", "-c", `import socket, sys, time
end = time.time() + 60
while time.time() < end:
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    s.connect_ex((sys.argv[1], 9))
    s.close()`, a.nodes()["a"].Address)
	if err := flood.Start(); err != nil {
		t.Fatal(err)
	}
	dropped := regexp.MustCompile(`limit rate over .* counter packets ([0-9]+) `)
	r.eventually("something of a flood is dropped", func() bool {
		out, err := a.command("nft", "list", "chain", "inet", "cell", "input").CombinedOutput()
		m := dropped.FindSubmatch(out)
		return err == nil && m != nil && string(m[1]) != "0"
	})
	_ = flood.Process.Kill()
	_ = flood.Wait()
	r.eventually("front calls the probe again", func() bool { return strings.Contains(where("front"), `\"front\"@\"b\"`) })
}
