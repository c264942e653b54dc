package mesh

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// raw serves pings of 64 bytes at an address, or sends them there and prints what half of them took at most.
func raw(args []string) error {
	b := make([]byte, 64)
	if len(args) == 1 {
		l, err := net.Listen("tcp", args[0])
		if err != nil {
			return err
		}
		c, err := l.Accept()
		for err == nil {
			if _, err = io.ReadFull(c, b); err == nil {
				_, err = c.Write(b)
			}
		}
		return nil
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	c, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	var all []time.Duration
	for range n {
		begun := time.Now()
		if _, err := c.Write(b); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, b); err != nil {
			return err
		}
		all = append(all, time.Since(begun))
	}
	slices.Sort(all)
	fmt.Println(int64(all[n/2]))
	return nil
}

// TestFigures prints what docs/benchmarks.md says of the mesh. CELL_TEST_FIGURES is how many machines there are.
func TestFigures(t *testing.T) {
	many, err := strconv.Atoi(os.Getenv("CELL_TEST_FIGURES"))
	if err != nil {
		t.Skip("it measures, and asserts nothing: CELL_TEST_FIGURES=30 runs it with thirty machines")
	}
	r := newRig(t)
	a, b := r.node("a"), r.node("b")
	a.cell("tissue", "create", "home", "--node", "a")
	a.probe("probe")
	token := a.cell("invite", "--uses", "1000")
	begun := time.Now()
	b.cell("join", token, "--node", "b")
	b.until("uid 0", "use", "probe", "where")
	t.Logf("from the token to the first call: %v", time.Since(begun).Round(time.Millisecond))

	b.copied("testdata/probe")
	b.program("client", "client")
	b.until("", "use", "client", "time", "200")
	a.command("nft", "insert", "rule", "inet", "cell", "input", "tcp", "dport", "9999", "accept").Run()
	address := net.JoinHostPort(a.nodes()["a"].Address, "9999")
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	serve := a.command(self, "raw", address)
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = serve.Process.Kill(); _ = serve.Wait() }()
	time.Sleep(time.Second)
	out, err := b.command(self, "raw", address, "5000").Output()
	if err != nil {
		t.Fatalf("raw: %v: %s", err, out)
	}
	number := func(text string) float64 {
		i := strings.IndexFunc(text, func(r rune) bool { return r >= '0' && r <= '9' })
		if i < 0 {
			t.Fatalf("no number in %q", text)
		}
		var v float64
		_, _ = fmt.Sscan(text[i:], &v)
		return v
	}
	plain, call := number(string(out)), number(b.cell("use", "client", "time", "5000"))
	t.Logf("a ping over a raw connection through the tunnel: %.0f µs; a call: %.0f µs, %.2f times as much", plain/1e3, call/1e3, call/plain)

	nodes := []*node{a, b}
	for i := 2; i < many; i++ {
		n := r.node(fmt.Sprintf("n%d", i))
		n.cell("join", token, "--node", n.name)
		nodes = append(nodes, n)
	}
	last := r.node("last")
	begun = time.Now()
	last.cell("join", token, "--node", "last")
	nodes = append(nodes, last)
	r.eventually("all know the last one", func() bool {
		for _, n := range nodes {
			if n.nodes()["last"].Capacity.Cores == 0 {
				return false
			}
		}
		return true
	})
	t.Logf("%d machines: the last one is known to all %v after its join began", len(nodes), time.Since(begun).Round(time.Millisecond))
	time.Sleep(20 * time.Second)
	before := usage(t, a)
	time.Sleep(20 * time.Second)
	after := usage(t, a)
	t.Logf("cellnetd at rest with %d peers: %.1f MB, %.2f %% of a core", len(nodes)-1, after.memory/1e6, (after.seconds-before.seconds)/20*100)
}

type used struct{ memory, seconds float64 }

// usage is the resident memory of a node's cellnetd, and the processor's time that it has taken.
func usage(t *testing.T, n *node) (u used) {
	t.Helper()
	// The manager has processes of its own: the one that is meant is found by its state directory.
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		env, err := os.ReadFile(f)
		comm, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "comm"))
		if err != nil || strings.TrimSpace(string(comm)) != "cellnetd" || !strings.Contains(string(env), "CELLNET_STATE_DIR="+filepath.Join(n.state, "cell/net")) {
			continue
		}
		status, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "statm"))
		w := strings.Fields(string(status))
		pages, _ := strconv.ParseFloat(w[1], 64)
		stat, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "stat"))
		_, rest, _ := strings.Cut(string(stat), ") ")
		w = strings.Fields(rest)
		user, _ := strconv.ParseFloat(w[11], 64)
		system, _ := strconv.ParseFloat(w[12], 64)
		return used{pages * float64(os.Getpagesize()), (user + system) / 100}
	}
	t.Fatalf("no cellnetd of %s", n.name)
	return u
}
