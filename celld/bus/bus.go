// Package bus serves network.cell.Manager1: it decides who may do what and translates errors. What a method does is
// celld's.
package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/celld"
	"github.com/cell-network/cell/internal/onbus"
	"github.com/cell-network/cell/sdk/api"
)

// Serve exports the interface on conn and takes its name.
func Serve(ctx context.Context, conn *dbus.Conn, s *celld.Server, version string) error {
	return onbus.Daemon{
		Name: api.ManagerName, Path: api.ManagerPath, XML: api.ManagerXML, Version: version, Methods: &manager{ctx: ctx, conn: conn, srv: s},
	}.Serve(conn)
}

type manager struct {
	ctx  context.Context
	conn *dbus.Conn
	srv  *celld.Server
}

func fail(err error) *dbus.Error {
	if err == nil {
		return nil
	}
	name := api.ErrFailed
	var e *celld.Error
	if errors.As(err, &e) {
		name = e.Name
	}
	return dbus.NewError(name, []any{err.Error()})
}

func denied(format string, args ...any) *dbus.Error {
	return dbus.NewError(api.ErrDenied, []any{fmt.Sprintf(format, args...)})
}

// caller ends with the connection of sender, so that Ctrl-C in a client ends its work here.
func (m *manager) caller(sender dbus.Sender) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(m.ctx)
	signals := make(chan *dbus.Signal, 16)
	match := []dbus.MatchOption{
		dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, string(sender)),
	}
	m.conn.Signal(signals)
	if err := m.conn.AddMatchSignal(match...); err != nil {
		m.srv.Log.Warn("watch the caller", "error", err)
	}
	go func() {
		defer func() {
			_ = m.conn.RemoveMatchSignal(match...)
			m.conn.RemoveSignal(signals)
		}()
		for {
			select {
			case <-ctx.Done():
				return
			case sig := <-signals:
				if sig != nil && sig.Name == "org.freedesktop.DBus.NameOwnerChanged" && len(sig.Body) == 3 &&
					sig.Body[0] == string(sender) && sig.Body[2] == "" {
					cancel()
				}
			}
		}
	}()
	return ctx, cancel
}

func cleanDir(dir string) (string, *dbus.Error) {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
		return "", dbus.NewError(api.ErrInvalid, []any{fmt.Sprintf("%q is not a clean absolute path", dir)})
	}
	return dir, nil
}

func (m *manager) Apply(msg dbus.Message, sender dbus.Sender, dir string, asleep bool) ([]api.Step, *dbus.Error) {
	dir, derr := cleanDir(dir)
	if derr != nil {
		return nil, derr
	}
	ctx, cancel := m.caller(sender)
	defer cancel()
	owner, derr := m.mayUse(ctx, msg, dir)
	if derr != nil {
		return nil, derr
	}
	steps, err := m.srv.Apply(ctx, dir, owner, asleep, func(s api.Step) { m.tell(sender, s) })
	return steps, fail(err)
}

// tell sends a step to the caller alone.
func (m *manager) tell(sender dbus.Sender, s api.Step) {
	msg := &dbus.Message{
		Type: dbus.TypeSignal, Flags: dbus.FlagNoReplyExpected,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath:        dbus.MakeVariant(api.ManagerPath),
			dbus.FieldInterface:   dbus.MakeVariant(api.ManagerName),
			dbus.FieldMember:      dbus.MakeVariant("Step"),
			dbus.FieldDestination: dbus.MakeVariant(string(sender)),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(s.Verb, s.Cell, s.Reason, s.Error, s.Millis)),
		},
		Body: []any{s.Verb, s.Cell, s.Reason, s.Error, s.Millis},
	}
	m.conn.Send(msg, nil)
}

func (m *manager) Plan(msg dbus.Message, dir string, changed []string) ([]api.Step, *dbus.Error) {
	dir, derr := cleanDir(dir)
	if derr != nil {
		return nil, derr
	}
	owner, derr := m.mayUse(m.ctx, msg, dir)
	if derr != nil {
		return nil, derr
	}
	steps, err := m.srv.Plan(m.ctx, dir, owner, changed)
	return steps, fail(err)
}

