package unit

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cell-network/cell/sdk/manifest"
)

// ExecCommand is a command line as ExecStart and its kin want it on the bus.
type ExecCommand struct {
	Path   string
	Args   []string
	Ignore bool
}

// Command is a command line for a unit that is gone before systemd reads its file again: "$$" is a dollar to systemd.
func Command(path string, args ...string) []ExecCommand {
	argv := make([]string, 0, len(args)+1)
	for _, a := range append([]string{path}, args...) {
		argv = append(argv, strings.ReplaceAll(a, "$", "$$"))
	}
	return []ExecCommand{{path, argv, false}}
}

// spoilt are the characters that do not survive in a command line. systemd replaces variables after a dollar; and when it reads a
// transient unit's file again, as with any daemon-reload, which it has written itself, both have a backslash before them (systemd
// 252; ExecStartEx, whose flag turns the former off, is then not known at all).
const spoilt = "$;"

// RunArgs is the word that makes celld a program's arguments readable again: see argv.
const RunArgs = "run-args"

// argv is the command line of a cell's program: the program itself or, where an argument has what would be spoilt, celld, which
// executes it with the arguments unescaped.
func argv(m *manifest.Manifest, program, instance string, at Place) []string {
	args, _ := m.Arguments(instance) // reading the manifest has tried it
	if !escapes(m) {
		return append([]string{program}, args...)
	}
	line := []string{at.Helper, RunArgs, program}
	for _, a := range args {
		line = append(line, url.QueryEscape(a))
	}
	return line
}

// escapes tells whether an argument of the program would be spoilt.
func escapes(m *manifest.Manifest) bool {
	args, _ := m.Arguments(m.Name)
	return slices.ContainsFunc(args, func(a string) bool { return strings.ContainsAny(a, spoilt) })
}

type listener struct{ Type, Address string }

func pair(n *manifest.Node, name string, at Place) Pair {
	m := n.Manifest
	p := Pair{Name: name, Manifest: m, Limits: Limits(m, 1)}
	for a := n; a != nil; a = a.Parent {
		p.Slices = append([]Slice{{SliceName(a.Name), Limits(a.Manifest, a.Replicas)}}, p.Slices...)
	}
	slice := SliceName(n.Name)
	p.Socket = socket(m, name, slice, at)
	program := service(m, name, slice, at)
	if m.Port > 0 && !at.User {
		p.Program, p.Service = program, proxy(m, name, slice, at)
	} else {
		p.Service = program
	}
	env := append(environment(m, name), "CELL_BROKER="+filepath.Join(at.SocketDir, "broker/celld.sock"))
	if m.Speaks != "cell" && p.Program == nil && m.Life.IdleTimeout > 0 && !m.Life.Warm {
		env = append(env, doze+m.Life.IdleTimeout.String())
	}
	p.Hash = hash(p.Socket, p.Service, p.Program, []Property{prop("Environment", env), prop("publish", m.Net.Publish)})
	env = append(env, definition+p.Hash)
	p.Service = append(p.Service, prop("Environment", env))
	if p.Program != nil {
		p.Program = append(p.Program, prop("Environment", env))
	}
	p.Socket = append(p.Socket, prop("Listen", []listener{{"Stream", SocketPath(at.SocketDir, name)}}))
	if len(m.Net.Publish) > 0 && name == n.Name {
		p.Door = door(m, name, slice, at)
	}
	return p
}

