package manifest

import (
	"maps"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
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
	{Section: "cell", Name: "speaks", Type: "string", Default: `"cell"`, Example: `"http"`, Doc: "`cell`: a program made with the SDK. `http` or `tcp`: any server; it gets the socket as systemd hands it over (LISTEN_FDS) unless `port` is set. `job`: a program that runs to its end, by `schedule` and by `cell start`; nobody calls it.", set: setOneOf(func(m *Manifest) *string { return &m.Speaks }, "cell", "http", "tcp", "job")},
	{Section: "cell", Name: "port", Type: "number", Default: "–", Example: "3000", Doc: "For http and tcp programs that cannot take a socket: the port they listen on. a proxy stands in front, in a network that is nobody else's.", set: setPort},
	{Section: "cell", Name: "env", Type: "table of strings", Default: "{}", Example: `{ LANG = "C" }`, Doc: "Environment of the program. `${CELL_NAME}`, `${CELL_DIR}`, `${PORT}` and `${secrets}` are replaced, and `$$` is a dollar, as in `exec`. Keep secrets out of it: `[secrets]` is for them.", set: setEnv},

	{Section: "cell", Name: "env_file", Type: "string", Default: "–", Example: `"settings.env"`, Doc: "A file of variables, a line NAME=VALUE each, relative to the cell's directory; `env` comes before it. Lines that begin with # are comments, and quotes around a value are taken off.", set: setString(func(m *Manifest) *string { return &m.EnvFile })},
	{Section: "cell", Name: "user", Type: "string", Default: `"cell"`, Example: `"root"`, Doc: "Who the program is inside of the cell. `cell`: an ordinary user. `root`: user 0 of users of its own, for programs that start as root and become another user; it has no right on the machine either way.", set: setOneOf(func(m *Manifest) *string { return &m.User }, "cell", "root")},

	{Section: "resources", Name: "cpu", Type: "{ min, max } in cores", Default: "–", Example: "{ min = 0.1, max = 2 }", Doc: "Processor time: `max` is a ceiling, `min` what the cell needs. A number alone is the maximum.", set: setCPU},
	{Section: "resources", Name: "memory", Type: "{ min, max } in sizes", Default: "–", Example: `{ min = "32MB", max = "512MB" }`, Doc: "Memory: over `max` the cell ends and starts again, and nothing else does. A size alone is the maximum. Units are powers of 1024.", set: setMemory},
	{Section: "resources", Name: "storage", Type: "{ max } in sizes", Default: "–", Example: `{ max = "1GB" }`, Doc: "What the cell's directory may hold, where the file system has project quotas; `cell explain` says whether it is enforced.", set: setStorage},
	{Section: "resources", Name: "tasks", Type: "number", Default: "–", Example: "256", Doc: "Processes and threads.", set: setTasks},
	{Section: "resources", Name: "files", Type: "number", Default: "65536, of 524288 that the program may ask for", Example: "200000", Doc: "Open files and connections of the program (descriptors). With the key it may ask for no more.", set: setFiles},
	{Section: "resources", Name: "io", Type: "{ read, write, weight }", Default: "–", Example: `{ read = "50MB", write = "20MB", weight = 100 }`, Doc: "Bytes per second on the device that holds the cell's directory, and its share against others (1 to 10000).", set: setIO},
	{Section: "resources", Name: "gpu", Type: "{ count, memory, share, optional, wait }", Default: "–", Example: `{ count = 1, memory = "8GB" }`, Doc: "Graphics processors that no other cell has meanwhile, and no others. With `memory` devices, or slices of divided ones (MIG), with at least so much, of which it may use so much: over it the cell ends and starts again. `share = true` with cells of the same owner that share, too, as long as their `memory` fits together. Where none is free the cell is not started; with `wait = \"10m\"` after that time, and with `optional = true` it runs without. A cell keeps its devices while it sleeps. See enzymes.md.", set: setGPU},

	{Section: "life", Name: "idle_timeout", Type: "duration", Default: `"0s"`, Example: `"10m"`, Doc: "Sleep after so long without a call; the next call wakes it. `0s`: never.", set: setDuration(func(m *Manifest) *time.Duration { return &m.Life.IdleTimeout })},
	{Section: "life", Name: "warm", Type: "boolean", Default: "false", Example: "true", Doc: "Always keep it running; it starts with the machine and never sleeps.", set: setBool(func(m *Manifest) *bool { return &m.Life.Warm })},
	{Section: "life", Name: "auto_cleanup", Type: "boolean", Default: "false", Example: "true", Doc: "Empty `cache/` when it goes to sleep, or when a job has ended; never the source.", set: setBool(func(m *Manifest) *bool { return &m.Life.AutoCleanup })},
	{Section: "life", Name: "keep_log", Type: "boolean", Default: "true", Example: "false", Doc: "Keep `log/`, where the program writes what does not go to the journal, after apoptosis. What is in the journal stays as long as the machine keeps its journal.", set: setBool(func(m *Manifest) *bool { return &m.Life.KeepLog })},
	{Section: "life", Name: "ready", Type: "string", Default: "`notify` for cells, `port` with a port, else `started`", Example: `"notify"`, Doc: "When it counts as ready: `notify`, it says READY=1 (sd_notify); `port`, it accepts on its port; `started`, it runs.", set: setOneOf(func(m *Manifest) *string { return &m.Life.Ready }, "notify", "started", "port")},
	{Section: "life", Name: "ready_within", Type: "duration", Default: `"30s"`, Example: `"5s"`, Doc: "A version that is not ready by then has failed and is rolled back.", set: setDuration(func(m *Manifest) *time.Duration { return &m.Life.ReadyWithin })},
	{Section: "life", Name: "stop_within", Type: "duration", Default: `"10s"`, Example: `"30s"`, Doc: "Time to finish running calls after SIGTERM; then it is killed.", set: setDuration(func(m *Manifest) *time.Duration { return &m.Life.StopWithin })},
	{Section: "life", Name: "stop_signal", Type: "string", Default: `"SIGTERM"`, Example: `"SIGQUIT"`, Doc: "The signal that asks the program to stop, as SIGQUIT does nginx and SIGINT PostgreSQL.", set: setSignal},
	{Section: "life", Name: "restart", Type: "string", Default: `"on-failure"`, Example: `"always"`, Doc: "When systemd starts it again: `on-failure`, `always` or `no`.", set: setOneOf(func(m *Manifest) *string { return &m.Life.Restart }, "on-failure", "always", "no")},
	{Section: "life", Name: "schedule", Type: "calendar event", Default: "–", Example: `"daily"`, Doc: "When a job runs, as systemd.time(7) writes it. A run that was missed because the machine was off or asleep is made up for once. Two runs are never at the same time: what falls into a run comes once after it. Without the key a job runs by `cell start` alone.", set: setSchedule},
	{Section: "life", Name: "health", Type: "{ http | tcp | command, interval, timeout, failures }", Default: "–", Example: `{ http = "/health", interval = "10s", timeout = "5s", failures = 3 }`, Doc: "How to find out whether the running program works: `http`, a path that answers a GET with a status below 400; `tcp = true`, a connection is accepted; `command`, a program that ends with 0, run inside of the cell. After so many `failures` in a row it gets no new connections and is started again. Until the first success it has `ready_within` to start. What sleeps is not woken for it.", set: setHealth},
	{Section: "life", Name: "retire_after", Type: "duration", Default: `"0s"`, Example: `"30d"`, Doc: "Stop the cell when nobody has called it for so long, as for an old version that is kept for its callers. `cell start` brings it back. `0s`: never. For cells that speak `cell`.", set: setDuration(func(m *Manifest) *time.Duration { return &m.Life.RetireAfter })},

	{Section: "cells", Name: "NAME", Type: "{ path, replicas }", Default: "path: NAME, replicas: 1", Example: `{ path = "gateway", replicas = 3 }`, Doc: "A child: a cell of this one's own subtree, started before it and stopped after it.", set: setChild},
	{Section: "needs", Name: "NAME", Type: "{ path, at } or { git, ref, path, at }", Default: "–", Example: `{ path = "../mathlib" }`, Doc: "A cell that this one calls but does not own; in one tree it starts first. With `git` its source is in a repository, at a branch or tag `ref` and below `path`: `cell sync` fetches what it serves, and the cell that runs under the need's name is called. Where the called cell speaks http or tcp, its name and port work inside of this one, as in `mathlib:3000`; `at = \"HOST:PORT\"` gives it others.", set: setNeed},

	{Section: "auth", Name: "allow", Type: "list of strings", Default: "the same owner", Example: `["user:alice", "cell:shop.web"]`, Doc: "Who may call: `user:NAME`, the cells and programs of a user; `cell:NAME`, a cell by its full name; `cell:NAME.*`, what is below it; `node:NAME`, all that is on a machine. Without the key its owner and what is his; with it nobody else than is listed, and the owner and root themselves.", set: setAllow},
	{Section: "auth", Name: "methods", Type: "table of lists", Default: "{}", Example: `{ Delete = ["user:alice"] }`, Doc: "Who of those may call a method, as in `allow`. For cells that speak `cell`.", set: setMethods},
	{Section: "secrets", Name: "NAME", Type: "string", Default: "–", Example: `"file:/etc/key"`, Doc: "A secret: `file:PATH`, `command:SHELL COMMAND`, whose output it is, or `encrypted:PATH`, made by systemd-creds. It is read with the rights of the cell's owner at each start, at most 1 MB, and is a file below `${secrets}` that only the cell can read, never on a disk; the SDK and systemd's own tools find it in CREDENTIALS_DIRECTORY. A program that wants a file gets its path: `env = { DB_PASSWORD_FILE = \"${secrets}/db\" }`.", set: setSecret},
	{Section: "paths", Name: "NAME", Type: "{ path, write }", Default: "write: false", Example: `{ path = "/srv/media", write = true }`, Doc: "A file or directory of the machine that the cell sees beside its own, at the same place, and may change with `write`. A cell sees nothing else; see membrane.md.", set: setPath},
	{Section: "place", Name: "pin", Type: "string", Default: "–", Example: `"node-a"`, Doc: "The machine that it runs on, as `cell nodes` names it, or by its host name where it has joined no tissue. On others `cell mitosis` leaves it and what is below it out, and calls of it go to that machine.", set: setPin},

	{Section: "net", Name: "internet", Type: "boolean or list of hosts", Default: "false", Example: `["api.example.org:443", "192.0.2.7:25"]`, Doc: "Whether the cell may reach the network: all of it, or by TCP the hosts and ports of a list and nothing else. Without it the cell has no network at all; callers reach it through its socket.", set: setInternet},
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
		case reserved(name):
			d.add(e.pos, "env: %s is set by Cell or systemd", name).hint("choose another name")
		case ok:
			d.m.Env[name] = s
		}
	}
}

