package manifest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// write makes a tree of files from "path: text" pairs and returns its root.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestParseFillsEveryDefault(t *testing.T) {
	m, errs := Parse("/cells/calc", "cell.toml", nil)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if m.Name != "calc" || m.Version != "0.0.0" || m.Exec[0] != "bin/calc" || m.Speaks != "cell" || m.Life.Ready != "notify" ||
		m.Life.ReadyWithin != 30*time.Second || m.Life.StopWithin != 10*time.Second || m.Life.Restart != "on-failure" {
		t.Errorf("%+v", m)
	}
}

func TestParseReadsEveryKey(t *testing.T) {
	m, errs := Parse("/x", "cell.toml", []byte(`
[cell]
name = "web"
version = "1.2.3-rc.1"
exec = ["server", "--port", "${PORT}"]
speaks = "http"
port = 3_000
env.LANG = "C"
[resources]
cpu = { min = 0.1, max = 2 }
memory = { min = "32MB", max = "512MB" }
storage = { max = "1GB" }
tasks = 256
io = { read = "1M", weight = 50 }
[life]
idle_timeout = "10m"
stop_within = "2d"
[needs]
db = { path = "../db" }
[net]
internet = true
publish = ["127.0.0.1:8080"]
`))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	r := m.Resources
	if r.CPUMin != 0.1 || r.CPUMax != 2 || r.MemoryMin != 32<<20 || r.MemoryMax != 512<<20 || r.StorageMax != 1<<30 || r.Tasks != 256 || r.IORead != 1<<20 || r.IOWeight != 50 {
		t.Errorf("resources %+v", r)
	}
	again, errs := Parse("/x", "cell.toml", []byte(m.String()))
	if len(errs) > 0 || again.String() != m.String() {
		t.Errorf("not the same when read back: %v\n%s\n%s", errs, m, again)
	}
	if m.Port != 3000 || m.Env["LANG"] != "C" || m.Life.Ready != "port" || m.Life.StopWithin != 48*time.Hour || m.Needs[0].Path != "../db" || !m.Net.Internet {
		t.Errorf("%+v", m)
	}
}

// Every example of the key table must be accepted, or refused as not supported yet.
func TestExamplesOfTheKeyTable(t *testing.T) {
	for _, k := range Keys() {
		name := strings.ToLower(k.Name)
		text := "[" + k.Section + "]\n" + name + " = " + k.Example + "\n"
		if k.Name == "port" || k.Section == "net" {
			text = "[cell]\nspeaks = \"http\"\n" + strings.TrimPrefix(text, "[cell]\n")
		}
		if k.Name == "ready" {
			text += "[cell]\nspeaks = \"http\"\n"
		}
		_, errs := Parse("/x", "cell.toml", []byte(text))
		if later := len(errs) == 1 && strings.Contains(errs[0].Msg, "not supported yet"); later != k.Later || (!later && len(errs) > 0) {
			t.Errorf("%s: %v", text, errs)
		}
		if k.Doc == "" || k.Type == "" || k.Default == "" {
			t.Errorf("%s.%s is not documented", k.Section, k.Name)
		}
	}
}

