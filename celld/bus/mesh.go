package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/sdk/api"
)

// Mesh is cellnetd on the bus. It is never started by a call: without it there is no mesh.
type Mesh struct {
	api.Net
	there   atomic.Bool
	changed chan struct{}
}

// WatchMesh notes until ctx ends whether a cellnetd is on the bus. The connection is used for nothing else.
func WatchMesh(ctx context.Context, conn *dbus.Conn) (*Mesh, error) {
	m := &Mesh{Net: api.Net{Conn: conn}, changed: make(chan struct{}, 1)}
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	if err := conn.AddMatchSignalContext(ctx, dbus.WithMatchSender("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, api.NetName)); err != nil {
		return nil, fmt.Errorf("watch for cellnetd: %w", err)
	}
	var there bool
	if err := conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, api.NetName).Store(&there); err != nil {
		return nil, fmt.Errorf("look for cellnetd: %w", err)
	}
	m.there.Store(there)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s, ok := <-signals:
				if !ok {
					return
				}
				if len(s.Body) != 3 || s.Body[0] != api.NetName {
					continue
				}
				m.there.Store(s.Body[2] != "")
				select {
				case m.changed <- struct{}{}:
				default:
				}
			}
		}
	}()
	return m, nil
}

// There tells whether a cellnetd is on the bus.
func (m *Mesh) There() bool { return m.there.Load() }

// Node is what this machine is called in its tissue, empty without one.
func (m *Mesh) Node(ctx context.Context) (string, error) {
	st, err := m.Status(ctx)
	return st.Node, err
}

// Changed has a value after one came or went.
func (m *Mesh) Changed() <-chan struct{} { return m.changed }

// mayCarry lets cellnetd alone speak for callers on other machines.
func (m *manager) mayCarry(msg dbus.Message) *dbus.Error {
	var owner string
	err := m.conn.BusObject().CallWithContext(m.ctx, "org.freedesktop.DBus.GetNameOwner", 0, api.NetName).Store(&owner)
	if err != nil || owner != sender(msg) {
		return denied("only cellnetd speaks for callers on other machines")
	}
	return nil
}

func (m *manager) ConnectFor(msg dbus.Message, call string) (dbus.UnixFD, string, *dbus.Error) {
	c, derr := m.carried(msg, call)
	if derr != nil {
		return 0, "", derr
	}
	f, reached, err := m.srv.ConnectFor(m.ctx, c)
	if err != nil {
		return 0, "", fail(err)
	}
	text, err := json.Marshal(reached)
	if err != nil {
		f.Close()
		return 0, "", fail(err)
	}
	fd, derr := m.hand(f)
	return fd, string(text), derr
}

func (m *manager) RenewFor(msg dbus.Message, call string) (string, *dbus.Error) {
	c, derr := m.carried(msg, call)
	if derr != nil {
		return "", derr
	}
	reached, err := m.srv.RenewFor(c)
	if err != nil {
		return "", fail(err)
	}
	text, err := json.Marshal(reached)
	return string(text), fail(err)
}

func (m *manager) JudgeFor(msg dbus.Message, call string) (bool, string, *dbus.Error) {
	c, derr := m.carried(msg, call)
	if derr != nil {
		return false, "", derr
	}
	allowed, rule, err := m.srv.JudgeFor(c)
	return allowed, rule, fail(err)
}

func (m *manager) carried(msg dbus.Message, call string) (c api.RemoteCall, derr *dbus.Error) {
	if derr := m.mayCarry(msg); derr != nil {
		return c, derr
	}
	if err := json.Unmarshal([]byte(call), &c); err != nil {
		return c, dbus.NewError(api.ErrInvalid, []any{fmt.Sprintf("read the call: %v", err)})
	}
	return c, nil
}
