package celld

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cell-network/cell/celld/systemd"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

// Explain says what a cell asks for and what of it holds. "Enforced" is what a probe saw, the controllers of the cell's
// control group and the namespaces of its process, and never merely that systemd accepted a property.
func (s *Server) Explain(ctx context.Context, name string) ([]api.Rule, error) {
	root, r, err := s.rootOf(name)
	if err != nil {
		return nil, err
	}
	f, err := s.load(r.Dir, r.Owner)
	if err != nil {
		return nil, err
	}
	p, ok := f.pairs[name]
	if !ok {
		return nil, failure(api.ErrNotFound, "%s has no cell %q", root, name)
	}
	st := &systemd.State{Name: name, Proxied: p.Program != nil}
	if err := s.Systemd.Detail(ctx, st); err != nil {
		return nil, err
	}
	rules := unitRules(p)
	rules = append(rules, s.limitRules(p, st)...)
	return append(rules, s.sandboxRules(p, st, r.Owner)...), nil
}

func unitRules(p unit.Pair) []api.Rule {
	rule := func(name, what string) api.Rule { return api.Rule{Group: "units", What: name, Requested: what} }
	rules := []api.Rule{
		rule(unit.SocketUnit(p.Name), "listens for callers"),
		rule(unit.ServiceUnit(p.Name), strings.Join(p.Manifest.Exec, " ")),
	}
	if p.Program != nil {
		rules[1].Requested = "proxy to port " + strconv.Itoa(p.Manifest.Port)
		rules = append(rules, rule(unit.ProgramUnit(p.Name), strings.Join(p.Manifest.Exec, " ")))
	}
	if p.Door != nil {
		rules = append(rules, rule(unit.DoorSocket(p.Name), "opens "+strings.Join(p.Door.Publish, ", ")))
	}
	return append(rules, rule(unit.SliceName(unit.Base(p.Name)), "bounds the cell and its children"))
}

const cgroupRoot = "/sys/fs/cgroup"

// controllers are those of the nearest control group above a unit that exists; a sleeping unit has none of its own.
func controllers(group string) map[string]bool {
	out := map[string]bool{}
	for dir := filepath.Join(cgroupRoot, group); ; dir = filepath.Dir(dir) {
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err == nil {
			for _, c := range strings.Fields(string(data)) {
				out[c] = true
			}
			return out
		}
		if len(dir) <= len(cgroupRoot) {
			return out
		}
	}
}

func (s *Server) limitRules(p unit.Pair, st *systemd.State) []api.Rule {
	group := st.ControlGroup
	if group == "" {
		if data, err := os.ReadFile("/proc/self/cgroup"); err == nil {
			_, group, _ = strings.Cut(strings.TrimSpace(lastLine(string(data))), "::")
			group = filepath.Dir(group)
		}
	}
	have := controllers(group)
	r, by := p.Manifest.Resources, unit.SliceName(unit.Base(p.Name))
	size := func(n int64) string {
		if n == 0 {
			return ""
		}
		return manifest.FormatBytes(n)
	}
	cpu, tasks, weight := "", "", ""
	if r.CPUMax > 0 {
		cpu = fmt.Sprintf("%g cores", r.CPUMax)
	}
	if r.Tasks > 0 {
		tasks = strconv.Itoa(r.Tasks)
	}
	if r.IOWeight > 0 {
		weight = strconv.Itoa(r.IOWeight)
	}
	var rules []api.Rule
	for _, l := range []struct{ what, requested, controller string }{
		{"memory", size(r.MemoryMax), "memory"},
		{"memory, kept free for it", size(r.MemoryMin), "memory"},
		{"cpu", cpu, "cpu"},
		{"tasks", tasks, "pids"},
		{"io read", size(r.IORead), "io"},
		{"io write", size(r.IOWrite), "io"},
		{"io weight", weight, "io"},
	} {
		rule := api.Rule{Group: "limits", What: l.what, Requested: l.requested, By: by, Enforced: "yes"}
		switch {
		case l.requested == "":
			rule.Requested, rule.By, rule.Enforced = "–", "–", "–"
		case !have[l.controller]:
			rule.Enforced = "no: the " + l.controller + " controller is not available here"
		}
		rules = append(rules, rule)
	}
	storage := api.Rule{Group: "limits", What: "storage", Requested: "–", By: "–", Enforced: "–"}
	if r.StorageMax > 0 {
		storage.Requested, storage.By = size(r.StorageMax), "project quota"
		storage.Enforced = storageEnforced(p.Manifest.Dir, r.StorageMax)
	}
	return append(rules, filesRule(p, st), storage)
}

// filesRule compares the limit of a process with what its unit asks for: a manager cannot give more than it has itself.
func filesRule(p unit.Pair, st *systemd.State) api.Rule {
	want := unit.Files(p.Manifest)
	rule := api.Rule{Group: "limits", What: "open files", Requested: strconv.FormatUint(want, 10), By: "LimitNOFILE", Enforced: "yes"}
	if st.PID == 0 {
		rule.Enforced = "asleep: nothing to probe"
		return rule
	}
	switch has, err := openFiles(int(st.PID)); {
	case err != nil:
		rule.Enforced = "not known: " + cause(err)
	case has < want:
		rule.Enforced = fmt.Sprintf("%d: the manager itself may have no more", has)
	}
	return rule
}