func TestErrorsNamePlaceAndWayOut(t *testing.T) {
	long := strings.Repeat("a", 300)
	for _, c := range []struct{ text, want, hint string }{
		{"[life]\nidle_timout = \"1m\"", `2:1: unknown key "idle_timout" in [life]`, "did you mean idle_timeout?"},
		{"[lif]\nwarm = true", `1:2: unknown key "lif"`, "did you mean life?"},
		{"idle_timeout = \"1m\"", `1:1: key "idle_timeout" stands outside of its section`, "write it below [life]"},
		{"[cell]\nname = \"../etc\"", `2:8: "../etc" cannot name a cell`, "use a to z"},
		{"[cell]\nname = \"a/b\"", `2:8: "a/b" cannot name a cell`, "use a to z"},
		{"[cell]\nname = \"zellé\"", `2:8: "zellé" cannot name a cell`, "use a to z"},
		{"[cell]\nname = \"" + long + "\"", "2:8: \"" + long[:60] + "…\" cannot name a cell", "use a to z"},
		{"[cell]\nname = 7", "2:8: name must be a name, not a whole number", `name = "calculator"`},
		{"[cell]\nexec = \"bin/x -v\"", "2:8: exec must be a list of program and arguments", `exec = ["bin/x -v"]`},
		{"[cell]\nexec = [\"../../bin/sh\"]", "2:1: exec: \"../../bin/sh\" leads out", "absolute path"},
		{"[cell]\nexec = [\"bin/x\", \"${HOME}\"]", "2:1: exec: there is no variable HOME", "$$ is a dollar"},
		{"[cell]\nexec = [\"bin/x\", \"${\"]", "2:1: exec: \"${\" does not begin the name of a variable", "$$ is a dollar"},
		{"[cell]\nenv = { A = \"1\", B = \"${A}\" }", "2:7: env: B: there is no variable A", "${CELL_NAME}"},
		{"[resources]\nfiles = 1", "2:9: files: 1 is not between", ""},
		{"[cell]\nversion = \"1.0\"", `2:11: version: "1.0" is not a version`, "1.2.3"},
		{"[cell]\nenv = { CELL_NAME = \"x\" }", "2:9: env: CELL_NAME is set by Cell", "another name"},
		{"[resources]\nmemory = { max = \"64XB\" }", `2:18: memory: 64XB is not a size`, "64MB"},
		{"[resources]\nmemory = { max = -5 }", `2:18: memory: -5 is not a size`, "64MB"},
		{"[resources]\nmemory = { max = \"9999999999999T\" }", `2:18: memory:`, "64MB"},
		{"[resources]\nmemory = { min = \"2G\", max = \"1G\" }", "2:10: memory: min 2G is above max 1G", ""},
		{"[resources]\ncpu = nan", "2:7: cpu must be a number of cores", "half a core"},
		{"[resources]\ntasks = 0", "2:9: tasks: 0 is not between", ""},
		{"[resources]\ngpu = { count = 1 }", "2:1: [resources] gpu is not supported yet", "remove it"},
		{"[life]\nidle_timeout = \"-5m\"", "2:16: idle_timeout:", `"10m"`},
		{"[cells]\na = { replica = 2 }", `2:7: unknown key "replica" in a`, "did you mean replicas?"},
		{"[cells]\nA = { }", `2:1: "A" cannot name a cell`, "use a to z"},
		{"[needs]\na = { }", "2:1: a: its path is missing", `a = { path = "../a" }`},
		{"[needs]\na = { ref = \"v1\" }", "2:1: a: ref without git", `ref = "v1"`},
		{"[needs]\na = { git = \"--upload-pack=id\" }", "2:13: a.git: \"--upload-pack=id\" is not the address", ""},
		{"[needs]\na = { git = \"ext::sh -c id\" }", "2:13: a.git:", ""},
		{"[needs]\na = { git = \"https://-oProxyCommand=id/x\" }", "2:13: a.git:", ""},
		{"[needs]\na = { git = \"a@-x:y\" }", "2:13: a.git:", ""},
		{"[needs]\na = { git = \"https://example.org/a\", ref = \"-q\" }", `2:44: a.ref: "-q" is not a branch`, ""},
		{"[needs]\na = { git = \"https://example.org/a\", path = \"../b\" }", `2:1: a: path "../b" leads out of the repository`, ""},
		{"[auth]\nallow = [\"alice\"]", `2:1: allow: "alice" is neither a user nor a cell`, "user:alice"},
		{"[auth]\nallow = [\"user:\"]", `2:1: allow: "user:" is neither`, ""},
		{"[auth]\nallow = [\"user:a b\"]", `2:1: allow: "user:a b" is neither`, ""},
		{"[auth]\nallow = [\"cell:Web\"]", `2:1: allow: "cell:Web" is neither`, ""},
		{"[auth]\nallow = [\"cell:.*\"]", `2:1: allow: "cell:.*" is neither`, ""},
		{"[auth]\nallow = [\"author:x\"]", "2:1: allow: author:… is not supported yet", ""},
		{"[auth]\nallow = \"user:a\"", "2:9: allow must be a list of strings", ""},
		{"[auth.methods]\ndelete = []", `2:1: methods: "delete" is not the name of a method`, "capital"},
		{"[auth.methods]\nDelete = [\"*\"]", `2:1: methods.Delete: "*" is neither`, ""},
		{"[auth]\nmethods = 1", "2:11: methods must be a table of lists", ""},
		{"[cell]\nspeaks = \"http\"\n[auth.methods]\nDelete = []", "3:7: methods: a cell that speaks http has none", ""},
		{"[net]\npublish = [\"8080\"]", `2:1: publish: "8080" is not an address`, "127.0.0.1:8080"},
		{"[cell]\nname = ", "2:7: ", ""},
		{"[cell\n", "1:", ""},
		{"[cell]\nname=\"a\"\nname=\"b\"", "3:", ""},
		{"cell = 3", "1:1: cell must be a table", "[cell]"},
		{"\xff\xfe", "1:1: it is not UTF-8", ""},
	} {
		_, errs := Parse("/x", "cell.toml", []byte(c.text))
		if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), "cell.toml:"+c.want) || !strings.Contains(strings.Join(errs[0].Hints, "\n"), c.hint) {
			t.Errorf("%q:\n%v\nwant %s; %s", c.text, errs, c.want, c.hint)
		}
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	_, errs := Parse("/x", "cell.toml", []byte("[cell]\nname = \"A\"\nportt = 1\n[life]\nwarm = 1\n"))
	if len(errs) != 3 {
		t.Errorf("%d errors: %v", len(errs), errs)
	}
}

