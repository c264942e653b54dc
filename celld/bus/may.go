package bus

import (
	"context"
	"os"

	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/celld"
	"github.com/cell-network/cell/internal/polkit"
	"github.com/cell-network/cell/sdk/api"
)

// Actions of polkit; units/system/network.cell.policy says who may by default.
const (
	runOwn       = "network.cell.run-own"
	manageOthers = "network.cell.manage-others"
)

// mayUse decides whether the caller may run what lies in dir, and returns as whom that runs: whoever owned dir when the
// caller was let in, whatever dir becomes a moment later.
func (m *manager) mayUse(ctx context.Context, msg dbus.Message, dir string) (owner int, derr *dbus.Error) {
	uid, derr := m.uid(ctx, msg)
	if derr != nil {
		return 0, derr
	}
	owner, err := m.srv.OwnerOf(dir, uid)
	if err != nil {
		return 0, fail(err)
	}
	return owner, m.may(ctx, msg, uid, owner, dir)
}

// mayUseCell decides whether the caller may act on a cell that is known.
func (m *manager) mayUseCell(ctx context.Context, msg dbus.Message, name string) *dbus.Error {
	uid, derr := m.uid(ctx, msg)
	if derr != nil {
		return derr
	}
	owner, err := m.srv.OwnerOfCell(name)
	if err != nil {
		return fail(err)
	}
	return m.may(ctx, msg, uid, owner, name)
}

func sender(msg dbus.Message) string {
	s, _ := msg.Headers[dbus.FieldSender].Value().(string)
	return s
}

func (m *manager) uid(ctx context.Context, msg dbus.Message) (int, *dbus.Error) {
	var uid uint32
	err := m.conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetConnectionUnixUser", 0, sender(msg)).Store(&uid)
	if err != nil {
		return 0, denied("who asks cannot be told: %v", err)
	}
	return int(uid), nil
}

// may lets root and celld's own user do everything. Others exist on the system bus alone, where polkit decides; where it
// is not installed they may act on what is theirs.
func (m *manager) may(ctx context.Context, msg dbus.Message, uid, owner int, what string) *dbus.Error {
	if uid == 0 || uid == os.Geteuid() {
		return nil
	}
	if !m.srv.System {
		return denied("%s belongs to user %s", what, celld.UserName(os.Geteuid()))
	}
	action := runOwn
	if uid != owner {
		action = manageOthers
	}
	ok, err := polkit.Ask(ctx, m.conn, msg, action, map[string]string{"cell": what})
	switch {
	case err != nil && !polkit.NotThere(err):
		return denied("polkit was asked about %s and did not answer: %s", action, api.ErrorText(err))
	case err == nil && ok, err != nil && uid == owner:
		return nil
	case uid == owner:
		return denied("%s may not run cells here (polkit: %s)", celld.UserName(uid), action)
	}
	return denied("%s belongs to %s; %s may not manage it (polkit: %s)", what, celld.UserName(owner), celld.UserName(uid), action)
}
