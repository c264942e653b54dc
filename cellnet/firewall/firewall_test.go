package firewall

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write testdata/table.nft anew")

// apart moves the test to a network namespace of its own, and says why it cannot.
func apart(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nftables is not installed (packaging/deps.sh installs it)")
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skip("no network namespace: ", err)
	}
}

func sample() Wanted {
	p, a, ap := netip.MustParsePrefix, netip.MustParseAddr, netip.MustParseAddrPort
	return Wanted{
		Interface: "cell0", Tissue: p("fd12:3456::/32"), Self: a("fd12:3456::1:1"),
		Members: []netip.Prefix{p("fd12:3456::2:0/112"), p("fd12:3456::3:0/112")}, Own: []netip.Prefix{p("fd12:3456::2:0/112")},
		Quarantine: []netip.Prefix{p("fd12:3456::4:0/112")}, Revoked: []netip.Prefix{p("fd12:3456::5:0/112"), p("fd12:3456::ffff:ffff:0/112")},
		Ports: []uint16{23551, 23552}, Join: 23551, Paths: 23553,
		Open:   []netip.AddrPort{ap("[fd12:3456::1:10]:23550"), ap("[fd12:3456::1:11]:80")},
		Pairs:  []Pair{{p("fd12:3456::3:10/128"), ap("[fd12:3456::1:12]:23550")}, {p("fd12:3456::3:0/112"), ap("[fd12:3456::1:13]:80")}},
		Daemon: 990, Users: []User{{1000, a("fd12:3456::1:e000")}},
	}
}

func listed(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "table", "inet", Table).CombinedOutput()
	if err != nil {
		t.Fatalf("nft list: %v: %s", err, out)
	}
	return regexp.MustCompile(`(?m)\t+size [0-9]+( #.*)?\n`).ReplaceAllString(string(out), "")
}

// The kernel's rules are those of testdata/table.nft, however often they are written, and go without a trace.
func TestTable(t *testing.T) {
	apart(t)
	w := sample()
	if err := Apply(w); err != nil {
		t.Fatal(err)
	}
	got := listed(t)
	const file = "testdata/table.nft"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
	if err := Apply(w); err != nil || listed(t) != got {
		t.Error("written again:", err, listed(t))
	}
	w.Pairs, w.Members = nil, nil
	if err := Apply(w); err != nil || strings.Contains(listed(t), "::3:10 .") {
		t.Error("with less:", err, listed(t))
	}
	if refusals, err := Refusals(); len(refusals) != 0 || err != nil {
		t.Error(refusals, err)
	}
	for range 2 {
		if err := CleanUp(); err != nil {
			t.Error(err)
		}
	}
	if out, _ := exec.Command("nft", "list", "ruleset").Output(); len(out) != 0 {
		t.Errorf("there still is %s", out)
	}
}

// Thousands of pairs are looked up as one is: in a set.
func TestManyPairs(t *testing.T) {
	apart(t)
	w := sample()
	w.Pairs = nil
	for i := range 10000 {
		from := netip.AddrFrom16([16]byte{0xfd, 0x12, 0x34, 0x56, 12: byte(i >> 8), 13: byte(i), 15: 16})
		w.Pairs = append(w.Pairs, Pair{netip.PrefixFrom(from, 128), w.Open[0]})
	}
	if err := Apply(w); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(listed(t), " . fd12:3456::1:10 . 23550"); n < 10000 {
		t.Errorf("%d pairs are there", n)
	}
	few := sample()
	if a, b := rules(few), rules(w); a != b {
		t.Errorf("%d rules for two pairs, %d for ten thousand", a, b)
	}
}

func rules(w Wanted) (n int) {
	for _, c := range chains(w) {
		n += len(c.rules)
	}
	return n
}