// openFiles is how many descriptors a process may have (proc(5), limits). prlimit(2) would want a capability for another user's.
func openFiles(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 3 && strings.HasPrefix(line, "Max open files") {
			return strconv.ParseUint(f[3], 10, 64)
		}
	}
	return 0, fmt.Errorf("it says nothing of open files")
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func (s *Server) sandboxRules(p unit.Pair, st *systemd.State, owner int) []api.Rule {
	var rules []api.Rule
	add := func(what, requested, by string, probe func(pid int) string) {
		r := api.Rule{Group: "sandbox", What: what, Requested: requested, By: by}
		switch {
		case requested == "–":
			r.By, r.Enforced = "–", "–"
		case s.Systemd.Unknown(by):
			r.Enforced = "no: this systemd (" + s.Systemd.Version() + ") does not know it"
		case st.PID == 0:
			r.Enforced = "asleep: nothing to probe"
		default:
			r.Enforced = probe(int(st.PID))
		}
		rules = append(rules, r)
	}
	network := "none"
	if p.Manifest.Net.Internet {
		network = "–"
	}
	// A process shows its namespaces to those of its own user.
	differs := func(ns string) func(pid int) string {
		return func(pid int) (seen string) {
			if err := s.as(owner, func() { seen = differs(pid, ns) }); err != nil {
				return "not known: " + cause(err)
			}
			return seen
		}
	}
	add("network", network, "PrivateNetwork", differs("net"))
	add("system", "read-only", "ProtectSystem", func(pid int) string {
		return mounted(pid, func(_, theirs mounts) bool { return theirs["/"].readOnly })
	})
	add("homes of others", "hidden", "ProtectHome", func(pid int) string { return covered(pid, "/home", "/root", "/run/user") })
	add("temporary files", "its own", "PrivateTmp", func(pid int) string { return covered(pid, "/tmp") })
	add("devices", "none", "PrivateDevices", func(pid int) string { return covered(pid, "/dev") })
	add("new rights", "none", "NoNewPrivileges", func(pid int) string { return statusIs(pid, "NoNewPrivs", "1") })
	add("capabilities", "none", "CapabilityBoundingSet", func(pid int) string { return statusIs(pid, "CapBnd", "0000000000000000") })
	add("system calls", "@system-service", "SystemCallFilter", func(pid int) string { return statusIs(pid, "Seccomp", "2") })
	user := "–"
	if s.User {
		user = "its own namespace"
	}
	add("user ids", user, "PrivateUsers", differs("user"))
	return rules
}

const notApplied = "no: systemd did not apply it"

// differs compares a process's namespace with celld's own, which is the manager's for those that are asked for here.
func differs(pid int, ns string) string {
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
	if err != nil {
		return "not known: " + cause(err)
	}
	own, err := os.Readlink("/proc/self/ns/" + ns)
	switch {
	case err != nil:
		return "not known: " + cause(err)
	case own == theirs:
		return notApplied
	}
	return "yes"
}

// mounts are what a process sees mounted, by mount point.
type mounts map[string]mount

type mount struct {
	device, root string // of the file system, and which directory of it
	readOnly     bool
}

// mountsOf reads the mounts of a process, of which everybody may know (proc(5), mountinfo).
func mountsOf(pid int) (mounts, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return nil, err
	}
	all := mounts{}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 5 { // of several at one place the last one is seen
			all[f[4]] = mount{f[2], f[3], f[5] == "ro" || strings.HasPrefix(f[5], "ro,")}
		}
	}
	return all, nil
}

// mounted compares what a process sees mounted with what the manager does, whose child celld is: celld has mounts of its own.
func mounted(pid int, holds func(managers, theirs mounts) bool) string {
	theirs, err := mountsOf(pid)
	if err != nil {
		return "not known: " + cause(err)
	}
	managers, err := mountsOf(os.Getppid())
	switch {
	case err != nil:
		return "not known: " + cause(err)
	case !holds(managers, theirs):
		return notApplied
	}
	return "yes"
}

// covered tells whether a process sees something else at each of the places that there are.
func covered(pid int, places ...string) string {
	return mounted(pid, func(managers, theirs mounts) bool {
		for _, place := range places {
			there, ok := theirs[place]
			if _, err := os.Stat(place); err == nil && (!ok || there.device == managers[place].device && there.root == managers[place].root) {
				return false
			}
		}
		return true
	})
}

// statusIs compares a line of /proc/PID/status (proc(5)).
func statusIs(pid int, key, want string) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "not known: " + cause(err)
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, key+":"); ok {
			if strings.TrimSpace(v) == want {
				return "yes"
			}
			return notApplied
		}
	}
	return "not known: the kernel does not say"
}

func cause(err error) string {
	if i := strings.LastIndex(err.Error(), ": "); i >= 0 {
		return err.Error()[i+2:]
	}
	return err.Error()
}
