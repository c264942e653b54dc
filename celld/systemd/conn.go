// Package systemd is the only talker to org.freedesktop.systemd1: jobs that are waited for, transient pairs, properties.
// It decides nothing.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/celld/unit"
)

const (
	busName   = "org.freedesktop.systemd1"
	managerIf = busName + ".Manager"
	objPath   = dbus.ObjectPath("/org/freedesktop/systemd1")
	unitPath  = string(objPath) + "/unit/"
	propsIf   = "org.freedesktop.DBus.Properties"
)

// JobError is a job that did not end with "done".
type JobError struct{ Unit, Result string }

func (e *JobError) Error() string { return e.Unit + ": " + e.Result }

// Event is a change of a cell's unit.
type Event struct {
	Name   string // instance
	Unit   string
	Active string // ActiveState
	Sub    string // SubState
}

// Conn talks to one manager. Calls may be made from many goroutines.
type Conn struct {
	bus  *dbus.Conn
	mgr  dbus.BusObject
	mu   sync.Mutex
	jobs map[dbus.ObjectPath]chan string
	done map[dbus.ObjectPath]string // ended before anybody waited

	unknown map[string]bool // properties that this systemd does not know

	// OnUnknown, when set, is told of each property that this systemd does not know, once.
	OnUnknown func(property string)

	// Events receives what happens to cells' units; it is closed when the bus goes. A reader that is thousands behind
	// misses some.
	Events chan Event
}

// New subscribes on bus, whose signals it then owns.
func New(ctx context.Context, bus *dbus.Conn) (*Conn, error) {
	c := &Conn{
		bus: bus, mgr: bus.Object(busName, objPath), jobs: map[dbus.ObjectPath]chan string{},
		done: map[dbus.ObjectPath]string{}, unknown: map[string]bool{}, Events: make(chan Event, 4096),
	}
	signals := make(chan *dbus.Signal, 4096)
	bus.Signal(signals)
	// JobRemoved must be subscribed to before any job is made: a job may end before its call returns. One match for all
	// units, not one per cell: a connection to the system bus has 512 at most.
	for _, opts := range [][]dbus.MatchOption{
		{dbus.WithMatchInterface(managerIf), dbus.WithMatchMember("JobRemoved")},
		{
			dbus.WithMatchInterface(propsIf), dbus.WithMatchMember("PropertiesChanged"),
			dbus.WithMatchPathNamespace(objPath + "/unit"), dbus.WithMatchArg(0, busName+".Unit"),
		},
	} {
		if err := bus.AddMatchSignalContext(ctx, opts...); err != nil {
			return nil, fmt.Errorf("subscribe to systemd: %w", err)
		}
	}
	if err := c.mgr.CallWithContext(ctx, managerIf+".Subscribe", 0).Err; err != nil {
		return nil, fmt.Errorf("subscribe to systemd: %w", err)
	}
	go c.dispatch(signals)
	return c, nil
}

// Version is systemd's own, as in "252.39-1~deb12u1".
func (c *Conn) Version() string {
	v, err := c.mgr.GetProperty(managerIf + ".Version")
	if err != nil {
		return ""
	}
	s, _ := v.Value().(string)
	return s
}

func (c *Conn) dispatch(signals <-chan *dbus.Signal) {
	for s := range signals {
		switch {
		case s.Name == managerIf+".JobRemoved" && len(s.Body) == 4:
			path, _ := s.Body[1].(dbus.ObjectPath)
			result, _ := s.Body[3].(string)
			c.mu.Lock()
			if ch, ok := c.jobs[path]; ok {
				ch <- result
				delete(c.jobs, path)
			} else if name, _ := s.Body[2].(string); strings.HasPrefix(name, "cell") {
				// Its caller may not have its path yet. What nobody fetches is a job of another's.
				if len(c.done) > 4096 {
					clear(c.done)
				}
				c.done[path] = result
			}
			c.mu.Unlock()
		case strings.HasPrefix(string(s.Path), unitPath+"cell_") && len(s.Body) == 3:
			name := unescape(string(s.Path)[len(unitPath):])
			instance, ok := unit.NameOf(name)
			changed, _ := s.Body[1].(map[string]dbus.Variant)
			active, _ := changed["ActiveState"].Value().(string)
			sub, _ := changed["SubState"].Value().(string)
			if !ok || active == "" {
				continue
			}
			select {
			case c.Events <- Event{instance, name, active, sub}:
			default: // this goroutine also ends jobs, and the reader of events may wait for one
			}
		}
	}
	close(c.Events)
}

