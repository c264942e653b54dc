package systemd

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/celld/unit"
)

// State is what systemd says of an instance. Times are microseconds UTC, sizes bytes; a zero maximum is none.
type State struct {
	Name            string
	Trigger         string // ActiveState of the socket, or of a job's timer
	Service         string // ActiveState
	Job             bool
	ServiceSub      string
	Result          string
	PID             uint32
	Restarts        uint32 // by systemd itself, since the unit was made
	Code, Status    int32  // how and with which status or signal the last main process ended
	Hash            string
	Dir             string
	Memory          uint64
	MemoryMax       uint64
	Tasks           uint64
	TasksMax        uint64
	CPU             uint64 // nanoseconds used
	CPUMax          uint64 // microseconds per second
	IOWeight        uint64
	Since           uint64
	Run             string // of its runs, the last one's identity (systemd.exec(5), INVOCATION_ID)
	Started, Exited uint64 // of the last main process, which the launcher of a run is before the program
	ControlGroup    string
	GPU             []string      // grants of devices
	Idle            time.Duration // after which it goes to sleep by itself; 0: never
}

// listed is an element of ListUnitsByPatterns' answer.
type listed struct {
	Name, Description, Load, Active, Sub, Following string
	Path                                            dbus.ObjectPath
	JobID                                           uint32
	JobType                                         string
	JobPath                                         dbus.ObjectPath
}