func door(m *manifest.Manifest, name, slice string, at Place) *Door {
	d := &Door{Publish: m.Net.Publish}
	listen := []listener{}
	for _, addr := range m.Net.Publish {
		listen = append(listen, listener{"Stream", addr})
	}
	d.Socket = []Property{
		prop("Description", "door of "+name),
		prop("Listen", listen),
		prop("Backlog", uint32(4096)),
		prop("FreeBind", true), // the address may come up later than the cell
		prop("TriggerLimitIntervalUSec", uint64(0)),
		prop("CollectMode", "inactive-or-failed"),
		prop("Slice", slice),
		prop("DefaultDependencies", false),
	}
	d.Service = append(common(m, "door of "+name, slice),
		prop("Type", "exec"),
		prop("ExecStart", Command(at.Proxy, "--exit-idle-time=60s", SocketPath(at.SocketDir, name))),
		prop("SyslogIdentifier", name),
		prop("NoNewPrivileges", true),
		prop("ProtectSystem", "strict"),
		prop("ProtectHome", "tmpfs"),
		prop("PrivateTmp", true),
		prop("PrivateDevices", true),
		prop("PrivateNetwork", true),
		prop("CapabilityBoundingSet", uint64(0)),
		prop("SystemCallFilter", filter{true, []string{"@system-service"}}),
	)
	if at.User {
		d.Service = append(d.Service, prop("PrivateUsers", true))
	}
	if at.Owner != "" {
		d.Service = append(d.Service, prop("User", at.Owner))
	}
	return d
}

// definition is the variable that holds a definition's hash: systemd keeps it over a restart of celld.
const definition = "CELL_DEFINITION="

// doze is the variable of a program that celld puts to sleep, because it cannot do that itself.
const doze = "CELL_DOZE="

// DozeOf reads after which idle time celld puts a service to sleep, from its environment; 0 is never.
func DozeOf(env []string) time.Duration {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, doze); ok {
			d, _ := time.ParseDuration(v)
			return d
		}
	}
	return 0
}

// DefinitionOf reads the hash from a service's environment.
func DefinitionOf(env []string) string {
	for _, e := range env {
		if h, ok := strings.CutPrefix(e, definition); ok {
			return h
		}
	}
	return ""
}

func socket(m *manifest.Manifest, name, slice string, at Place) []Property {
	props := []Property{
		prop("Description", "socket of "+name),
		prop("SocketMode", uint32(0o600)),
		prop("Backlog", uint32(4096)),
		// A socket that fails refuses everybody: celld counts bad starts itself and decides when to give up.
		prop("TriggerLimitIntervalUSec", uint64(0)),
		prop("CollectMode", "inactive-or-failed"),
		prop("Slice", slice),
		// A cell's socket must outlive the targets of a session; celld opens and stops it.
		prop("DefaultDependencies", false),
	}
	if at.Owner != "" {
		props = append(props, prop("SocketUser", at.Owner))
	}
	return props
}

