package unit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cell-network/cell/membrane/spec"
	"github.com/cell-network/cell/sdk/manifest"
)

// tree reads a tree of two cells; child is the child's cell.toml.
func tree(t *testing.T, child string) *manifest.Tree {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	for name, text := range map[string]string{
		"cell.toml":           "[cells]\nweb-front = { replicas = 3 }",
		"web-front/cell.toml": child,
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tr, errs := manifest.LoadTree(dir)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return tr
}

func TestNames(t *testing.T) {
	pairs := Pairs(tree(t, "").Find("shop.web-front"), Place{SocketDir: "/run/cell"})
	if len(pairs) != 3 || pairs[0].Name != "shop.web-front" || pairs[2].Name != "shop.web-front:3" {
		t.Fatalf("%v", pairs)
	}
	if s := pairs[1].Slices; len(s) != 2 || s[0].Name != "cell-shop.slice" || s[1].Name != `cell-shop-web\x2dfront.slice` {
		t.Errorf("slices %v", s)
	}
	name := pairs[2].Name
	for _, u := range All(name) {
		if got, ok := NameOf(u); !ok || got != name {
			t.Errorf("NameOf(%q) = %q, %v", u, got, ok)
		}
	}
	for _, u := range []string{"cell@x.slice", "dbus.service", "cell-shop.slice", "cell@x.socket.d"} {
		if got, ok := NameOf(u); ok {
			t.Errorf("NameOf(%q) = %q", u, got)
		}
	}
	if Base(name) != "shop.web-front" {
		t.Error(Base(name))
	}
	long := strings.Repeat("a.very-long-name.", 12)
	if p := SocketPath("/run/user/1000/cell", long+"x") + ".bridge"; len(p) > 107 || p == SocketPath("/run/user/1000/cell", long+"y")+".bridge" {
		t.Errorf("socket path %s has %d bytes", p, len(p))
	}
}

func one(t *testing.T, child string) Pair {
	t.Helper()
	tr := tree(t, child)
	n := tr.Find("shop.web-front")
	n.Manifest.Dir = "/shop/web" // the same for every tree of the test
	return Pairs(n, Place{SocketDir: "/run/cell", Programs: "/usr/bin", Proxy: "/proxyd"})[0]
}

// What changes the definition needs an exchange of pairs; limits and the version do not.
func TestHash(t *testing.T) {
	base := one(t, "")
	for text, same := range map[string]bool{
		"[resources]\nmemory = \"1M\"\ntasks = 3\ncpu = 1": true, "[cell]\nversion = \"9.9.9\"": true,
		"[cell]\nenv = { A = \"1\" }": false, "[cell]\nexec = [\"bin/web-front\", \"-v\"]": false,
		"[net]\ninternet = true": false, "[life]\nstop_within = \"1s\"": false, "[life]\nidle_timeout = \"1s\"": false,
	} {
		if got := one(t, text).Hash == base.Hash; got != same {
			t.Errorf("%q: same definition is %v, want %v", text, got, same)
		}
	}
	if DefinitionOf([]string{"A=1", "CELL_DEFINITION=" + base.Hash}) != base.Hash {
		t.Error("the hash is not found in the environment")
	}
}

func value(props []Property, name string) any {
	for _, p := range props {
		if p.Name == name {
			return p.Value.Value()
		}
	}
	return nil
}

func TestLimits(t *testing.T) {
	p := one(t, "[resources]\nmemory = \"64M\"\ntasks = 10\ncpu = 0.5\nio = { read = \"1M\" }")
	slice := p.Slices[1].Limits
	for name, want := range map[string][2]uint64{"MemoryMax": {64 << 20, 3 * 64 << 20}, "MemorySwapMax": {0, 0}, "TasksMax": {10, 30}, "CPUQuotaPerSecUSec": {500_000, 1_500_000}} {
		if got := value(p.Limits, name); got != want[0] {
			t.Errorf("%s of the process: %v", name, got)
		}
		if got := value(slice, name); got != want[1] {
			t.Errorf("%s of the slice: %v", name, got)
		}
	}
	if got := value(one(t, "").Limits, "MemoryMax"); got != infinity {
		t.Errorf("no limit is %v: setting it in place would not take an old one away", got)
	}
}

func TestPortAndDoor(t *testing.T) {
	p := one(t, "[cell]\nspeaks = \"http\"\nport = 3000\n[life]\nidle_timeout = \"90s\"\n[net]\npublish = [\"0.0.0.0:80\"]")
	if p.Door == nil {
		t.Fatalf("%+v", p)
	}
	if s := sealed(t, p); s.Port != 3000 || s.When != "port" || !s.Notify || s.Ready {
		t.Errorf("%+v", s)
	}
	b := p.Renamed(p.Name+BridgeSuffix, "/run/cell/b.sock")
	if got := value(b.Socket, "Listen").([]listener)[0].Address; got != "/run/cell/b.sock" {
		t.Error(got)
	}
	if got := value(p.Socket, "Listen").([]listener)[0].Address; got != "/run/cell/shop.web-front.sock" {
		t.Errorf("Renamed changed its origin: %s", got)
	}
	if Pairs(tree(t, "[cell]\nspeaks = \"http\"\n[net]\npublish = [\"0.0.0.0:80\"]").Find("shop.web-front"), Place{})[1].Door != nil {
		t.Error("two replicas cannot open one address")
	}
}

// sealed reads back what cell-membrane is told.
func sealed(t *testing.T, p Pair) *spec.Spec {
	t.Helper()
	run := value(p.Service, "ExecStart").([]ExecCommand)[0]
	if run.Path != "/usr/bin/cell-membrane" {
		t.Errorf("it runs %s", run.Path)
	}
	var args []string
	for _, a := range run.Args[1:] {
		args = append(args, strings.ReplaceAll(a, "$$", "$"))
	}
	s, err := spec.Parse(args)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A program in bin/ runs by the link that an upgrade switches, any other in place; Cell's own are beside celld. One that lies
// outside of the cell's directory is shown to it.
func TestProgram(t *testing.T) {
	at := Place{Programs: t.TempDir()}
	door := filepath.Join(at.Programs, "cell-http")
	if err := os.WriteFile(door, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for exec, want := range map[string]string{
		`["bin/web"]`: "/shop/web/run/exec/web", `["./bin/../bin/web"]`: "/shop/web/run/exec/web", `["tools/web"]`: "/shop/web/tools/web",
		`["/opt/web"]`: "/opt/web", `["sh"]`: "/usr/bin/sh", `["cell-http"]`: door,
	} {
		m := one(t, "[cell]\nexec = "+exec).Manifest
		if got := Program(m, at); got != want {
			t.Errorf("%s runs %s, want %s", exec, got, want)
		}
		s := membrane(m, "web", at, nil)
		if inside := strings.HasPrefix(want, "/shop/web/"); s.Program[0] != want || inside != (len(s.Show) == 0) {
			t.Errorf("%s: %+v", exec, s)
		}
	}
}

// A foreign cell is told nothing of where its owner keeps it.
func TestForeign(t *testing.T) {
	n := tree(t, `[cell]
exec = ["bin/web", "--data=${CELL_DIR}/data"]
env = { DIR = "${CELL_DIR}" }`).Find("shop.web-front")
	p := Pairs(n, Place{SocketDir: "/run/user/1000/cell", Programs: "/usr/bin", Trust: Foreign})[0]
	s := sealed(t, p)
	if !s.Foreign || strings.Join(s.Program, " ") != "/cell/run/exec/web --data=/cell/data" {
		t.Errorf("%+v", s)
	}
	for _, e := range value(p.Service, "Environment").([]string) {
		if strings.Contains(e, n.Manifest.Dir) || strings.Contains(e, "/run/user") {
			t.Errorf("its environment has %s", e)
		}
	}
}