// Slices lists the loaded slices of a cell and its subtree.
func (c *Conn) Slices(ctx context.Context, name string) ([]string, error) {
	own := unit.SliceName(name)
	below := strings.ReplaceAll(strings.TrimSuffix(own, ".slice"), `\`, `\\`) + "-*.slice" // a backslash quotes in patterns
	var units []listed
	patterns := []string{strings.ReplaceAll(own, `\`, `\\`), below}
	if err := c.mgr.CallWithContext(ctx, managerIf+".ListUnitsByPatterns", 0, []string{}, patterns).Store(&units); err != nil {
		return nil, fmt.Errorf("list slices: %w", err)
	}
	out := make([]string, len(units))
	for i, u := range units {
		out[i] = u.Name
	}
	return out, nil
}

// List reads all instances that have a loaded unit.
func (c *Conn) List(ctx context.Context) (map[string]*State, error) {
	var units []listed
	if err := c.mgr.CallWithContext(ctx, managerIf+".ListUnitsByPatterns", 0, []string{}, unit.Patterns()).Store(&units); err != nil {
		return nil, fmt.Errorf("list units: %w", err)
	}
	out := map[string]*State{}
	for _, u := range units {
		name, ok := unit.NameOf(u.Name)
		if !ok || u.Load != "loaded" {
			continue
		}
		s := out[name]
		if s == nil {
			s = &State{Name: name, Trigger: "inactive", Service: "inactive"}
			out[name] = s
		}
		switch u.Name {
		case unit.SocketUnit(name):
			s.Trigger = u.Active
		case unit.TimerUnit(name):
			s.Trigger, s.Job = u.Active, true
		case unit.ServiceUnit(name):
			s.Service, s.ServiceSub = u.Active, u.Sub
		}
	}
	return out, nil
}

func (c *Conn) all(ctx context.Context, name, iface string) (map[string]dbus.Variant, error) {
	var m map[string]dbus.Variant
	err := c.bus.Object(busName, dbus.ObjectPath(unitPath+escape(name))).CallWithContext(ctx, propsIf+".GetAll", 0, iface).Store(&m)
	if err != nil {
		return nil, fmt.Errorf("properties of %s: %w", name, err)
	}
	return m, nil
}

// One reads one property of a unit; iface is "Unit", "Service", "Socket" or "Slice".
func (c *Conn) One(ctx context.Context, name, iface, property string) (any, error) {
	var v dbus.Variant
	err := c.bus.Object(busName, dbus.ObjectPath(unitPath+escape(name))).
		CallWithContext(ctx, propsIf+".Get", 0, busName+"."+iface, property).Store(&v)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", property, name, err)
	}
	return v.Value(), nil
}

// Listens is what a socket unit listens on, in its order.
func (c *Conn) Listens(ctx context.Context, name string) []string {
	v, err := c.One(ctx, name, "Socket", "Listen")
	list, ok := v.([][]any)
	if err != nil || !ok {
		return nil
	}
	var out []string
	for _, l := range list {
		if len(l) == 2 {
			if addr, ok := l[1].(string); ok {
				out = append(out, addr)
			}
		}
	}
	return out
}

// Times are when a job ran last and runs next, in microseconds UTC; 0 is never.
func (c *Conn) Times(ctx context.Context, name string) (last, next uint64) {
	for property, to := range map[string]*uint64{"LastTriggerUSec": &last, "NextElapseUSecRealtime": &next} {
		if v, err := c.One(ctx, unit.TimerUnit(name), "Timer", property); err == nil {
			*to = bounded(dbus.MakeVariant(v))
		}
	}
	return last, next
}

// Definition fills the hash and directory of an instance, which is all that a plan needs beside List.
func (c *Conn) Definition(ctx context.Context, s *State) error {
	env, err := c.One(ctx, unit.ServiceUnit(s.Name), "Service", "Environment")
	if err != nil {
		return err
	}
	list, _ := env.([]string)
	s.Hash, s.GPU = unit.DefinitionOf(list), unit.GrantsOf(list)
	for _, e := range list {
		if d, ok := strings.CutPrefix(e, "CELL_DIR="); ok {
			s.Dir = d
		}
	}
	return nil
}

// Detail fills everything that List leaves out.
func (c *Conn) Detail(ctx context.Context, s *State) error {
	name := unit.ServiceUnit(s.Name)
	// In this order: of a unit that has ended the reason is there.
	u, err := c.all(ctx, name, busName+".Unit")
	if err != nil {
		return err
	}
	svc, err := c.all(ctx, name, busName+".Service")
	if err != nil {
		return err
	}
	str := func(m map[string]dbus.Variant, key string) string { v, _ := m[key].Value().(string); return v }
	num := func(key string) uint64 { return bounded(svc[key]) }
	s.Service, s.ServiceSub = str(u, "ActiveState"), str(u, "SubState")
	by, _ := u["TriggeredBy"].Value().([]string)
	s.Job = slices.Contains(by, unit.TimerUnit(s.Name))
	s.Since, _ = u["StateChangeTimestamp"].Value().(uint64)
	id, _ := u["InvocationID"].Value().([]byte)
	s.Run = hex.EncodeToString(id)
	s.Result, s.Dir, s.ControlGroup = str(svc, "Result"), str(svc, "WorkingDirectory"), str(svc, "ControlGroup")
	s.PID, _ = svc["MainPID"].Value().(uint32)
	s.Restarts, _ = svc["NRestarts"].Value().(uint32)
	s.Code, _ = svc["ExecMainCode"].Value().(int32)
	s.Status, _ = svc["ExecMainStatus"].Value().(int32)
	s.Memory, s.MemoryMax = num("MemoryCurrent"), num("MemoryMax")
	s.Tasks, s.TasksMax = num("TasksCurrent"), num("TasksMax")
	s.CPU, s.CPUMax, s.IOWeight = num("CPUUsageNSec"), num("CPUQuotaPerSecUSec"), num("IOWeight")
	s.Started, s.Exited = num("ExecMainStartTimestamp"), num("ExecMainExitTimestamp")
	env, _ := svc["Environment"].Value().([]string)
	s.Hash, s.GPU = unit.DefinitionOf(env), unit.GrantsOf(env)
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "CELL_IDLE_TIMEOUT="); ok {
			s.Idle, _ = time.ParseDuration(v)
		}
	}
	return nil
}

// bounded reads a counter; systemd writes "none" as the largest number.
func bounded(v dbus.Variant) uint64 {
	n, _ := v.Value().(uint64)
	if n == ^uint64(0) {
		return 0
	}
	return n
}