// escape is systemd's bus path escaping: every byte but letters and digits becomes _XX, a leading digit, too.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '_' && i+2 < len(s) {
			var n byte
			if _, err := fmt.Sscanf(s[i+1:i+3], "%02x", &n); err == nil {
				b.WriteByte(n)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func (c *Conn) job(ctx context.Context, name, method string, args ...any) error {
	var path dbus.ObjectPath
	if err := c.mgr.CallWithContext(ctx, managerIf+"."+method, 0, args...).Store(&path); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c.mu.Lock()
	if result, ok := c.done[path]; ok {
		delete(c.done, path)
		c.mu.Unlock()
		return jobResult(name, result)
	}
	ch := make(chan string, 1)
	c.jobs[path] = ch
	c.mu.Unlock()
	select {
	case result := <-ch:
		return jobResult(name, result)
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.jobs, path)
		c.mu.Unlock()
		return fmt.Errorf("%s: %w", name, ctx.Err())
	}
}

func jobResult(name, result string) error {
	if result == "done" || result == "skipped" {
		return nil
	}
	return &JobError{name, result}
}

type aux struct {
	Name  string
	Props []unit.Property
}

// Open makes a pair in one call: the socket or timer is the main unit, the service its auxiliary, for Service= cannot be set on
// a transient socket and equal stems are how they find each other.
func (c *Conn) Open(ctx context.Context, p unit.Pair) error {
	return c.transient(ctx, p.Trigger(), slices.Concat(p.Socket, p.Timer), []aux{{unit.ServiceUnit(p.Name), slices.Concat(p.Service, p.Limits)}})
}

// transient makes a unit with its auxiliaries. A property that an older systemd does not know is left out: the cell runs
// with what there is, and Unknown lets cell explain say so.
func (c *Conn) transient(ctx context.Context, name string, props []unit.Property, others []aux) error {
	for {
		drop := func(list []unit.Property) []unit.Property {
			return slices.DeleteFunc(slices.Clone(list), func(p unit.Property) bool { return c.Unknown(p.Name) })
		}
		known := make([]aux, len(others))
		for i, o := range others {
			known[i] = aux{o.Name, drop(o.Props)}
		}
		err := c.job(ctx, name, "StartTransientUnit", name, "fail", drop(props), known)
		property, ok := unknownProperty(err)
		if !ok || c.Unknown(property) {
			return err
		}
		c.mu.Lock()
		c.unknown[property] = true
		c.mu.Unlock()
		if c.OnUnknown != nil {
			c.OnUnknown(property)
		}
	}
}

// Unknown tells whether this systemd refused a property as unknown.
func (c *Conn) Unknown(property string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unknown[property]
}

// unknownProperty finds the property in systemd's answer, which has no other form than this text (dbus-unit.c,
// bus_unit_set_properties).
func unknownProperty(err error) (string, bool) {
	var e dbus.Error
	if !errors.As(err, &e) || e.Name != "org.freedesktop.DBus.Error.PropertyReadOnly" {
		return "", false
	}
	rest, ok := strings.CutPrefix(e.Error(), "Cannot set property ")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, ", or unknown property.")
}

// OpenDoor makes the pair that lets the outside in.
func (c *Conn) OpenDoor(ctx context.Context, name string, d *unit.Door) error {
	service := []aux{{unit.DoorService(name), d.Service}}
	return c.transient(ctx, unit.DoorSocket(name), d.Socket, service)
}

// Run lets systemd run a command to its end with some capabilities and nothing else.
func (c *Conn) Run(ctx context.Context, name string, argv []string, capabilities ...string) error {
	var set uint64
	for _, capability := range capabilities {
		set |= 1 << map[string]uint{"CAP_DAC_OVERRIDE": 1, "CAP_FOWNER": 3, "CAP_SYS_ADMIN": 21}[capability]
	}
	prop := func(name string, value any) unit.Property {
		return unit.Property{Name: name, Value: dbus.MakeVariant(value)}
	}
	return c.transient(ctx, name, []unit.Property{
		prop("Type", "oneshot"), prop("ExecStart", unit.Command(argv[0], argv[1:]...)), prop("CollectMode", "inactive-or-failed"),
		prop("CapabilityBoundingSet", set), prop("NoNewPrivileges", true), prop("PrivateNetwork", true), prop("TimeoutStartUSec", uint64(60_000_000)),
	}, []aux{})
}

