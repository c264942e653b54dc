package celld

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cell-network/cell/celld/systemd"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/membrane/spec"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

// Explain says what a cell asks for and what of it holds. "Enforced" is what a probe saw, the controllers of the cell's
// control group and what is refused inside of its membrane, and never merely that systemd accepted a property.
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
	st := &systemd.State{Name: name}
	if err := s.Systemd.Detail(ctx, st); err != nil {
		return nil, err
	}
	rules := append(unitRules(p), needRules(p)...)
	rules = append(rules, s.limitRules(p, st)...)
	rules = append(rules, s.gpuRule(p, st)...)
	at, err := s.place(p.Manifest.Dir, r.Owner)
	if err != nil {
		return nil, err
	}
	return append(rules, s.membraneRules(ctx, p, at)...), nil
}

func unitRules(p unit.Pair) []api.Rule {
	rule := func(name, what string) api.Rule { return api.Rule{Group: "units", What: name, Requested: what} }
	rules := []api.Rule{
		rule(p.Trigger(), starts(p)),
		rule(unit.ServiceUnit(p.Name), strings.Join(p.Manifest.Exec, " ")),
	}
	if p.Door != nil {
		rules = append(rules, rule(unit.DoorSocket(p.Name), "opens "+strings.Join(p.Door.Publish, ", ")))
	}
	if h := p.Manifest.Life.Health; h != nil {
		rules = append(rules, api.Rule{Group: "units", What: "health", Requested: checks(h)})
	}
	return append(rules, rule(unit.SliceName(unit.Base(p.Name)), "bounds the cell and its children"))
}

// checks says how a health is looked at.
func checks(h *manifest.Health) string {
	what := "connect"
	switch {
	case h.HTTP != "":
		what = "GET " + h.HTTP
	case len(h.Command) > 0:
		what = strings.Join(h.Command, " ")
	}
	return fmt.Sprintf("%s every %v, at most %v, again after %d failures", what, h.Interval, h.Timeout, h.Failures)
}

// starts says what the unit before the service does.
func starts(p unit.Pair) string {
	switch {
	case !p.Job():
		return "listens for callers"
	case p.Manifest.Life.Schedule == "":
		return "no schedule: cell start " + p.Name
	}
	return "runs it: " + p.Manifest.Life.Schedule
}

// needRules are the names by which a program without the SDK reaches other cells.
func needRules(p unit.Pair) (rules []api.Rule) {
	for _, n := range p.Seal.Needs {
		r := api.Rule{Group: "needs", What: fmt.Sprintf("%s:%d", n.Host, n.Port), Requested: "cell " + n.Name, By: "cell-inside", Enforced: "–"} // nothing tries it
		rules = append(rules, r)
	}
	for _, h := range p.Seal.Hosts {
		rules = append(rules, api.Rule{Group: "needs", What: h, Requested: "host outside", By: "cell-inside", Enforced: "–"})
	}
	return rules
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

// probing is how long a probe may take: it is some dozen system calls, but the machine may be slow.
const probing = 30 * time.Second

// membraneRules says of each rule whether it holds: a probe has tried to break it, sealed as the cell is.
func (s *Server) membraneRules(ctx context.Context, p unit.Pair, at unit.Place) []api.Rule {
	m := p.Manifest
	requested := map[string]string{
		spec.Files: "its directory, /usr, what programs need of /etc", spec.Processes: "its own", spec.Network: "none", spec.Sockets: "the broker's",
		spec.Memory: "its own", spec.Rights: "none", spec.Devices: "null, zero, full, random, tty", spec.Spaces: "as they are", spec.Groups: "read-only",
		spec.Calls: "those of a service",
	}
	if m.Net.Internet {
		requested[spec.Network] = "the machine's"
	}
	if m.User == "root" {
		requested[spec.Rights] = "those of user 0 of its own users"
	}
	if m.Resources.GPU != nil {
		requested[spec.Devices] += ", its GPUs"
	}
	if len(m.Paths) > 0 {
		requested[spec.Files] += fmt.Sprintf(", %d of [paths]", len(m.Paths))
	}
	results, err := s.probe(ctx, p, at)
	var rules []api.Rule
	for _, name := range spec.Rules {
		r := api.Rule{Group: "membrane", What: name, Requested: requested[name], By: "–"}
		var by, broken []string
		tried := 0
		for _, x := range results {
			if x.Rule != name || x.Skipped {
				continue
			}
			tried++
			for who := range strings.SplitSeq(x.By, ", ") {
				if !slices.Contains(by, who) {
					by = append(by, who)
				}
			}
			if !x.Held() {
				broken = append(broken, x.What)
			}
		}
		switch {
		case err != nil:
			r.Enforced = "not known: " + err.Error()
		case len(broken) > 0:
			r.Enforced = "no: " + strings.Join(broken, ", ")
		default:
			r.Enforced = fmt.Sprintf("yes: %d attempts refused", tried)
		}
		if len(by) > 0 {
			r.By = strings.Join(by, ", ")
		}
		rules = append(rules, r)
	}
	return rules
}

func (s *Server) probe(ctx context.Context, p unit.Pair, at unit.Place) ([]spec.Result, error) {
	host, _ := os.Hostname()
	w := spec.World{Dir: p.Manifest.Dir, Internet: p.Manifest.Net.Internet, Root: p.Manifest.User == "root", PID: os.Getpid(), Host: host}
	for name, r := range s.Store.Roots() {
		if name != unit.Base(p.Name) && !strings.HasPrefix(p.Name, name+".") {
			w.Neighbour, w.Socket = r.Dir, unit.SocketPath(s.SocketDir, name)
		}
	}
	world, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, probing)
	defer cancel()
	name, props := unit.Probe(p, at, string(world))
	out, said, err := s.Systemd.Output(ctx, name, props)
	if text := strings.TrimSpace(string(said)); err != nil && text != "" {
		return nil, errors.New(lastLine(text))
	}
	if err != nil {
		return nil, err
	}
	var results []spec.Result
	if err := json.Unmarshal(out, &results); err != nil {
		return nil, fmt.Errorf("the probe says nothing (%s)", strings.TrimSpace(string(said)))
	}
	return results, nil
}

func cause(err error) string {
	if i := strings.LastIndex(err.Error(), ": "); i >= 0 {
		return err.Error()[i+2:]
	}
	return err.Error()
}
