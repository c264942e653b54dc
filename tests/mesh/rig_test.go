package mesh

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/internal/host"
	"github.com/cell-network/cell/internal/host/hosttest"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/tests/internet"
)

// programs holds what TestMain built: Cell's own and the cell that is called.
var programs string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if len(os.Args) > 1 && os.Args[1] == "host-init" {
			if err := host.Init(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			return 0
		}
		if len(os.Args) > 2 && os.Args[1] == "raw" {
			if err := raw(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			return 0
		}
		if flag.Parse(); testing.Short() {
			return m.Run()
		}
		dir, err := hosttest.Build([]string{"../../cmd/cell", "../../cmd/celld", "../../cmd/cellnetd", "../../cmd/cell-gpu", "../../cmd/cell-membrane", "../../cmd/cell-inside", "../../cmd/cell-http"}, []string{"./testdata/probe", "./testdata/client"})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		programs = dir
		return m.Run()
	}())
}

// patience is how long something may take that comes in the end: machines are slow, and paths are found after seconds.
const patience = 3 * time.Minute

// rig is a network of the test's own with machines on it.
type rig struct {
	t   *testing.T
	dir string
	net *internet.Net
}

// node is a machine: a network namespace, an embedded manager and a directory.
type node struct {
	*rig
	*internet.Host
	name  string
	state string
}

// newRig skips, or fails under CELL_TEST_REQUIRE=all, where the machine lacks something.
func newRig(t *testing.T) *rig {
	t.Helper()
	if testing.Short() {
		t.Skip("it needs managers and network namespaces, which -short leaves out")
	}
	lacks := internet.Lacks()
	if _, err := exec.LookPath("dbus-daemon"); err != nil && lacks == "" {
		lacks = "dbus is not installed"
	}
	switch {
	case lacks == "":
	case os.Getenv("CELL_TEST_REQUIRE") == "all":
		t.Fatal(lacks)
	default:
		t.Skip(lacks)
	}
	return &rig{t: t, dir: t.TempDir(), net: internet.New(t)}
}

// node makes a machine on the network.
func (r *rig) node(name string) *node {
	r.t.Helper()
	return r.on(name, r.net.Host(name))
}

// on makes a host a machine.
func (r *rig) on(name string, h *internet.Host) *node {
	r.t.Helper()
	n := &node{rig: r, Host: h, name: name, state: filepath.Join(r.dir, name)}
	if err := os.MkdirAll(n.state, 0o700); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if r.t.Failed() {
			out, _ := n.command("cell", "journalctl", "--no-pager", "-n", "60", "-u", "cellnetd", "-u", "celld").CombinedOutput()
			r.t.Logf("journal of %s:\n%s", name, out)
		}
		n.down()
	})
	return n
}

// raced fails the test when the race detector reported of a daemon, where they are built with it.
func (n *node) raced() {
	if !hosttest.Race {
		return
	}
	out, _ := n.command("cell", "journalctl", "--no-pager", "-o", "cat").Output()
	if _, report, ok := strings.Cut(string(out), "WARNING: DATA RACE"); ok {
		n.t.Errorf("data race on %s:\n%s", n.name, report[:min(len(report), 4000)])
	}
}

// down ends the node's manager with all that runs.
func (n *node) down() {
	n.t.Helper()
	n.raced()
	if out, err := n.command("cell", "host", "down").CombinedOutput(); err != nil && !strings.Contains(string(out), "not running") {
		n.t.Errorf("cell host down on %s: %v: %s", n.name, err, out)
	}
}

// command is a program on the node.
func (n *node) command(words ...string) *exec.Cmd {
	c := exec.Command("nsenter", append([]string{
		"--net=" + n.Path(), "env", "XDG_STATE_HOME=" + n.state, "HOME=" + n.state, "CELL_MANAGER=embedded", "GORACE=atexit_sleep_ms=0",
		"PATH=" + programs + ":" + os.Getenv("PATH"),
	}, words...)...)
	return c
}

// cell runs a command of Cell and returns what it printed; one that fails fails the test.
func (n *node) cell(words ...string) string {
	n.t.Helper()
	out, err := n.try(words...)
	if err != nil {
		n.t.Fatalf("cell %s on %s: %v: %s", strings.Join(words, " "), n.name, err, out)
	}
	return out
}

