package manifest

import (
	"fmt"
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
gpu = { count = 2, memory = "8GB", share = true, optional = true, wait = "10m" }
io = { read = "1M", weight = 50 }
[life]
idle_timeout = "10m"
stop_within = "2d"
[needs]
db = { path = "../db" }
[paths]
media = { path = "/srv/media/", write = true }
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
	if g := r.GPU; g == nil || *g != (GPU{2, 8 << 30, true, true, 10 * time.Minute}) {
		t.Errorf("gpu %+v", g)
	}
	if len(m.Paths) != 1 || m.Paths[0].Path != "/srv/media" || !m.Paths[0].Write || m.User != "cell" {
		t.Errorf("%+v %q", m.Paths, m.User)
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
		if k.Name == "schedule" {
			text += "[cell]\nspeaks = \"job\"\n"
		}
		if k.Name == "ready" || k.Name == "health" {
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
		{"[secrets]\ndb = \"hunter2\"", "2:6: db: where the secret comes from is missing", "does not belong here"},
		{"[secrets]\n\"a/b\" = \"file:/x\"", "2:1: \"a/b\" cannot name a secret", "letters"},
		{"[life]\nstop_signal = \"SIGKILL\"", "2:15: stop_signal: \"SIGKILL\" is none of SIGHUP, SIGINT", ""},
		{"[cell]\nenv = { A = \"${secret}\" }", "2:7: env: A: there is no variable secret", "${secrets}"},
		{"[cell]\nuser = \"alice\"", "2:8: user: \"alice\" is none of cell, root", ""},
		{"[paths]\nmedia = {}", "2:1: media: its path is missing", "/srv/media"},
		{"[paths]\nmedia = { path = \"media\" }", "2:1: media: path \"media\" is not absolute", "data/, cache/ or log/"},
		{"[paths]\nmedia = { path = \"/proc/1\" }", "2:1: media: /proc/1 cannot be shown to a cell", "devices are not paths"},
		{"[paths]\nmedia = { path = \"/x\", writ = true }", "2:24: unknown key \"writ\" in media", "did you mean write?"},
		{"[paths]\nmedia = { path = \"/x\", write = 1 }", "2:32: media.write must be a boolean", "write = true"},
		{"[resources]\ngpu = { count = 0 }", "2:17: gpu.count: 0 is not between 1 and 64", ""},
		{"[resources]\ngpu = { memory = \"much\" }", "2:18: gpu.memory: ", "64MB"},
		{"[resources]\ngpu = { share = true }", "2:7: gpu: who shares a device says how much", "memory"},
		{"[resources]\ngpu = { share = 1, memory = \"1G\" }", "2:17: gpu.share must be a boolean", ""},
		{"[resources]\ngpu = { wait = \"soon\" }", "2:16: gpu.wait: ", "10m"},
		{"[resources]\ngpu = { vram = \"1G\" }", "2:9: unknown key \"vram\" in gpu", ""},
		{"[resources]\ngpu = 1", "2:7: gpu must be", ""},
		{"[life]\nschedule = \"daily\"", "2:12: schedule: only a job runs by one", `speaks = "job"`},
		{"[cell]\nspeaks = \"job\"\n[life]\nschedule = \"25:00\"", `4:12: schedule: "25:00" is no calendar event: there is no hour 25`, "systemd.time(7)"},
		{"[cell]\nspeaks = \"job\"\n[life]\nrestart = \"always\"", "4:11: restart: a job ends", "on-failure"},
		{"[cell]\nspeaks = \"job\"\nport = 80", "3:8: port: nobody calls a job", "for a server"},
		{"[cell]\nspeaks = \"job\"\n[life]\nwarm = true", "4:8: warm: nobody calls a job", ""},
		{"[cell]\nspeaks = \"http\"\n[life]\nhealth = { http = \"health\" }", `4:19: health.http: "health" is not the path`, `"/health"`},
		{"[cell]\nspeaks = \"http\"\n[life]\nhealth = { }", "4:10: health: 0 of http, tcp and command", ""},
		{"[cell]\nspeaks = \"http\"\n[life]\nhealth = { tcp = true, command = [\"a\"] }", "4:10: health: 2 of http, tcp and command", ""},
		{"[cell]\nspeaks = \"http\"\n[life]\nhealth = { tcp = true, interval = \"1ms\" }", "4:10: health: interval and timeout must be at least 100ms", ""},
		{"[life]\nhealth = { tcp = true }", "2:10: health: a program that speaks \"cell\" is watched", "command"},
		{"[place]\npin = \"A b\"", `2:7: pin: "A b" cannot name a machine`, "cell nodes"},
		{"[net]\ninternet = [\"*.example.org:443\"]", `2:1: internet: "*.example.org:443" has no name of a host`, "no wildcards"},
		{"[net]\ninternet = [\"example.org\"]", `2:1: internet: "example.org" is no HOST:PORT`, ""},
		{"[net]\ninternet = [\"dns.example.org:53/udp\"]", `2:1: internet: "dns.example.org:53/udp" is UDP`, ""},
		{"[net]\ninternet = [\"0.0.0.0:53\"]", `2:1: internet: "0.0.0.0:53" is no address of a host`, ""},
		{"[net]\ninternet = [\"127.0.0.1:53\"]", `2:1: internet: "127.0.0.1:53" is on this machine`, ""},
		{"[net]\ninternet = [\"a.b:1\", \"A.b:1\"]", `2:1: internet: "A.b:1" is there twice`, ""},
		{"[needs]\ndns = { path = \"../dns\", at = \"dns:53/udp\" }", `2:31: dns.at: "dns:53/udp" is UDP`, ""},
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

func TestEnvFile(t *testing.T) {
	dir := write(t, map[string]string{
		"web/cell.toml":    "[cell]\nenv_file = \"settings.env\"\nenv = { A = \"own\", F = \"${secrets}/db\" }\n[secrets]\ndb = \"file:key\"",
		"web/settings.env": "# a comment\n\nA=file\nexport B = \"two words\"\nC='$HOME ${X}'\nD=\n",
		"bad/cell.toml":    "[cell]\nenv_file = \"x.env\"", "bad/x.env": "A\nCELL_NAME=x\n1=2",
		"gone/cell.toml": "[cell]\nenv_file = \"x.env\"",
	})
	m, errs := Load(filepath.Join(dir, "web"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	env, err := m.Environ("web")
	for name, want := range map[string]string{"A": "own", "B": "two words", "C": "$HOME ${X}", "D": "", "F": "/run/credentials/db"} {
		if got, ok := env[name]; !ok || got != want {
			t.Errorf("%s is %q, want %q, %v", name, got, want, err)
		}
	}
	if _, there := env["secrets"]; there || m.Secrets[0].Source != filepath.Join(m.Dir, "key") {
		t.Errorf("%v %+v", env, m.Secrets)
	}
	if _, errs := Load(filepath.Join(dir, "bad")); len(errs) != 3 || !strings.Contains(errs.Error(), "x.env:2:1: CELL_NAME is set by Cell") {
		t.Error(errs)
	}
	if _, errs := Load(filepath.Join(dir, "gone")); len(errs) != 1 || !strings.Contains(errs.Error(), "cell.toml:2:12: env_file: x.env: no such file") {
		t.Error(errs)
	}
}

// What a program reaches is called as the line says, or as the called cell declares.
func TestJunctions(t *testing.T) {
	files := map[string]string{
		"cell.toml":       "[cell]\nname = \"shop\"\n[cells]\nweb = {}\ncache = {}\nsite = {}\ntyped = {}\nbare = {}",
		"cache/cell.toml": "[cell]\nspeaks = \"tcp\"\nport = 6379", "site/cell.toml": "[cell]\nspeaks = \"http\"",
		"typed/cell.toml": "", "bare/cell.toml": "[cell]\nspeaks = \"tcp\"",
	}
	for needs, want := range map[string]string{
		`cache = { path = "../cache" }`:                                                       "cache:6379",
		`cache = { path = "../cache", at = "redis.local:80" }`:                                "redis.local:80",
		`site = { path = "../site" }`:                                                         "site:80",
		`typed = { path = "../typed" }`:                                                       ":0",
		`bare = { path = "../bare", at = "db:5432" }`:                                         "db:5432",
		`far = { git = "https://example.org/far", at = "far:1" }`:                             "far:1",
		`bare = { path = "../bare" }`:                                                         ":0",
		`typed = { path = "../typed", at = "typed:1" }`:                                       "6:1: typed: at: the cell speaks \"cell\"",
		`cache = { path = "../cache", at = "redis" }`:                                         "6:35: cache.at: \"redis\" is no HOST:PORT",
		`cache = { path = "../cache", at = "10.0.0.1:80" }`:                                   "6:35: cache.at: \"10.0.0.1:80\" is no HOST:PORT",
		`cache = { path = "../cache", at = "localhost:80" }`:                                  "6:35: cache.at: \"localhost:80\" is no HOST:PORT",
		"cache = { path = \"../cache\" }\nsite = { path = \"../site\", at = \"cache:6379\" }": "7:1: site: cache:6379 is cache already",
	} {
		files["web/cell.toml"] = "[cell]\nspeaks = \"http\"\nexec = [\"sh\"]\n\n[needs]\n" + needs
		tree, errs := LoadTree(write(t, files))
		if len(errs) > 0 {
			if got := errs[0].Error(); len(errs) != 1 || !strings.Contains(got, want) {
				t.Errorf("%s: %v, want %s", needs, errs, want)
			}
			continue
		}
		root := tree.Root.Name
		n := tree.Find(root + ".web").Manifest.Needs[0]
		if got := fmt.Sprintf("%s:%d", n.Host, n.Port); got != want {
			t.Errorf("%s: reached at %s, want %s", needs, got, want)
		}
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