func TestTreeOrder(t *testing.T) {
	root := write(t, map[string]string{
		"cell.toml":                    "[cell]\nname=\"shop\"\n[cells]\nweb = { replicas = 3 }\ndb = {}\nauth = { path = \"services/auth\" }",
		"web/cell.toml":                "[needs]\nauth = { path = \"../services/auth\" }\noutside = { path = \"../elsewhere\" }",
		"db/cell.toml":                 "",
		"elsewhere/cell.toml":          "",
		"services/auth/cell.toml":      "[cell]\nname=\"authentication\"\n[cells]\nkeys = {}\n[needs]\ndb = { path = \"../../db\" }",
		"services/auth/keys/cell.toml": "",
	})
	tree, errs := LoadTree(root)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var names []string
	for _, n := range tree.Nodes {
		names = append(names, n.Name)
	}
	if got := strings.Join(names, " "); got != "shop.auth.keys shop.db shop.auth shop.web shop" {
		t.Errorf("order: %s", got)
	}
	if n := tree.Find("shop.web"); n.Replicas != 3 || n.Parent != tree.Root || len(n.Needs) != 1 {
		t.Errorf("%+v", n)
	}
}

func TestTreeErrors(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"missing child": {
			map[string]string{"cell.toml": "[cell]\nname=\"a\"\n[cells]\nweb = {}\ndb = { path = \"d\" }", "d/README": ""},
			[]string{"cell.toml:4:1: web: there is no directory web", "d/cell.toml:1:1: there is no cell.toml"},
		},
		"cycle by a link": {
			map[string]string{"cell.toml": "[cell]\nname=\"a\"\n[cells]\nb = {}", "b/cell.toml": "[cells]\nback = { path = \"..\" }"},
			[]string{"b/cell.toml:2:1: a.b.back: cycle: a contains itself"},
		},
		"cycle of needs": {
			map[string]string{
				"cell.toml": "[cell]\nname=\"shop\"\n[cells]\nauth={}\njwt={}", "auth/cell.toml": "[needs]\njwt = { path = \"../jwt\" }",
				"jwt/cell.toml": "[needs]\nauth = { path = \"../auth\" }",
			},
			[]string{"auth/cell.toml:1:2: cycle: shop.auth → shop.jwt → shop.auth"},
		},
		"one directory twice": {
			map[string]string{"cell.toml": "[cell]\nname=\"a\"\n[cells]\nb = {}\nc = { path = \"b\" }", "b/cell.toml": ""},
			[]string{"cell.toml:5:1: c: the directory is already the cell a.b"},
		},
		"sums": {
			map[string]string{
				"cell.toml":   "[cell]\nname=\"shop\"\n[resources]\nmemory = \"1G\"\ntasks = 10\n[cells]\nb = { replicas = 3 }\nc = {}",
				"b/cell.toml": "[resources]\nmemory = \"512M\"\ntasks = 4", "c/cell.toml": "[resources]\ncpu = 1",
			},
			[]string{"cell.toml:4:10: memory: children need 1.5G, shop allows 1G", "cell.toml:5:9: tasks: children need 12, shop allows 10"},
		},
		"errors of several files at once": {
			map[string]string{"cell.toml": "[cell]\nname=\"a\"\n[cells]\nb = {}\nc = {}\n[x]\n", "b/cell.toml": "[life]\nwram = true", "c/cell.toml": "x ="},
			[]string{"cell.toml:6:2", "b/cell.toml:2:1", "c/cell.toml:1:"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := write(t, c.files)
			root, _ = filepath.EvalSymlinks(root)
			tree, errs := LoadTree(root)
			if tree != nil || len(errs) != len(c.want) {
				t.Fatalf("%d errors: %v", len(errs), errs)
			}
			for _, want := range c.want {
				if !slices.ContainsFunc(errs, func(e *Error) bool { return strings.HasPrefix(e.Error(), filepath.Join(root, want)) }) {
					t.Errorf("no error %s in\n%v", want, errs)
				}
			}
		})
	}
}

func TestLoadRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, File), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, errs := Load(dir); len(errs) != 1 || !strings.Contains(errs[0].Msg, "not a regular file") {
		t.Error(errs)
	}
}

func TestSizes(t *testing.T) {
	for s, want := range map[string]int64{"1": 1, "4096": 4096, "64MB": 64 << 20, "64MiB": 64 << 20, "64 M": 64 << 20, "1.5G": 3 << 29, "2k": 2048, "1T": 1 << 40, "7B": 7} {
		if n, err := ParseBytes(s); err != nil || n != want {
			t.Errorf("ParseBytes(%q) = %d, %v", s, n, err)
		}
	}
	for _, s := range []string{"", "M", "1X", "-1", "1e9", "0x10", "1MM", "inf", "1I"} {
		if n, err := ParseBytes(s); err == nil {
			t.Errorf("ParseBytes(%q) = %d", s, n)
		}
	}
	for n, want := range map[int64]string{0: "0B", 64 << 20: "64M", 3 << 29: "1.5G", 1<<20 - 1: "1M", 5 << 40: "5T"} {
		if got := FormatBytes(n); got != want {
			t.Errorf("FormatBytes(%d) = %s, want %s", n, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, k := range keys {
		f.Add([]byte("[" + k.Section + "]\n" + k.Name + " = " + k.Example + "\n"))
	}
	f.Add([]byte("[[cell]]\nname=1\n[cell.x]\n"))
	f.Add([]byte("cell.name.x = 1\ncells = [{a=1}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, errs := Parse("/x", "cell.toml", data)
		if m == nil {
			t.Fatal("no manifest")
		}
		for _, e := range errs {
			if e.Pos.Line < 1 || e.Pos.Col < 1 || e.Msg == "" || strings.ContainsAny(e.Msg, "\x00\x1b") {
				t.Errorf("error without place or with control bytes: %q", e)
			}
		}
		if len(errs) == 0 {
			again, errs := Parse("/x", "cell.toml", []byte(m.String()))
			if len(errs) > 0 || again.String() != m.String() {
				t.Errorf("not the same when read back: %v\n%s\n%s", errs, m, again)
			}
		}
		if len(errs) == 0 && (len(m.Exec) == 0 || m.Life.ReadyWithin <= 0) {
			t.Errorf("accepted: %+v", m)
		}
	})
}