// try is cell for a command that may fail.
func (n *node) try(words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := n.command(append([]string{"cell"}, words...)...)
	timed := exec.CommandContext(ctx, c.Path, c.Args[1:]...)
	out, err := timed.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// until repeats a command until what it prints has the text, for as long as a slow machine may take.
func (n *node) until(text string, words ...string) string {
	n.t.Helper()
	var out string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if out, _ = n.try(words...); strings.Contains(out, text) {
			return out
		}
	}
	n.t.Fatalf("cell %s on %s never said %q, but %s", strings.Join(words, " "), n.name, text, out)
	return ""
}

// logged waits until one line of a daemon's journal has the texts.
func (n *node) logged(unit string, texts ...string) {
	n.t.Helper()
	n.eventually(fmt.Sprintf("%s logs %q", unit, texts), func() bool {
		out, _ := n.try("journalctl", "--no-pager", "-o", "cat", "-u", unit)
		for line := range strings.Lines(out) {
			all := true
			for _, x := range texts {
				all = all && strings.Contains(line, x)
			}
			if all {
				return true
			}
		}
		return false
	})
}

func (n *node) nodes() map[string]api.Node {
	n.t.Helper()
	var all []api.Node
	if err := json.Unmarshal([]byte(n.cell("nodes", "--json")), &all); err != nil {
		n.t.Fatal(err)
	}
	out := map[string]api.Node{}
	for _, one := range all {
		out[one.Name] = one
	}
	return out
}

// eventually waits for a condition, for as long as a slow machine may take.
func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if holds() {
			return
		}
	}
	r.t.Fatalf("it never came to be that %s", what)
}

// probe runs the probe of testdata on the node, under a name.
func (n *node) probe(name string) { n.program("probe", name) }

// program runs a cell of testdata on the node, under a name.
func (n *node) program(of, name string) {
	n.t.Helper()
	dir := filepath.Join(n.state, name)
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		n.t.Fatal(err)
	}
	for from, to := range map[string]string{
		"testdata/" + of + "/cell.toml": "cell.toml", "testdata/" + of + "/genome.json": "genome.json", filepath.Join(programs, of): "bin/" + name,
	} {
		data, err := os.ReadFile(from)
		if err == nil && to == "cell.toml" {
			data = []byte(strings.Replace(string(data), `"`+of+`"`, `"`+name+`"`, 1))
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, to), data, 0o755)
		}
		if err != nil {
			n.t.Fatal(err)
		}
	}
	n.cell("mitosis", dir)
}

// copied copies a directory to the node and returns where it is.
func (n *node) copied(from string) string {
	n.t.Helper()
	to := filepath.Join(n.state, filepath.Base(from))
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		n.t.Fatal(err)
	}
	return to
}

// append adds lines to a file of the node's.
func (n *node) append(file, text string) {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.state, file))
	if err == nil {
		err = os.WriteFile(filepath.Join(n.state, file), append(data, text...), 0o644)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// connections are the TCP connections with the node that has an address.
func (n *node) connections(with string) (all []string) {
	n.t.Helper()
	out, err := n.command("ss", "-Htn6o", "state", "established").Output()
	if err != nil {
		n.t.Fatalf("ss: %v", err)
	}
	a := netip.MustParseAddr(with)
	prefix, _ := a.Prefix(112)
	for line := range strings.Lines(string(out)) {
		w := strings.Fields(line)
		if len(w) < 4 {
			continue
		}
		if far, err := netip.ParseAddrPort(w[3]); err == nil && prefix.Contains(far.Addr()) {
			all = append(all, line)
		}
	}
	return all
}

// cellAddress is that of a cell on the node, by the number that it was given.
func (n *node) cellAddress(number int) string {
	n.t.Helper()
	a := netip.MustParseAddr(n.nodes()[n.name].Address).As16()
	a[14], a[15] = byte(number>>8), byte(number)
	return netip.AddrFrom16(a).String()
}

// join makes a tissue of nodes, the first of which founds it.
func join(first *node, others ...*node) {
	first.t.Helper()
	first.cell("tissue", "create", "home", "--node", first.name)
	for _, n := range others {
		n.cell("join", first.cell("invite"), "--node", n.name)
	}
}
