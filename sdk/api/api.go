//go:generate sh -c "go run ../../internal/bindgen network.cell.Manager1.xml > manager_gen.go.new && mv manager_gen.go.new manager_gen.go"
//go:generate sh -c "go run ../../internal/bindgen network.cell.Net1.xml > net_gen.go.new && mv net_gen.go.new net_gen.go"
//go:generate sh -c "go run ../../internal/bindgen network.cell.Gpu1.xml > gpu_gen.go.new && mv gpu_gen.go.new gpu_gen.go"

// Package api is the contract of Cell's daemons on D-Bus: interface and error names, the commented XML files, and the
// Go client of each. It knows nothing of how a daemon works.
package api

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/sdk/stats"
)

// Error names that celld answers with; the CLI maps them to exit codes.
const (
	ErrNotFound = "network.cell.Error.NotFound"
	ErrExists   = "network.cell.Error.Exists"
	ErrInvalid  = "network.cell.Error.Invalid"
	ErrDenied   = "network.cell.Error.Denied"
	ErrFailed   = "network.cell.Error.Failed"
	ErrNotReady = "network.cell.Error.NotReady"
)

// ManagerXML is the commented contract of network.cell.Manager1.
//
//go:embed network.cell.Manager1.xml
var ManagerXML string

// Step is one action of a plan with its reason, and after it ran its error (empty when it worked) and duration.
type Step struct {
	Verb   string `json:"verb"`
	Cell   string `json:"cell"`
	Reason string `json:"reason"`
	Error  string `json:"error,omitempty"`
	Millis int64  `json:"ms"`
}

// Cell is one cell as List describes it. Memory is in bytes, Since in microseconds UTC; a zero maximum means none.
type Cell struct {
	Name      string   `json:"name"`
	State     string   `json:"state"`
	Note      string   `json:"note,omitempty"`
	Version   string   `json:"version"`
	Dir       string   `json:"dir"`
	Unit      string   `json:"unit"`
	PID       uint64   `json:"pid,omitempty"`
	Memory    uint64   `json:"memory,omitempty"`
	MemoryMax uint64   `json:"memory_max,omitempty"`
	Tasks     uint64   `json:"tasks,omitempty"`
	TasksMax  uint64   `json:"tasks_max,omitempty"`
	Since     uint64   `json:"since,omitempty"`
	Job       bool     `json:"job,omitempty"`
	Next      uint64   `json:"next,omitempty"`  // when a job runs next, in microseconds since 1970
	Needs     []Joined `json:"needs,omitempty"` // connections to needs by name and port or Unix socket since celld runs
	Runs      []Run    `json:"runs,omitempty"`  // a job's last ones, the newest first

	Callers []string `json:"callers,omitempty"` // who was connected to it since celld runs
	Calls   *Calls   `json:"calls,omitempty"`   // of a running cell that counts them: one that speaks cell
}

// Joined counts connections of a program that knows nothing of Cell to a cell that it needs: those that the program got itself, and
// those whose bytes are copied.
type Joined struct {
	Need   string `json:"need"`
	Handed uint64 `json:"handed"`
	Copied uint64 `json:"copied"`
}

// Run is a run of a job. Times are in microseconds since 1970; End is 0 while it goes on, or when nobody saw it.
type Run struct {
	Start  uint64 `json:"start"`
	End    uint64 `json:"end,omitempty"`
	Result string `json:"result,omitempty"` // "done", or how it failed
}

// Calls is what a cell counted since it started and, without streams, within the last ten to twenty seconds.
type Calls struct {
	Total     uint64  `json:"total"`
	Errors    uint64  `json:"errors"`
	PerSecond float64 `json:"per_second"` // lately, as the times below are
	P50       uint64  `json:"p50_ns"`     // 0 without any call
	P99       uint64  `json:"p99_ns"`
	InFlight  uint64  `json:"in_flight"`
}

func (m Manager) call(ctx context.Context, method string, args ...any) *dbus.Call {
	return call(ctx, m.Conn.Object(ManagerName, ManagerPath), ManagerName+"."+method, args...)
}

// call calls a method and, when the daemon ended before it answered, calls it again: D-Bus activation starts the next one, and
// every method may be repeated.
func call(ctx context.Context, o dbus.BusObject, method string, args ...any) *dbus.Call {
	for try := 0; ; try++ {
		c := o.CallWithContext(ctx, method, 0, args...)
		if try == 5 || !ended(c.Err) {
			return c
		}
		select {
		case <-ctx.Done():
			return c
		case <-time.After(50 * time.Millisecond << try):
		}
	}
}

// ended tells whether err says that the daemon went away during the call; dbus-daemon and dbus-broker have no other sign.
func ended(err error) bool {
	name := ErrorName(err)
	return name == "org.freedesktop.DBus.Error.NoReply" && strings.Contains(err.Error(), "disconnected") ||
		name == "org.freedesktop.DBus.Error.Disconnected" || name == "org.freedesktop.DBus.Error.NameHasNoOwner"
}

// List describes the named cell and its subtree, or all cells.
func (m Manager) List(ctx context.Context, name string) ([]Cell, error) {
	raw, err := m.list(ctx, name)
	if err != nil {
		return nil, err
	}
	cells := make([]Cell, len(raw))
	for i, r := range raw {
		str := func(k string) string { s, _ := r[k].Value().(string); return s }
		num := func(k string) uint64 { n, _ := r[k].Value().(uint64); return n }
		cells[i] = Cell{
			str("name"), str("state"), str("note"), str("version"), str("dir"), str("unit"),
			num("pid"), num("memory"), num("memory_max"), num("tasks"), num("tasks_max"), num("since"),
			r["job"].Value() == true, num("next"), nil, nil, nil, nil,
		}
		if needs, ok := r["needs"]; ok {
			_ = needs.Store(&cells[i].Needs)
		}
		if runs, ok := r["runs"]; ok {
			_ = runs.Store(&cells[i].Runs)
		}
		cells[i].Callers, _ = r["callers"].Value().([]string)
		if rate, ok := r["calls_per_second"].Value().(float64); ok {
			cells[i].Calls = &Calls{num("calls"), num("call_errors"), rate, num("p50_ns"), num("p99_ns"), num("in_flight")}
		}
	}
	return cells, nil
}

// Measure says what the running instances of a cell and of those below it used and counted, of all cells when name is empty.
func (m Manager) Measure(ctx context.Context, name string) (all []stats.Instance, err error) {
	text, err := m.measure(ctx, name)
	if err == nil {
		err = json.Unmarshal([]byte(text), &all)
	}
	return all, err
}

// Rule is a line of Explain: a unit, a limit or a rule of the membrane. Enforced is "yes" with or without more, "no: why", or "–" where nothing
// was requested.
type Rule struct {
	Group     string `json:"group"` // "units", "limits" or "membrane"
	What      string `json:"what"`
	Requested string `json:"requested"`
	By        string `json:"by,omitempty"`
	Enforced  string `json:"enforced,omitempty"`
}

// Connect returns a connected socket to the cell.
func (m Manager) Connect(ctx context.Context, name string) (*os.File, error) {
	fd, err := m.connect(ctx, name)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// ErrorName returns the D-Bus name of err, or "".
func ErrorName(err error) string {
	var e dbus.Error
	if errors.As(err, &e) {
		return e.Name
	}
	return ""
}

// ErrorText returns the text a person should read: the message of a D-Bus error without its name.
func ErrorText(err error) string {
	var e dbus.Error
	if errors.As(err, &e) && len(e.Body) > 0 {
		return strings.TrimSpace(fmt.Sprint(e.Body[0]))
	}
	return err.Error()
}