// reserved tells whether a variable is Cell's or systemd's to set.
func reserved(name string) bool {
	return strings.HasPrefix(name, "CELL_") || strings.HasPrefix(name, "LISTEN_") || strings.HasPrefix(name, "WATCHDOG_") ||
		name == "NOTIFY_SOCKET" || name == "CREDENTIALS_DIRECTORY"
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

func setGPU(d *decoder, k Key, v value) {
	g := &GPU{Count: 1}
	yes := func(name string, to *bool) func(value) {
		return func(v value) {
			if v.kind != unstable.Bool {
				d.wrong(Key{Name: "gpu." + name, Type: "boolean", Example: "true"}, v)
				return
			}
			*to = v.text == "true"
		}
	}
	d.fields(k, v, map[string]func(value){
		"count": func(v value) {
			if n, ok := d.whole(Key{Name: "gpu.count", Type: "number", Example: "1"}, v, 1, 64); ok {
				g.Count = int(n)
			}
		},
		"memory":   func(v value) { g.Memory = d.size(Key{Name: "gpu.memory"}, v) },
		"share":    yes("share", &g.Share),
		"optional": yes("optional", &g.Optional),
		"wait": func(v value) {
			setDuration(func(*Manifest) *time.Duration { return &g.Wait })(d, Key{Name: "gpu.wait", Type: "duration", Example: `"10m"`}, v)
		},
	})
	if g.Share && g.Memory == 0 {
		d.add(v.pos, "gpu: who shares a device says how much of it").hint(`write gpu = { memory = "8GB", share = true }`)
	}
	d.m.Resources.GPU = g
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

var hostForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// hostPort reads a host's name and a port. An address is no name.
func hostPort(s string) (host string, port int, ok bool) {
	host, text, ok := strings.Cut(s, ":")
	port, err := strconv.Atoi(text)
	if _, aerr := netip.ParseAddr(host); aerr == nil || host == "localhost" {
		return "", 0, false
	}
	return host, port, ok && err == nil && port > 0 && port < 1<<16 && hostForm.MatchString(host)
}

// maxSecrets bounds what a start has to read.
const maxSecrets = 64

var secretForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$`)

func setSecret(d *decoder, k Key, v value) {
	s, ok := d.str(k, v)
	if !ok {
		return
	}
	kind, source, _ := strings.Cut(s, ":")
	switch {
	case !secretForm.MatchString(k.Name):
		d.add(d.keyPos, "%q cannot name a secret", short(k.Name)).hint("use letters, digits, dashes, underscores and dots, at most 63")
	case kind != "file" && kind != "command" && kind != "encrypted", source == "":
		d.add(v.pos, "%s: where the secret comes from is missing", k.Name).hint(`write %s = "file:/path", "command:…" or "encrypted:/path"; the secret itself does not belong here`, k.Name)
	case len(d.m.Secrets) == maxSecrets:
		d.add(d.keyPos, "there are more than %d secrets", maxSecrets)
	default:
		if kind != "command" && !filepath.IsAbs(source) {
			source = filepath.Join(d.m.Dir, source)
		}
		d.m.Secrets = append(d.m.Secrets, Secret{k.Name, kind, source})
	}
}

// signals are those with which a program is asked to stop.
var signals = map[string]syscall.Signal{
	"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT, "SIGQUIT": syscall.SIGQUIT, "SIGHUP": syscall.SIGHUP, "SIGUSR1": syscall.SIGUSR1,
	"SIGUSR2": syscall.SIGUSR2, "SIGWINCH": syscall.SIGWINCH,
}

func setSignal(d *decoder, k Key, v value) {
	s, ok := d.str(k, v)
	if !ok {
		return
	}
	if d.m.Life.StopSignal, ok = signals[s]; !ok {
		d.add(v.pos, "stop_signal: %q is none of %s", short(s), strings.Join(slices.Sorted(maps.Keys(signals)), ", "))
	}
}

func setPath(d *decoder, k Key, v value) {
	p := Path{Name: k.Name, Pos: d.keyPos}
	before := len(*d.errs)
	d.fields(k, v, map[string]func(value){
		"path": func(v value) {
			p.Path, _ = d.str(Key{Name: k.Name + ".path", Type: "string", Example: `"/srv/media"`}, v)
		},
		"write": func(v value) {
			if v.kind != unstable.Bool {
				d.wrong(Key{Name: k.Name + ".write", Type: "boolean", Example: "true"}, v)
			}
			p.Write = v.text == "true"
		},
	})
	if !d.name(d.keyPos, p.Name) || len(*d.errs) > before {
		return
	}
	switch clean := filepath.Clean(p.Path); {
	case p.Path == "":
		d.add(d.keyPos, "%s: its path is missing", p.Name).hint(`write %s = { path = "/srv/%s" }`, p.Name, p.Name)
	case !filepath.IsAbs(p.Path):
		d.add(d.keyPos, "%s: path %q is not absolute", p.Name, short(p.Path)).hint("what is in the cell's directory needs no line here; write data/, cache/ or log/ for what the cell changes")
	case clean == "/" || clean == "/run" || slices.ContainsFunc([]string{"/proc", "/sys", "/dev", "/run/cell"}, func(d string) bool { return clean == d || strings.HasPrefix(clean, d+"/") }):
		d.add(d.keyPos, "%s: %s cannot be shown to a cell: it has its own", p.Name, short(clean)).hint("name what it needs of it, such as a directory below /run; devices are not paths")
	default:
		p.Path = clean
		d.m.Paths = append(d.m.Paths, p)
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
		"ref": func(v value) { n.Ref = d.git(k, "ref", v, gitRef, "a branch or tag") },
		"at": func(v value) {
			s, ok := d.str(Key{Name: k.Name + ".at", Type: "string", Example: `"postgres:5432"`}, v)
			if !ok {
				return
			}
			if n.Host, n.Port, ok = hostPort(s); strings.HasSuffix(s, "/udp") {
				d.add(v.pos, "%s.at: %q is UDP, and cells are reached by TCP alone", k.Name, short(s)).hint(`write it as "postgres:5432"`)
			} else if !ok {
				d.add(v.pos, "%s.at: %q is no HOST:PORT", k.Name, short(s)).hint(`write it as "postgres:5432"`)
			}
			n.At = s
		},
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

func setPin(d *decoder, k Key, v value) {
	if s, ok := d.str(k, v); ok && !ValidName(s) {
		d.add(v.pos, "pin: %q cannot name a machine", short(s)).hint("cell nodes   lists those of the tissue")
	} else if ok {
		d.m.Pin = s
	}
}

// maxHosts bounds what a cell listens on for its program.
const maxHosts = 128

func setInternet(d *decoder, k Key, v value) {
	if v.kind == unstable.Bool {
		d.m.Net.Internet = v.text == "true"
		return
	}
	list, ok := d.strs(k, v)
	if !ok {
		return
	}
	for _, s := range list {
		h, why := host(s)
		switch {
		case why != "":
			d.add(v.pos, "internet: %q %s", short(s), why).hint(`write "api.example.org:443", or "192.0.2.7:25"; names have no wildcards`)
			return
		case slices.Contains(d.m.Net.Hosts, h):
			d.add(v.pos, "internet: %q is there twice", short(s))
			return
		}
		d.m.Net.Hosts = append(d.m.Net.Hosts, h)
	}
	if len(list) > maxHosts {
		d.add(v.pos, "internet: %d hosts, at most %d can be", len(list), maxHosts)
	}
}

// host reads a place outside of Cell.
func host(s string) (h Host, why string) {
	name, text, err := net.SplitHostPort(s)
	port, perr := strconv.Atoi(strings.TrimSuffix(text, "/tcp"))
	addr, aerr := netip.ParseAddr(name)
	switch {
	case strings.HasSuffix(s, "/udp"):
		return h, "is UDP, and only TCP can be allowed by host"
	case err != nil || perr != nil || port < 1 || port > 65535:
		return h, "is no HOST:PORT"
	case aerr == nil && (addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast()):
		return h, "is no address of a host"
	case name == "localhost", aerr == nil && (addr.Unmap().IsLoopback() || addr.IsLinkLocalUnicast() || addr.Unmap().Is6() && addr.IsPrivate()):
		return h, "is on this machine or its tissue: make what listens there a cell, and name that in [needs]"
	case aerr != nil && !domainForm.MatchString(name):
		return h, "has no name of a host"
	}
	if aerr == nil {
		name = addr.Unmap().String()
	}
	return Host{strings.ToLower(name), port}, ""
}

var domainForm = regexp.MustCompile(`^(?i)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$`)

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
