package cell

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// packages maps each directory with Go source to what its files import; tests are left out.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (name == "testdata" || name == "run" || strings.HasPrefix(name, ".") && name != ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		out[dir] = append(out[dir], "")
		if f.Doc != nil {
			out[dir] = append(out[dir], "doc")
		}
		for _, i := range f.Imports {
			out[dir] = append(out[dir], strings.Trim(i.Path.Value, `"`))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestEveryPackageHasADoc demands a comment that says what a package owns.
func TestEveryPackageHasADoc(t *testing.T) {
	for dir, imports := range packages(t) {
		if !slices.Contains(imports, "doc") {
			t.Errorf("%s: no package comment", dir)
		}
	}
}

// TestLayers holds who may import whom. The first rule whose folder is the package's own or above it applies.
func TestLayers(t *testing.T) {
	const std = "std"
	for dir, imports := range packages(t) {
		for _, rule := range []struct {
			folder string
			allow  []string
			why    string
		}{
			{"celld/reconcile", []string{"sort"}, "reconcile is pure: no bus, no files, no time"},
			{"celld/store", []string{std, Module + "/internal/durable"}, "the store knows files only"},
			{"celld/unit", []string{std, Module + "/membrane/spec", Module + "/sdk/manifest", "github.com/godbus/dbus"}, "units are described, not made, there"},
			{"celld/systemd", []string{std, Module + "/celld/unit", "github.com/godbus/dbus"}, "it talks to systemd and decides nothing"},
			{"celld", []string{std, Module + "/celld", Module + "/membrane/spec", Module + "/internal/durable", Module + "/internal/onbus", Module + "/internal/polkit", Module + "/internal/handoff", Module + "/internal/pci", Module + "/sdk/api", Module + "/sdk/manifest", Module + "/sdk/genome", Module + "/sdk/wire", Module + "/sdk/broker", Module + "/sdk/stats", "github.com/godbus/dbus", "github.com/coreos/go-systemd/v22/journal", "golang.org/x/sys"}, "celld uses contracts of the SDK, never the commands"},
			{"cellnet/identity", []string{std}, "who a machine is follows from keys alone"},
			{"cellnet/record", []string{std, Module + "/cellnet/identity", "google.golang.org/protobuf/encoding/protowire"}, "records are data"},
			{"cellnet/registry", []string{std, Module + "/cellnet/identity", Module + "/cellnet/record", Module + "/internal/durable"}, "the registry is pure: no network, and the time is given to it"},
			{"cellnet/join", []string{std, Module + "/cellnet/identity", Module + "/cellnet/record", Module + "/cellnet/wg", "google.golang.org/protobuf/encoding/protowire"}, "a token is data"},
			{"cellnet/wg", []string{std, "golang.zx2c4.com/wireguard", "github.com/vishvananda/netlink"}, "it owns the device and decides nothing"},
			{"cellnet/link", []string{std, Module + "/cellnet/wg", "github.com/vishvananda/netlink", "golang.org/x/sys"}, "it owns addresses and routes and decides nothing"},
			{"cellnet/firewall", []string{std, "github.com/google/nftables", "golang.org/x/sys"}, "it owns the table and knows no machines"},
			{"cellnet/names", []string{std, "github.com/miekg/dns", "github.com/godbus/dbus", "golang.org/x/sys"}, "it answers what it is told"},
			{"cellnet/paths", []string{std, Module + "/cellnet/identity"}, "which path is taken is decided without a network, and the time is given to it"},
			{"cellnet/lan", []string{std, Module + "/cellnet/identity", "github.com/pion/mdns", "golang.org/x/net"}, "what is found is a hint, and it decides nothing"},
			{"cellnet/relay", []string{std, Module + "/cellnet/identity"}, "it passes packets on and knows no tissue"},
			{"cellnet/exchange", []string{std, Module + "/cellnet/record", Module + "/cellnet/registry"}, "it speaks over any connection, so that thousands of machines can be simulated"},
			{"cellnet/bus", []string{std, Module + "/cellnet/node", Module + "/internal/onbus", Module + "/internal/polkit", Module + "/sdk/api", "github.com/godbus/dbus"}, "who may do what, on the bus"},
			{"cellnet", []string{std, Module + "/cellnet", Module + "/internal/durable", Module + "/sdk/api", Module + "/sdk/wire", "golang.org/x/sys"}, "cellnet knows neither celld nor systemd"},
			{"imager/initramfs", []string{std, "github.com/u-root/mkuimage/cpio", "github.com/klauspost/compress/zstd", "github.com/ulikunitz/xz"}, "it packs files"},
			{"imager/disk", []string{std, "github.com/diskfs/go-diskfs"}, "it packs files"},
			{"internal/spdx", []string{std}, "a document is data"},
			{"imager", []string{std, Module + "/imager", Module + "/internal/spdx", Module + "/donor/layout", Module + "/donor/settings", Module + "/donor/slot", Module + "/donor/statement"}, "what an image is made of is given to it"},
			{"donor/layout", nil, "names"},
			{"donor/settings", []string{std, Module + "/sdk/manifest", "github.com/pelletier/go-toml"}, "a file is data"},
			{"donor/statement", []string{std}, "a statement is data"},
			{"donor/slot", []string{std, Module + "/donor/statement"}, "it knows files only"},
			{"donor/medium", []string{std, "golang.org/x/sys"}, "it knows disks and no settings"},
			{"donor", []string{std, Module + "/donor", Module + "/internal/durable", Module + "/sdk/api", Module + "/sdk/manifest", "golang.org/x/sys"}, "it talks to daemons over their contract"},
			{"cmd/cell-donor", []string{std, Module + "/donor", Module + "/sdk/api", "github.com/godbus/dbus"}, "wiring only"},
			{"cmd/cell-init", []string{std, "golang.org/x/sys"}, "it is the first program there is"},
			{"gpu/nvml", []string{std, Module + "/gpu", Module + "/internal/pci", Module + "/sdk/api", "github.com/NVIDIA/go-nvml"}, "it knows one vendor's library, and nobody else does"},
			{"gpu/verify", []string{std, Module + "/gpu", Module + "/sdk/api"}, "it tries what Cell says on a real device"},
			{"gpu", []string{std, Module + "/gpu", Module + "/internal/onbus", Module + "/sdk/api", "github.com/godbus/dbus"}, "who gets which device is decided without any"},
			{"cmd/cell-gpu", []string{std, Module + "/gpu", Module + "/internal/onbus", Module + "/sdk/api", "github.com/godbus/dbus", "github.com/coreos/go-systemd"}, "wiring only"},
			{"membrane/spec", []string{std}, "what is asked for is data"},
			{"membrane/filter/mkfilter", []string{std, "github.com/elastic/go-seccomp-bpf/arch", "golang.org/x/net/bpf", "golang.org/x/sys"}, "it compiles and loads nothing"},
			{"membrane", []string{std, Module + "/membrane", "golang.org/x/sys"}, "it starts with each cell: nothing heavy"},
			{"cmd/cell-membrane", []string{std, Module + "/membrane"}, "wiring only"},
			{"cmd/cell-inside", []string{std, Module + "/membrane/attempts", Module + "/membrane/filter", Module + "/membrane/spec", Module + "/internal/handoff", Module + "/sdk/broker", "github.com/coreos/go-systemd", "golang.org/x/sys"}, "it runs beside programs: nothing heavy"},
			{"internal/pci", []string{std}, "it looks and knows no driver"},
			{"internal/handoff", []string{std, "golang.org/x/sys"}, "it passes descriptors and knows nobody"},
			{"cmd/cellnetd", []string{std, Module + "/cellnet", Module + "/internal/onbus", Module + "/sdk/api", "github.com/godbus/dbus", "github.com/coreos/go-systemd"}, "wiring only"},
			{"cmd/celld", []string{std, Module + "/celld", Module + "/sdk/api", "github.com/godbus/dbus", "github.com/coreos/go-systemd"}, "wiring only"},
			{"cmd/cell-http", []string{std, Module + "/internal/httpdoor", Module + "/sdk/broker", Module + "/sdk/manifest", Module + "/sdk/wire", "github.com/coreos/go-systemd", "golang.org/x/net"}, "wiring only"},
			{"internal/durable", []string{std}, "it writes and knows nothing of what"},
			{"internal/onbus", []string{std, "github.com/godbus/dbus"}, "it knows no daemon"},
			{"internal/polkit", []string{std, "github.com/godbus/dbus"}, "it asks and knows no daemon"},
			{"internal/httpdoor", []string{std, Module + "/sdk/genome", Module + "/sdk/wire", "github.com/coder/websocket"}, "it translates between two protocols and knows no celld"},
			{"cmd/cell", []string{std, Module, "github.com/spf13/cobra", "github.com/godbus/dbus", "golang.org/x/sys", "golang.org/x/mod"}, "the command talks to daemons over their contract"},
			{"sdk/manifest", []string{std, Module + "/internal/nearest", "github.com/pelletier/go-toml"}, "the manifest knows nothing of systemd"},
			{"sdk/genome", []string{std, Module + "/internal/nearest", "google.golang.org/protobuf/encoding/protowire"}, "a genome is data"},
			{"sdk/gen", []string{std, Module + "/sdk/genome"}, "the generator reads source, it connects nowhere"},
			{"sdk/wire", []string{std, "google.golang.org/protobuf/encoding/protowire", "golang.org/x/sys"}, "the wire knows no cells"},
			{"sdk/api", []string{std, Module + "/sdk/stats", "github.com/godbus/dbus"}, "a contract"},
			{"sdk/broker", []string{std, "google.golang.org/protobuf/encoding/protowire", "golang.org/x/sys"}, "a contract"},
			{"sdk/stats", []string{std, "golang.org/x/sys"}, "a contract"},
			{"sdk/otlp", []string{std, Module + "/sdk/trace", Module + "/sdk/broker", Module + "/sdk/wire", "google.golang.org/protobuf/encoding/protowire"}, "it sends what package trace tells it"},
			{"sdk/internal/spans", []string{std, Module + "/sdk/internal/meta", Module + "/sdk/trace", Module + "/sdk/wire"}, "a span knows nothing of who serves or calls"},
			{"sdk/internal/spantest", []string{std, Module + "/sdk/trace", Module + "/sdk/wire"}, "for tests"},
			{"sdk/internal/journal", []string{std, Module + "/sdk/trace", "golang.org/x/sys"}, "a handler of log/slog"},
			{"sdk/internal", []string{std, Module + "/sdk/wire", "golang.org/x/sys"}, "what the rooms of the SDK share stands below them"},
			{"sdk/trace", []string{std, Module + "/sdk/internal/meta", Module + "/sdk/wire"}, "it follows calls and makes none"},
			{"sdk/hot", []string{std, Module + "/sdk/internal/handover", "golang.org/x/sys"}, "it knows systemd's store and no cells"},
			{"sdk/replicas", []string{std, Module + "/sdk/internal", Module + "/sdk/wire"}, "the choice knows neither celld nor the errors that callers are given"},
			{"sdk/stub", []string{std, Module + "/sdk", "google.golang.org/protobuf/encoding/protowire"}, "it stands on top: generated code calls it, the SDK does not"},
			{"sdk", []string{std, Module + "/sdk/internal", Module + "/sdk/replicas", Module + "/sdk/trace", Module + "/sdk/wire", Module + "/sdk/broker", Module + "/sdk/stats", "github.com/godbus/dbus", "google.golang.org/protobuf/encoding/protowire", "golang.org/x/sys"}, "what a cell imports is the standard library, godbus, protowire and x/sys"},
		} {
			if dir != rule.folder && !strings.HasPrefix(dir, rule.folder+"/") {
				continue
			}
			for _, imp := range imports {
				ok := imp == "" || imp == "doc"
				for _, a := range rule.allow {
					ok = ok || imp == a || strings.HasPrefix(imp, a+"/") || a == std && !strings.Contains(strings.Split(imp, "/")[0], ".")
				}
				if !ok {
					t.Errorf("%s imports %s: %s", dir, imp, rule.why)
				}
			}
			break
		}
		if strings.HasPrefix(dir, "cmd/cell/") || dir == "cmd/cell" {
			for _, imp := range imports {
				if strings.HasPrefix(imp, Module+"/celld") || strings.HasPrefix(imp, Module+"/cellnet") {
					t.Errorf("%s imports %s: the command never reaches into the daemon", dir, imp)
				}
			}
		}
	}
}

// TestFewFloors bounds the longest chain of imports below sdk: a reader of one room need not know all of them.
func TestFewFloors(t *testing.T) {
	const most = 8
	all := packages(t)
	chains := map[string][]string{}
	var longest func(dir string) []string
	longest = func(dir string) []string {
		if chain, ok := chains[dir]; ok {
			return chain
		}
		var below []string
		for _, imp := range all[dir] {
			next, own := strings.CutPrefix(imp, Module+"/")
			if own && strings.HasPrefix(next, "sdk") && next != dir {
				if chain := longest(next); len(chain) > len(below) {
					below = chain
				}
			}
		}
		chains[dir] = append([]string{dir}, below...)
		return chains[dir]
	}
	for dir := range all {
		if chain := longest(dir); (dir == "sdk" || strings.HasPrefix(dir, "sdk/")) && len(chain) > most {
			t.Errorf("a chain of %d imports: %s", len(chain), strings.Join(chain, " → "))
		}
	}
}

// TestSDKStaysSmall checks the whole closure of what a cell imports, not only the direct imports. HTTP is for those who opt in.
func TestSDKStaysSmall(t *testing.T) {
	for _, name := range []string{"sdk", "sdk/stub", "sdk/hot", "sdk/otlp"} {
		out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{.Standard}}", "./"+name).Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			p, standard, _ := strings.Cut(strings.TrimSpace(line), " ")
			if standard == "true" && (name == "sdk/otlp" || !strings.HasPrefix(p, "net/http")) {
				continue
			}
			if !strings.HasPrefix(p, Module+"/sdk") && !strings.HasPrefix(p, "github.com/godbus/dbus/") &&
				!strings.HasPrefix(p, "google.golang.org/protobuf/") && !strings.HasPrefix(p, "golang.org/x/sys/") {
				t.Errorf("package %s depends on %s", name, p)
			}
		}
	}
}
