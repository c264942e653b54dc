package unit

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cell-network/cell/membrane/spec"
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

type listener struct{ Type, Address string }

func pair(n *manifest.Node, name string, at Place) Pair {
	m := n.Manifest
	p := Pair{Name: name, Manifest: m, Limits: Limits(m, 1)}
	for a := n; a != nil; a = a.Parent {
		p.Slices = append([]Slice{{SliceName(a.Name), Limits(a.Manifest, a.Replicas)}}, p.Slices...)
	}
	slice := SliceName(n.Name)
	if p.Job() {
		p.Timer = timer(m, name)
	} else {
		p.Socket = socket(m, name, slice, at)
	}
	env := environment(m, name, at)
	for _, need := range m.Needs {
		if need.Port > 0 {
			env = append(env, "CELL_NEED_"+strings.ToUpper(strings.ReplaceAll(need.Name, "-", "_"))+"="+spec.NeedsAt+"/"+need.Name+".sock")
		}
	}
	p.Seal = membrane(m, name, at, env)
	p.Service = service(m, name, slice, at, p.Seal)
	if m.Speaks != "cell" && m.Life.IdleTimeout > 0 && !m.Life.Warm {
		env = append(env, doze+m.Life.IdleTimeout.String())
	}
	rest := []Property{prop("Environment", env), prop("publish", m.Net.Publish)}
	if g := m.Resources.GPU; g != nil {
		rest = append(rest, prop("gpu", fmt.Sprint(*g))) // what is asked for; what is granted changes nothing
	}
	p.Hash = hash(p.Socket, p.Timer, p.Service, rest)
	env = append(env, definition+p.Hash)
	p.Service = append(p.Service, prop("Environment", env))
	if !p.Job() {
		p.Socket = append(p.Socket, prop("Listen", []listener{{"Stream", SocketPath(at.SocketDir, name)}}))
	}
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

// never is a calendar event that has passed: systemd refuses a timer that has none.
const never = "1970-01-01 00:00:00 UTC"

// calendar is an element of TimersCalendar.
type calendar struct{ Base, Event string }

// timer runs a job. While the job runs the timer does nothing, and afterwards it runs at once for what it missed, once.
func timer(m *manifest.Manifest, name string) []Property {
	props := []Property{
		prop("Description", "schedule of "+name),
		prop("AccuracyUSec", uint64(1_000_000)), // systemd's own minute is for machines that want to stay asleep
		prop("CollectMode", "inactive-or-failed"),
		prop("DefaultDependencies", false),
	}
	if m.Life.Schedule == "" {
		return append(props, prop("TimersCalendar", []calendar{{"OnCalendar", never}}))
	}
	return append(props, prop("TimersCalendar", []calendar{{"OnCalendar", m.Life.Schedule}}), prop("Persistent", true))
}

func environment(m *manifest.Manifest, name string, at Place) []string {
	env := []string{"CELL_STOP_WITHIN=" + m.Life.StopWithin.String(), "CELL_BROKER=" + filepath.Join(spec.Broker, "celld.sock")}
	if m.Life.IdleTimeout > 0 && !m.Life.Warm {
		env = append(env, "CELL_IDLE_TIMEOUT="+m.Life.IdleTimeout.String())
	}
	all, _ := seen(m, at).Environ(name) // reading the manifest has tried it
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
	path, _ := m.Program(at.Programs)
	return path
}

func common(m *manifest.Manifest, description, slice string) []Property {
	within := uint64(m.Life.ReadyWithin.Microseconds())
	if m.Speaks == "job" {
		within = ^uint64(0)
	}
	return []Property{
		prop("Description", description),
		prop("Slice", slice),
		prop("CollectMode", "inactive-or-failed"),
		prop("Restart", m.Life.Restart),
		prop("RestartUSec", uint64(250_000)),
		prop("StartLimitIntervalUSec", uint64(0)),
		prop("TimeoutStartUSec", within),
		// A grace of half a second: the SDK ends its own drain within stop_within and says what was cut off.
		prop("TimeoutStopUSec", uint64((m.Life.StopWithin + 500*time.Millisecond).Microseconds())),
		prop("DefaultDependencies", false),
	}
}

func service(m *manifest.Manifest, name, slice string, at Place, seal *spec.Spec) []Property {
	access := "main"
	if seal.Ready {
		access = "all" // it is not the main process that says it
	}
	kind := "notify"
	if m.Speaks == "job" {
		kind = "oneshot" // its start is its whole run: what systemd writes of its end, timers and callers wait for that
	}
	props := append(common(m, name, slice),
		prop("Type", kind),
		prop("ExecStart", Command(filepath.Join(at.Programs, "cell-membrane"), seal.Args()...)),
		prop("WorkingDirectory", m.Dir),
		prop("SyslogIdentifier", name),
		prop("UMask", uint32(0o022)),
		prop("NotifyAccess", access),
		prop("KillSignal", int32(m.Life.StopSignal)),
	)
	props = append(props, files(m)...)
	if m.Life.Ready == "notify" {
		props = append(props, prop("FileDescriptorStoreMax", uint32(64)))
	}
	if m.Speaks == "cell" {
		props = append(props, prop("WatchdogUSec", uint64(30_000_000)))
	}
	if at.Owner != "" {
		props = append(props, prop("User", at.Owner), prop("NoNewPrivileges", true))
	}
	return props
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