func environment(m *manifest.Manifest, name string) []string {
	env := []string{"CELL_STOP_WITHIN=" + m.Life.StopWithin.String()}
	if m.Life.IdleTimeout > 0 && !m.Life.Warm {
		env = append(env, "CELL_IDLE_TIMEOUT="+m.Life.IdleTimeout.String())
	}
	all, _ := m.Environ(name) // reading the manifest has tried it
	for k, v := range all {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	return env
}

// Program is the absolute path of the program that ExecStart names. A program in bin/ is named through run/exec, the
// link that an upgrade switches; any other is used in place. Programs of Cell itself, such as cell-http, are beside celld.
func Program(m *manifest.Manifest, at Place) string {
	if m.InBin() {
		return filepath.Join(m.Dir, "run/exec", strings.TrimPrefix(filepath.Clean(m.Exec[0]), "bin/"))
	}
	path, _ := m.Program(filepath.Dir(at.Helper))
	return path
}

func common(m *manifest.Manifest, description, slice string) []Property {
	return []Property{
		prop("Description", description),
		prop("Slice", slice),
		prop("CollectMode", "inactive-or-failed"),
		prop("Restart", m.Life.Restart),
		prop("RestartUSec", uint64(250_000)),
		prop("StartLimitIntervalUSec", uint64(0)),
		prop("TimeoutStartUSec", uint64(m.Life.ReadyWithin.Microseconds())),
		// A grace of half a second: the SDK ends its own drain within stop_within and says what was cut off.
		prop("TimeoutStopUSec", uint64((m.Life.StopWithin + 500*time.Millisecond).Microseconds())),
		prop("DefaultDependencies", false),
	}
}

func service(m *manifest.Manifest, name, slice string, at Place) []Property {
	typ := "exec"
	if m.Life.Ready == "notify" {
		typ = "notify"
	}
	program := Program(m, at)
	line, access := argv(m, program, name, at), "main"
	inside := m.Port > 0 && at.User // the proxy is inside of the unit: see celld serve-port
	if inside {
		line = append([]string{at.Helper, "serve-port", strconv.Itoa(m.Port), m.Life.Ready}, line...)
		typ = "notify"
		if m.Life.Ready == "notify" {
			access = "all" // it is the program's to say
		}
	}
	props := append(common(m, name, slice),
		prop("Type", typ),
		prop("ExecStart", Command(line[0], line[1:]...)),
		prop("WorkingDirectory", m.Dir),
		prop("SyslogIdentifier", name),
		prop("UMask", uint32(0o022)),
	)
	props = append(props, files(m)...)
	if typ == "notify" {
		props = append(props, prop("NotifyAccess", access), prop("FileDescriptorStoreMax", uint32(64)))
	}
	if m.Speaks == "cell" {
		props = append(props, prop("WatchdogUSec", uint64(30_000_000)))
	}
	if m.Life.Ready == "port" && !inside {
		props = append(props, prop("ExecStartPost", Command(at.Helper, "wait-port", strconv.Itoa(m.Port))))
	}
	if m.Port > 0 && !inside {
		props = append(props, prop("StopWhenUnneeded", true))
	}
	return append(props, membrane(m, at)...)
}

// Descriptors of a program that says nothing: what it has, and what it may ask for. systemd's own 1024 is for programs that call
// select(2), which no server of today does. A manager that has less gives what it has.
const (
	softFiles = 65536
	hardFiles = 524288
)

// Files is how many descriptors the program of a cell has.
func Files(m *manifest.Manifest) uint64 {
	if m.Resources.Files > 0 {
		return uint64(m.Resources.Files)
	}
	return softFiles
}

func files(m *manifest.Manifest) []Property {
	soft, hard := Files(m), uint64(hardFiles)
	if m.Resources.Files > 0 {
		hard = soft
	}
	return []Property{prop("LimitNOFILE", hard), prop("LimitNOFILESoft", soft)}
}

// proxy stands in front of a program that insists on a port: the socket's connections go to the port in the program's
// own network, and when none is left for the idle time both end.
func proxy(m *manifest.Manifest, name, slice string, at Place) []Property {
	var args []string
	if m.Life.IdleTimeout > 0 && !m.Life.Warm {
		args = append(args, fmt.Sprintf("--exit-idle-time=%ds", max(1, int(m.Life.IdleTimeout.Seconds()))))
	}
	args = append(args, "127.0.0.1:"+strconv.Itoa(m.Port))
	props := append(common(m, fmt.Sprintf("%s (proxy to port %d of %s)", name, m.Port, ProgramUnit(name)), slice),
		prop("Type", "exec"),
		prop("ExecStart", Command(at.Proxy, args...)),
		prop("SyslogIdentifier", name),
		prop("WorkingDirectory", m.Dir),
	)
	return append(dependOn(props, name), membrane(m, at)...)
}

// dependOn ties a proxy to the program of an instance.
func dependOn(props []Property, name string) []Property {
	out := []Property{}
	for _, p := range props {
		switch p.Name {
		case "BindsTo", "After", "JoinsNamespaceOf":
		default:
			out = append(out, p)
		}
	}
	program := []string{ProgramUnit(name)}
	return append(out, prop("BindsTo", program), prop("After", program), prop("JoinsNamespaceOf", program))
}
