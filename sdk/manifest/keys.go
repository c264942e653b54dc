package manifest

import (
	"math"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Key is one key of cell.toml. The table of keys is the only place that knows them: reading, unknown-key errors and
// docs/manifest.md all come from it.
type Key struct {
	Section string
	Name    string
	Type    string // for people: "size", "duration", …
	Default string // for people; "–" is none
	Example string // as written after "name = "
	Doc     string
	Later   bool // decided, not built: using it is an error rather than a limit that silently does nothing

	set func(d *decoder, k Key, v value)
}

// Keys lists every key in the order of the documentation. A section whose keys are names of the user's choice has one
// entry named NAME.
func Keys() []Key { return slices.Clone(keys) }

var keys = []Key{
	{Section: "cell", Name: "name", Type: "name", Default: "the directory's name", Example: `"calculator"`, Doc: "What the cell is called: a to z, digits and dashes, at most 63. In a tree it is called by its path, as in `shop.gateway`.", set: setName},
	{Section: "cell", Name: "version", Type: "version", Default: `"0.0.0"`, Example: `"1.0.0"`, Doc: "Semantic version of what it serves.", set: setVersion},
	{Section: "cell", Name: "exec", Type: "list of strings", Default: `["bin/NAME"]`, Example: `["bin/calculator", "--fast"]`, Doc: "Program and arguments. A program in `bin/` is kept per version, so that an upgrade can be rolled back; any other is used in place. In arguments `${NAME}` is a variable of `env`, or `${CELL_NAME}`, `${CELL_DIR}` or `${PORT}`, and `$$` a dollar; nothing else is replaced, and no shell is involved.", set: setExec},
	{Section: "cell", Name: "build", Type: "string", Default: "`go build -o bin/NAME .` where Go source is found, else nothing", Example: `"make bin/calculator"`, Doc: "Shell command that makes the program, run in the cell's directory when its source changed.", set: setString(func(m *Manifest) *string { return &m.Build })},
	{Section: "cell", Name: "speaks", Type: "string", Default: `"cell"`, Example: `"http"`, Doc: "`cell`: a program made with the SDK. `http` or `tcp`: any server; it gets the socket as systemd hands it over (LISTEN_FDS) unless `port` is set.", set: setOneOf(func(m *Manifest) *string { return &m.Speaks }, "cell", "http", "tcp", "job")},
	{Section: "cell", Name: "port", Type: "number", Default: "–", Example: "3000", Doc: "For http and tcp programs that cannot take a socket: the port they listen on. systemd-socket-proxyd stands in front, in a network of their own.", set: setPort},
	{Section: "cell", Name: "env", Type: "table of strings", Default: "{}", Example: `{ LANG = "C" }`, Doc: "Environment of the program. `${CELL_NAME}`, `${CELL_DIR}` and `${PORT}` are replaced, and `$$` is a dollar, as in `exec`. Keep secrets out of it.", set: setEnv},

	{Section: "resources", Name: "cpu", Type: "{ min, max } in cores", Default: "–", Example: "{ min = 0.1, max = 2 }", Doc: "Processor time: `max` is a ceiling, `min` what the cell needs. A number alone is the maximum.", set: setCPU},
	{Section: "resources", Name: "memory", Type: "{ min, max } in sizes", Default: "–", Example: `{ min = "32MB", max = "512MB" }`, Doc: "Memory: over `max` the cell ends and starts again, and nothing else does. A size alone is the maximum. Units are powers of 1024.", set: setMemory},
	{Section: "resources", Name: "storage", Type: "{ max } in sizes", Default: "–", Example: `{ max = "1GB" }`, Doc: "What the cell's directory may hold, where the file system has project quotas; `cell explain` says whether it is enforced.", set: setStorage},
	{Section: "resources", Name: "tasks", Type: "number", Default: "–", Example: "256", Doc: "Processes and threads.", set: setTasks},
	{Section: "resources", Name: "files", Type: "number", Default: "65536, of 524288 that the program may ask for", Example: "200000", Doc: "Open files and connections of the program (descriptors). With the key it may ask for no more.", set: setFiles},
	{Section: "resources", Name: "io", Type: "{ read, write, weight }", Default: "–", Example: `{ read = "50MB", write = "20MB", weight = 100 }`, Doc: "Bytes per second on the device that holds the cell's directory, and its share against others (1 to 10000).", set: setIO},
	{Section: "resources", Name: "gpu", Type: "{ count, memory }", Default: "–", Example: `{ count = 1, memory = "8GB" }`, Doc: "Graphics processors.", Later: true},

	{Section: "life", Name: "idle_timeout", Type: "duration", Default: `"0s"`, Example: `"10m"`, Doc: "Sleep after so long without a call; the next call wakes it. `0s`: never.", set: setDuration(func(m *Manifest) *time.Duration { return &m.Life.IdleTimeout })},
	{Section: "life", Name: "warm", Type: "boolean", Default: "false", Example: "true", Doc: "Always keep it running; it starts with the machine and never sleeps.", set: setBool(func(m *Manifest) *bool { return &m.Life.Warm })},
	{Section: "life", Name: "auto_cleanup", Type: "boolean", Default: "false", Example: "true", Doc: "Remove `cache/` when it goes to sleep; never the source.", Later: true},
	{Section: "life", Name: "keep_log", Type: "boolean", Default: "true", Example: "false", Doc: "Keep its journal after apoptosis.", Later: true},
	{Section: "life", Name: "ready", Type: "string", Default: "`notify` for cells, `port` with a port, else `started`", Example: `"notify"`, Doc: "When it counts as ready: `notify`, it says READY=1 (sd_notify); `port`, it accepts on its port; `started`, it runs.", set: setOneOf(func(m *Manifest) *string { return &m.Life.Ready }, "notify", "started", "port")},
	{Section: "life", Name: "ready_within", Type: "duration", Default: `"30s"`, Example: `"5s"`, Doc: "A version that is not ready by then has failed and is rolled back.", set: setDuration(func(m *Manifest) *time.Duration { return &m.Life.ReadyWithin })},
	{Section: "life", Name: "stop_within", Type: "duration", Default: `"10s"`, Example: `"30s"`, Doc: "Time to finish running calls after SIGTERM; then it is killed.", set: setDuration(func(m *Manifest) *time.Duration { return &m.Life.StopWithin })},
	{Section: "life", Name: "restart", Type: "string", Default: `"on-failure"`, Example: `"always"`, Doc: "When systemd starts it again: `on-failure`, `always` or `no`.", set: setOneOf(func(m *Manifest) *string { return &m.Life.Restart }, "on-failure", "always", "no")},
	{Section: "life", Name: "schedule", Type: "calendar event", Default: "–", Example: `"daily"`, Doc: "When a job runs.", Later: true},
	{Section: "life", Name: "retire_after", Type: "duration", Default: `"0s"`, Example: `"30d"`, Doc: "Stop the cell when nobody has called it for so long, as for an old version that is kept for its callers. `cell start` brings it back. `0s`: never. For cells that speak `cell`.", set: setDuration(func(m *Manifest) *time.Duration { return &m.Life.RetireAfter })},

	{Section: "cells", Name: "NAME", Type: "{ path, replicas }", Default: "path: NAME, replicas: 1", Example: `{ path = "gateway", replicas = 3 }`, Doc: "A child: a cell of this one's own subtree, started before it and stopped after it.", set: setChild},
	{Section: "needs", Name: "NAME", Type: "{ path } or { git, ref, path }", Default: "–", Example: `{ path = "../mathlib" }`, Doc: "A cell that this one calls but does not own; in one tree it starts first. With `git` its source is in a repository, at a branch or tag `ref` and below `path`: `cell sync` fetches what it serves, and the cell that runs under the need's name is called.", set: setNeed},

	{Section: "auth", Name: "allow", Type: "list of strings", Default: "the same owner", Example: `["user:alice", "cell:shop.web"]`, Doc: "Who may call: `user:NAME`, the cells and programs of a user; `cell:NAME`, a cell by its full name; `cell:NAME.*`, what is below it; `node:NAME`, all that is on a machine. Without the key its owner and what is his; with it nobody else than is listed, and the owner and root themselves.", set: setAllow},
	{Section: "auth", Name: "methods", Type: "table of lists", Default: "{}", Example: `{ Delete = ["user:alice"] }`, Doc: "Who of those may call a method, as in `allow`. For cells that speak `cell`.", set: setMethods},
	{Section: "secrets", Name: "NAME", Type: "string", Default: "–", Example: `"file:/etc/key"`, Doc: "A secret, handed over as a credential.", Later: true},
	{Section: "paths", Name: "NAME", Type: "table", Default: "–", Example: `{ path = "/srv/media" }`, Doc: "A directory beside the cell's own.", Later: true},
	{Section: "place", Name: "pin", Type: "string", Default: "–", Example: `"node-a"`, Doc: "Where it runs.", Later: true},

	{Section: "net", Name: "internet", Type: "boolean", Default: "false", Example: "true", Doc: "Whether the cell may reach the network. Without it the cell has no network at all; callers reach it through its socket.", set: setBool(func(m *Manifest) *bool { return &m.Net.Internet })},
	{Section: "net", Name: "publish", Type: "list of addresses", Default: "[]", Example: `["127.0.0.1:8080"]`, Doc: "Doors to the outside world: addresses on which a proxy of its own takes connections for the cell (its first replica). For http and tcp.", set: setPublish},

	{Section: "about", Name: "author", Type: "string", Default: "–", Example: `"Ada"`, Doc: "Who answers for it.", set: setString(func(m *Manifest) *string { return &m.About.Author })},
	{Section: "about", Name: "license", Type: "string", Default: "–", Example: `"MIT"`, Doc: "SPDX name of its licence.", set: setString(func(m *Manifest) *string { return &m.About.License })},
	{Section: "about", Name: "repository", Type: "string", Default: "–", Example: `"https://example.org/ada/calculator"`, Doc: "Where its source is.", set: setString(func(m *Manifest) *string { return &m.About.Repository })},
}

var (
	versionForm = regexp.MustCompile(`^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(-[0-9A-Za-z.-]{1,64})?(\+[0-9A-Za-z.-]{1,64})?$`)
	envForm     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
)

func setString(field func(*Manifest) *string) func(*decoder, Key, value) {
	return func(d *decoder, k Key, v value) {
		if s, ok := d.str(k, v); ok {
			*field(d.m) = s
		}
	}
}

func setOneOf(field func(*Manifest) *string, allowed ...string) func(*decoder, Key, value) {
	return func(d *decoder, k Key, v value) {
		s, ok := d.str(k, v)
		if !ok {
			return
		}
		if !slices.Contains(allowed, s) {
			d.add(v.pos, "%s: %q is none of %s", k.Name, s, strings.Join(allowed, ", "))
			return
		}
		if s == "job" {
			d.add(v.pos, "%s: jobs are not supported yet", k.Name).hint("run a server, or use a systemd timer")
		}
		*field(d.m) = s
	}
}

func setBool(field func(*Manifest) *bool) func(*decoder, Key, value) {
	return func(d *decoder, k Key, v value) {
		if v.kind != unstable.Bool {
			d.wrong(k, v)
			return
		}
		*field(d.m) = v.text == "true"
	}
}

func setDuration(field func(*Manifest) *time.Duration) func(*decoder, Key, value) {
	return func(d *decoder, k Key, v value) {
		s, ok := d.str(k, v)
		if !ok {
			return
		}
		t, err := parseDuration(s)
		if err != nil {
			d.add(v.pos, "%s: %v", k.Name, err).hint(`write it as "90s", "10m", "1h30m" or "7d"`)
			return
		}
		*field(d.m) = t
	}
}

func setName(d *decoder, k Key, v value) {
	if s, ok := d.str(k, v); ok && d.name(v.pos, s) {
		d.m.Name = s
	}
}

func setVersion(d *decoder, k Key, v value) {
	s, ok := d.str(k, v)
	if ok && !versionForm.MatchString(s) {
		d.add(v.pos, "version: %q is not a version", short(s)).hint(`write three numbers, as in "1.2.3"`)
	} else if ok {
		d.m.Version = s
	}
}

func setExec(d *decoder, k Key, v value) {
	if v.kind == unstable.String {
		d.add(v.pos, "exec must be a list of program and arguments, not a string").hint("write exec = [%q]", v.text)
		return
	}
	list, ok := d.strs(k, v)
	if !ok {
		return
	}
	switch {
	case len(list) == 0 || list[0] == "":
		d.add(v.pos, "exec: the program is missing").hint(`write exec = ["bin/NAME"], or leave the key out`)
	case !filepath.IsAbs(list[0]) && !filepath.IsLocal(list[0]):
		d.add(v.pos, "exec: %q leads out of the cell's directory", short(list[0])).hint("name a program in the directory, or an absolute path")
	default:
		d.m.Exec = list
	}
}

func setPort(d *decoder, k Key, v value) {
	if n, ok := d.whole(k, v, 1, 65535); ok {
		d.m.Port = int(n)
	}
}

func setEnv(d *decoder, k Key, v value) {
	if v.kind != unstable.Table {
		d.wrong(k, v)
		return
	}
	d.m.Env = map[string]string{}
	for _, name := range v.tab.keys {
		e := v.tab.get[name]
		s, ok := d.str(Key{Name: "env." + short(name), Type: "string"}, e.val)
		switch {
		case !envForm.MatchString(name):
			d.add(e.pos, "env: %q is not a name of a variable", short(name))
		case strings.HasPrefix(name, "CELL_"), strings.HasPrefix(name, "LISTEN_"), name == "NOTIFY_SOCKET", strings.HasPrefix(name, "WATCHDOG_"):
			d.add(e.pos, "env: %s is set by Cell or systemd", name).hint("choose another name")
		case ok:
			d.m.Env[name] = s
		}
	}
}

func setAllow(d *decoder, k Key, v value) { d.m.Auth.Allow = d.principals(k, v) }

// maxMethods is how many methods may have rules: an introduction has to have room for their names.
const maxMethods = 32

func setMethods(d *decoder, k Key, v value) {
	if v.kind != unstable.Table {
		d.wrong(k, v)
		return
	}
	d.m.Auth.Methods = map[string][]Principal{}
	for _, name := range v.tab.keys {
		e := v.tab.get[name]
		if !methodForm.MatchString(name) {
			d.add(e.pos, "methods: %q is not the name of a method", short(name)).hint("write it as in Go, with a capital letter")
			continue
		}
		d.m.Auth.Methods[name] = d.principals(Key{Name: "methods." + name, Type: k.Type, Example: k.Example}, e.val)
	}
	if len(d.m.Auth.Methods) > maxMethods {
		d.add(v.pos, "methods: %d have rules, at most %d can", len(d.m.Auth.Methods), maxMethods)
	}
}

var (
	methodForm = regexp.MustCompile(`^\p{Lu}[\p{L}\d_]{0,63}$`)
	userForm   = regexp.MustCompile(`^[a-zA-Z_][\w.-]{0,63}\$?$`)
)

// principals reads who may do something. Nobody at all is written as an empty list.
func (d *decoder) principals(k Key, v value) []Principal {
	list, ok := d.strs(k, v)
	all := []Principal{}
	if !ok {
		return all
	}
	for _, s := range list {
		kind, name, _ := strings.Cut(s, ":")
		p := Principal{kind, name}
		if kind == "cell" {
			if below, ok := strings.CutSuffix(name, ".*"); ok {
				p = Principal{"below", below}
			}
		}
		switch right := func() bool {
			for part := range strings.SplitSeq(p.Name, ".") {
				if !ValidName(part) {
					return false
				}
			}
			return true
		}; {
		case kind == "author":
			d.add(v.pos, "%s: %s:… is not supported yet", k.Name, kind).hint("name users, cells and nodes")
		case kind == "node" && ValidName(name), kind == "user" && userForm.MatchString(name), kind == "cell" && right():
			all = append(all, p)
		default:
			d.add(v.pos, "%s: %q is neither a user nor a cell nor a node", k.Name, short(s)).hint(`write "user:alice", "cell:shop.web", "cell:shop.*" or "node:laptop"`)
		}
	}
	return all
}

func setCPU(d *decoder, k Key, v value) {
	number := func(v value) (float64, bool) {
		f, err := strconv.ParseFloat(v.text, 64)
		if (v.kind != unstable.Float && v.kind != unstable.Integer) || err != nil || math.IsNaN(f) || f <= 0 || f > 1<<16 {
			d.add(v.pos, "cpu must be a number of cores above 0").hint("write cpu = { max = 0.5 } for half a core")
			return 0, false
		}
		return f, true
	}
	r := &d.m.Resources
	if v.kind != unstable.Table {
		r.CPUMax, _ = number(v)
		return
	}
	d.fields(k, v, map[string]func(value){
		"min": func(v value) { r.CPUMin, _ = number(v) },
		"max": func(v value) { r.CPUMax, _ = number(v) },
	})
	if r.CPUMax > 0 && r.CPUMin > r.CPUMax {
		d.add(v.pos, "cpu: min %v is above max %v", r.CPUMin, r.CPUMax)
	}
}

func setMemory(d *decoder, k Key, v value) {
	r := &d.m.Resources
	if v.kind != unstable.Table {
		r.MemoryMax = d.size(k, v)
		return
	}
	d.fields(k, v, map[string]func(value){
		"min": func(v value) { r.MemoryMin = d.size(k, v) },
		"max": func(v value) { r.MemoryMax = d.size(k, v) },
	})
	if r.MemoryMax > 0 && r.MemoryMin > r.MemoryMax {
		d.add(v.pos, "memory: min %s is above max %s", FormatBytes(r.MemoryMin), FormatBytes(r.MemoryMax))
	}
}

func setStorage(d *decoder, k Key, v value) {
	if v.kind != unstable.Table {
		d.m.Resources.StorageMax = d.size(k, v)
		return
	}
	d.fields(k, v, map[string]func(value){"max": func(v value) { d.m.Resources.StorageMax = d.size(k, v) }})
}

func setTasks(d *decoder, k Key, v value) {
	if n, ok := d.whole(k, v, 1, 1<<22); ok {
		d.m.Resources.Tasks = int(n)
	}
}

func setFiles(d *decoder, k Key, v value) {
	if n, ok := d.whole(k, v, 64, 1<<30); ok {
		d.m.Resources.Files = int(n)
	}
}

func setIO(d *decoder, k Key, v value) {
	r := &d.m.Resources
	d.fields(k, v, map[string]func(value){
		"read":  func(v value) { r.IORead = d.size(k, v) },
		"write": func(v value) { r.IOWrite = d.size(k, v) },
		"weight": func(v value) {
			if n, ok := d.whole(Key{Name: "io.weight", Type: "number"}, v, 1, 10000); ok {
				r.IOWeight = int(n)
			}
		},
	})
}

func setChild(d *decoder, k Key, v value) {
	c := Child{Name: k.Name, Path: k.Name, Replicas: 1, Pos: d.keyPos}
	d.fields(k, v, map[string]func(value){
		"path": func(v value) { c.Path, _ = d.path(k, v) },
		"replicas": func(v value) {
			if n, ok := d.whole(Key{Name: k.Name + ".replicas", Type: "number"}, v, 1, maxReplicas); ok {
				c.Replicas = int(n)
			}
		},
	})
	if d.name(d.keyPos, c.Name) && c.Path != "" {
		d.m.Cells = append(d.m.Cells, c)
	}
}

func setNeed(d *decoder, k Key, v value) {
	n := Need{Name: k.Name, Pos: d.keyPos}
	later := func(key string) func(value) {
		return func(v value) {
			d.add(v.pos, "%s.%s is not supported yet", n.Name, key).hint("name a directory with path")
		}
	}
	before := len(*d.errs)
	d.fields(k, v, map[string]func(value){
		"path": func(v value) { n.Path, _ = d.path(k, v) },
		"git": func(v value) {
			n.Git = d.git(k, "git", v, gitURL, "the address of a repository, as in https://example.org/org/echo or git@example.org:org/echo")
		},
		"ref":    func(v value) { n.Ref = d.git(k, "ref", v, gitRef, "a branch or tag") },
		"tissue": later("tissue"), "version": later("version"), "replicas": later("replicas"),
	})
	switch named := d.name(d.keyPos, n.Name); {
	case !named || len(*d.errs) > before:
	case n.Git == "" && n.Ref != "":
		d.add(d.keyPos, "%s: ref without git", n.Name).hint(`write %s = { git = "https://…", ref = %q }`, n.Name, n.Ref)
	case n.Git == "" && n.Path == "":
		d.add(d.keyPos, "%s: its path is missing", n.Name).hint(`write %s = { path = "../%s" }`, n.Name, n.Name)
	case n.Git != "" && n.Path != "" && !filepath.IsLocal(n.Path):
		d.add(d.keyPos, "%s: path %q leads out of the repository", n.Name, short(n.Path))
	default:
		d.m.Needs = append(d.m.Needs, n)
	}
}

// What git is given: no option, and no transport that runs a command of the address.
var (
	gitURL = regexp.MustCompile(`^(?:(?:https?|ssh|git|file)://[^\s-][^\s]*|[a-zA-Z0-9_][\w.-]*@[a-zA-Z0-9][\w.-]*:[^\s-][^\s]*)$`)
	gitRef = regexp.MustCompile(`^[a-zA-Z0-9_][\w./+-]*$`)
)

func (d *decoder) git(k Key, name string, v value, form *regexp.Regexp, wanted string) string {
	s, ok := d.str(Key{Name: k.Name + "." + name, Type: "string"}, v)
	if ok && !form.MatchString(s) {
		d.add(v.pos, "%s.%s: %q is not %s", k.Name, name, short(s), wanted)
	}
	return s
}

func setPublish(d *decoder, k Key, v value) {
	list, ok := d.strs(k, v)
	if !ok {
		return
	}
	for _, a := range list {
		if ap, err := netip.ParseAddrPort(a); err != nil || ap.Port() == 0 || ap.Addr().Zone() != "" {
			d.add(v.pos, "publish: %q is not an address with a port", short(a)).hint(`write "127.0.0.1:8080", or "0.0.0.0:8080" for every address`)
			return
		}
	}
	d.m.Net.Publish = list
}