// Output runs a service to its end and returns what it wrote to its standard output and error.
func (c *Conn) Output(ctx context.Context, name string, props []unit.Property) (out, errs []byte, err error) {
	var read, written [2]*os.File
	for i, property := range []string{"StandardOutputFileDescriptor", "StandardErrorFileDescriptor"} {
		if read[i], written[i], err = os.Pipe(); err != nil {
			return nil, nil, fmt.Errorf("run %s: %w", name, err)
		}
		defer read[i].Close()
		defer written[i].Close()
		props = append(props, unit.Property{Name: property, Value: dbus.MakeVariant(dbus.UnixFD(written[i].Fd()))})
	}
	err = c.transient(ctx, name, props, []aux{})
	var texts [2][]byte
	for i := range read {
		written[i].Close() // the service has its own, and closes them by its end
		if deadline, ok := ctx.Deadline(); ok {
			_ = read[i].SetReadDeadline(deadline)
		}
		text, rerr := io.ReadAll(io.LimitReader(read[i], 1<<20))
		if err == nil && rerr != nil {
			err = fmt.Errorf("read what %s writes: %w", name, rerr)
		}
		texts[i] = text
	}
	return texts[0], texts[1], err
}

// SetSlice gives a slice its limits, and makes it where it is not.
func (c *Conn) SetSlice(ctx context.Context, s unit.Slice) error {
	err := c.transient(ctx, s.Name, s.Limits, []aux{})
	if IsLoaded(err) {
		err = c.SetProperties(ctx, s.Name, s.Limits)
	}
	if err != nil {
		return fmt.Errorf("limit %s: %w", s.Name, err)
	}
	return nil
}

// SetProperties changes what a running unit may use.
func (c *Conn) SetProperties(ctx context.Context, name string, props []unit.Property) error {
	return c.mgr.CallWithContext(ctx, managerIf+".SetUnitProperties", 0, name, true, props).Err
}

// IsLoaded tells whether a transient unit was refused because one of its name is there.
func IsLoaded(err error) bool {
	var e dbus.Error
	return errors.As(err, &e) && (e.Name == busName+".UnitExists" ||
		strings.Contains(e.Error(), "already loaded") || strings.Contains(e.Error(), "already exists"))
}

// IsInvalid tells whether systemd refused a property's value.
func IsInvalid(err error) bool {
	var e dbus.Error
	return errors.As(err, &e) && (e.Name == "org.freedesktop.DBus.Error.InvalidArgs" || e.Name == "System.Error.EINVAL")
}

// ForgetTimer stops a job's timer and drops what systemd remembers of its last run.
func (c *Conn) ForgetTimer(ctx context.Context, name string) error {
	timer := unit.TimerUnit(name)
	// Held, so that the unit is still there when its timer has stopped: systemd cleans what does not run.
	if err := c.mgr.CallWithContext(ctx, managerIf+".RefUnit", 0, timer).Err; err != nil {
		return fmt.Errorf("hold %s: %w", timer, err)
	}
	err := c.Stop(ctx, timer)
	if err == nil {
		if err = c.mgr.CallWithContext(ctx, managerIf+".CleanUnit", 0, timer, []string{"state"}).Err; err != nil {
			err = fmt.Errorf("clean %s: %w", timer, err)
		}
	}
	return errors.Join(err, c.mgr.CallWithContext(ctx, managerIf+".UnrefUnit", 0, timer).Err)
}

// Start starts a unit and waits for the job's end; with Type=notify that is readiness.
func (c *Conn) Start(ctx context.Context, name string) error {
	return c.job(ctx, name, "StartUnit", name, "replace")
}

// Restart restarts or starts a unit and waits as Start does.
func (c *Conn) Restart(ctx context.Context, name string) error {
	return c.job(ctx, name, "RestartUnit", name, "replace")
}

// TryRestart restarts a unit and waits, unless it was stopped meanwhile.
func (c *Conn) TryRestart(ctx context.Context, name string) error {
	return c.job(ctx, name, "TryRestartUnit", name, "replace")
}

// Stop stops a unit and waits; one that is not loaded is stopped already.
func (c *Conn) Stop(ctx context.Context, name string) error {
	err := c.job(ctx, name, "StopUnit", name, "replace")
	var e dbus.Error
	if errors.As(err, &e) && e.Name == busName+".NoSuchUnit" {
		return nil
	}
	return err
}

// Kill ends all processes of a unit at once; one that is not loaded has none.
func (c *Conn) Kill(ctx context.Context, name string) error {
	err := c.mgr.CallWithContext(ctx, managerIf+".KillUnit", 0, name, "all", int32(9)).Err
	var e dbus.Error
	if errors.As(err, &e) && e.Name == busName+".NoSuchUnit" {
		return nil
	}
	return err
}

// Forget drops a failed unit that nothing collects, so that its name is free again.
func (c *Conn) Forget(ctx context.Context, name string) {
	_ = c.mgr.CallWithContext(ctx, managerIf+".ResetFailedUnit", 0, name).Err
}
