package celld

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cell-network/cell/celld/systemd"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

// phase names the state of an instance for people.
func phase(st *systemd.State) string {
	switch {
	case st == nil || (st.Trigger != "active" && st.Service != "active" && st.Service != "activating"):
		return "stopped"
	case st.ServiceSub == "auto-restart" || st.Service == "failed":
		return "failed"
	case st.Job && st.Service == "activating":
		return "running"
	case st.Service == "active", st.Service == "reloading":
		return "ready"
	case st.Service == "activating":
		return "starting"
	case st.Service == "deactivating":
		return "stopping"
	}
	if st.Job {
		return "waiting"
	}
	return "sleeping"
}

// reason says why a service ended, in words for people; the results are those of systemd.service(5), $SERVICE_RESULT.
func reason(st *systemd.State) string {
	switch st.Result {
	case "oom-kill":
		if st.MemoryMax > 0 {
			return "killed: over its " + people(st.MemoryMax) + " of memory"
		}
		return "killed: the machine was out of memory"
	case "timeout":
		return "it was not ready, or did not stop, in time"
	case "protocol":
		return "it ended before it was ready"
	case "watchdog":
		return "killed: it hung (no watchdog sign)"
	case "resources":
		return "systemd could not set it up; see its log"
	case "exit-code":
		switch st.Status {
		case 203:
			return "its program cannot be run (is it built, and executable?)"
		case 200:
			return "its directory is not there"
		case 226:
			return "it could not be sealed; see its log"
		}
		return fmt.Sprintf("exit %d", st.Status)
	case "signal", "core-dump":
		return "killed: " + syscall.Signal(st.Status).String()
	case "success", "":
		return "it ended by itself"
	}
	return st.Result
}

// people writes "64 MB".
func people(n uint64) string {
	s := manifest.FormatBytes(int64(n))
	if unit := s[len(s)-1:]; unit != "B" {
		return s[:len(s)-1] + " " + unit + "B"
	}
	return s
}

// why explains a cell that does not answer.
func (s *Server) why(ctx context.Context, name string) string {
	if h := s.healthOf(name); h.gaveUp {
		return "given up after " + fmt.Sprint(h.bad) + " bad starts: " + h.text
	}
	cells, err := s.List(ctx, name)
	if err != nil || len(cells) == 0 {
		return "there is no such replica"
	}
	for _, c := range cells {
		if c.Name == name {
			return "it is " + c.State
		}
	}
	return "there is no such replica"
}

// List describes the named cell and its subtree, or all.
func (s *Server) List(ctx context.Context, name string) ([]api.Cell, error) {
	want := func(string) bool { return true }
	if name != "" {
		want = below(name)
		if _, _, err := s.rootOf(name); err != nil {
			return nil, err
		}
		if unit.Base(name) != name {
			want = func(n string) bool { return n == name }
		}
	}
	states, err := s.seen(ctx, want, s.Systemd.Detail)
	if err != nil {
		return nil, err
	}
	out := []api.Cell{}
	listed := map[string]bool{}
	for root, r := range s.Store.Roots() {
		tree, errs := s.loadTree(r.Dir, r.Owner)
		if len(errs) > 0 {
			if states[root] == nil && want(root) {
				c := describe(root, r.Dir, nil, health{})
				c.Note = unreadable(r.Dir, errs)
				out = append(out, c)
				listed[root] = true
			}
			continue
		}
		for _, n := range tree.Nodes {
			for _, inst := range unit.Instances(n) {
				if want(inst) {
					listed[inst] = true
					c := describe(inst, n.Manifest.Dir, states[inst], s.healthOf(inst))
					c.Job = n.Manifest.Speaks == "job"
					if c.Job && c.State != "stopped" {
						s.scheduled(ctx, &c)
					}
					c.Version, c.Needs, c.Callers, c.Calls = n.Manifest.Version, s.needsOf(inst), s.callersOf(n.Name), s.calls(inst, states[inst], time.Now())
					if at, ok := r.Retired[n.Name]; ok && c.State == "stopped" {
						c.Note = "retired " + time.Unix(at, 0).Format(time.DateOnly) + ": nobody called it"
					} else if keepsOld(tree, n) && c.Note == "" && len(c.Callers) > 0 {
						c.Note = "for callers of its version: " + strings.Join(c.Callers, ", ")
					}
					out = append(out, c)
				}
			}
		}
	}
	for inst, st := range states {
		if listed[inst] || strings.HasSuffix(inst, unit.BridgeSuffix) {
			continue
		}
		c := describe(inst, st.Dir, st, s.healthOf(inst))
		if _, err := os.Stat(st.Dir); err != nil {
			c.Note = "its directory is gone"
		}
		out = append(out, c)
	}
	if name != "" && len(out) == 0 {
		return nil, failure(api.ErrNotFound, "no cell %q is known here", name)
	}
	slices.SortFunc(out, func(a, b api.Cell) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// keepsOld tells whether a cell is an older major version that is kept beside another one for its callers.
func keepsOld(tree *manifest.Tree, n *manifest.Node) bool {
	i := strings.LastIndex(n.Name, "-v")
	return i > 0 && tree.Find(n.Name[:i]) != nil
}

func unreadable(dir string, errs manifest.Errors) string {
	if _, err := os.Stat(dir); err != nil {
		return "its directory is gone"
	}
	return errs[0].Msg
}

func describe(name, dir string, st *systemd.State, h health) api.Cell {
	c := api.Cell{Name: name, Dir: dir, Unit: unit.ServiceUnit(name), State: phase(st)}
	if h.gaveUp {
		c.State = "failed"
	}
	if st != nil {
		c.PID, c.Memory, c.MemoryMax = uint64(st.PID), st.Memory, st.MemoryMax
		c.Tasks, c.TasksMax, c.Since = st.Tasks, st.TasksMax, st.Since
	}
	switch {
	case h.gaveUp:
		c.Note = fmt.Sprintf("given up after %d bad starts: %s", h.bad, h.text)
	case c.State == "failed":
		c.Note = reason(st)
	case h.text != "" && time.Since(h.at) < time.Hour && c.State != "stopped":
		c.Note = fmt.Sprintf("restarted: %s, %s ago", h.text, time.Since(h.at).Truncate(time.Second))
	case c.State == "sleeping":
		c.Note = "wakes on the first call"
	}
	return c
}