func (m *manager) Start(msg dbus.Message, sender dbus.Sender, name string) ([]api.Step, *dbus.Error) {
	ctx, cancel := m.caller(sender)
	defer cancel()
	if err := m.mayUseCell(ctx, msg, name); err != nil {
		return nil, err
	}
	steps, err := m.srv.Start(ctx, name, func(s api.Step) { m.tell(sender, s) })
	return steps, fail(err)
}

func (m *manager) Stop(msg dbus.Message, name string) *dbus.Error {
	return m.stop(msg, name, false)
}

func (m *manager) Forget(msg dbus.Message, name string) *dbus.Error {
	return m.stop(msg, name, true)
}

func (m *manager) stop(msg dbus.Message, name string, forget bool) *dbus.Error {
	if err := m.mayUseCell(m.ctx, msg, name); err != nil {
		return err
	}
	return fail(m.srv.Stop(m.ctx, name, forget))
}

// List is open to everybody who may talk to celld.
func (m *manager) List(name string) ([]map[string]dbus.Variant, *dbus.Error) {
	cells, err := m.srv.List(m.ctx, name)
	if err != nil {
		return nil, fail(err)
	}
	out := make([]map[string]dbus.Variant, len(cells))
	for i, c := range cells {
		v := func(x any) dbus.Variant { return dbus.MakeVariant(x) }
		out[i] = map[string]dbus.Variant{
			"name": v(c.Name), "state": v(c.State), "note": v(c.Note), "version": v(c.Version), "dir": v(c.Dir),
			"unit": v(c.Unit), "pid": v(c.PID), "memory": v(c.Memory), "memory_max": v(c.MemoryMax),
			"tasks": v(c.Tasks), "tasks_max": v(c.TasksMax), "since": v(c.Since), "job": v(c.Job), "next": v(c.Next), "needs": v(append([]api.Joined{}, c.Needs...)), "runs": v(append([]api.Run{}, c.Runs...)), "callers": v(append([]string{}, c.Callers...)),
		}
		if n := c.Calls; n != nil {
			for key, x := range map[string]any{
				"calls": n.Total, "call_errors": n.Errors, "calls_per_second": n.PerSecond, "p50_ns": n.P50, "p99_ns": n.P99, "in_flight": n.InFlight,
			} {
				out[i][key] = v(x)
			}
		}
	}
	return out, nil
}

func (m *manager) Connect(msg dbus.Message, name string) (dbus.UnixFD, *dbus.Error) {
	uid, derr := m.uid(m.ctx, msg)
	if derr != nil {
		return 0, derr
	}
	who := celld.Caller{UID: uid}
	if !m.srv.Invites(name) { // else the cell itself says who may call it
		switch err := m.mayUseCell(m.ctx, msg, name); {
		case err == nil:
			who.Admitted = true
		case err.Name != api.ErrNotFound: // one of another machine may be meant, who may call that is decided there
			return 0, err
		}
	}
	to, err := m.srv.Call(m.ctx, who, celld.Wish{Target: name})
	if err != nil {
		return 0, fail(err)
	}
	return m.hand(to.File)
}

// hand gives a descriptor to the bus.
func (m *manager) hand(f *os.File) (dbus.UnixFD, *dbus.Error) {
	// The bus duplicates the descriptor when the reply is written, which is after this returns; the finalizer of f
	// must not close it before then, so the number is detached from f.
	fd, err := syscall.Dup(int(f.Fd()))
	f.Close()
	if err != nil {
		return 0, fail(err)
	}
	go m.closeLater(fd)
	return dbus.UnixFD(fd), nil
}

// closeLater closes our copy of a descriptor once its reply has been written; godbus does not say when that is, and a
// local bus takes microseconds.
func (m *manager) closeLater(fd int) {
	time.Sleep(time.Second)
	syscall.Close(fd)
}
