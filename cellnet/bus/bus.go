// Package bus serves network.cell.Net1: it decides who may do what and translates errors. What a method does is package node's.
package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"
	"github.com/godbus/dbus/v5/prop"

	"github.com/cell-network/cell/cellnet/node"
	"github.com/cell-network/cell/internal/polkit"
	"github.com/cell-network/cell/sdk/api"
)

// Serve exports the interface on conn and takes its name.
func Serve(ctx context.Context, conn *dbus.Conn, n *node.Node, version string) error {
	if err := conn.ExportAll(&net{ctx, conn, n}, api.NetPath, api.NetName); err != nil {
		return fmt.Errorf("export %s: %w", api.NetName, err)
	}
	if err := conn.Export(introspect.Introspectable(api.NetXML), api.NetPath, "org.freedesktop.DBus.Introspectable"); err != nil {
		return fmt.Errorf("export introspection: %w", err)
	}
	if _, err := prop.Export(conn, api.NetPath, prop.Map{api.NetName: {"Version": {Value: version, Emit: prop.EmitConst}}}); err != nil {
		return fmt.Errorf("export properties: %w", err)
	}
	return takeName(conn)
}

func takeName(conn *dbus.Conn) error {
	reply, err := conn.RequestName(api.NetName, dbus.NameFlagDoNotQueue)
	if err != nil {
		return fmt.Errorf("take the name %s: %w", api.NetName, err)
	}
	if reply != dbus.RequestNameReplyPrimaryOwner {
		return fmt.Errorf("take the name %s: another cellnetd has it", api.NetName)
	}
	return nil
}

// idleFor is how long a daemon without a tissue stays for nothing.
const idleFor = 30 * time.Second

// Idle returns when the daemon may end: this machine is in no tissue, and nobody has asked for anything for a while. The bus starts
// another one for whoever asks next.
func (u *Use) Idle(ctx context.Context, conn *dbus.Conn, n *node.Node) error {
	t := time.NewTicker(idleFor / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		last := u.last.Load()
		if n.InTissue() || time.Since(time.Unix(0, last)) < idleFor {
			continue
		}
		// A call that came before the name was given up is answered; it may make this machine one of a tissue's.
		if _, err := conn.ReleaseName(api.NetName); err != nil {
			return fmt.Errorf("give up the name %s: %w", api.NetName, err)
		}
		if u.last.Load() == last && !n.InTissue() {
			return nil
		}
		if err := takeName(conn); err != nil {
			return err
		}
	}
}

// Use notes when somebody last called.
type Use struct{ last atomic.Int64 }

// Option makes a connection tell of the calls that come in on it.
func (u *Use) Option() dbus.ConnOption {
	u.last.Store(time.Now().UnixNano())
	return dbus.WithIncomingInterceptor(func(m *dbus.Message) {
		if m.Type == dbus.TypeMethodCall {
			u.last.Store(time.Now().UnixNano())
		}
	})
}

type net struct {
	ctx  context.Context
	conn *dbus.Conn
	node *node.Node
}

func fail(err error) *dbus.Error {
	if err == nil {
		return nil
	}
	name := api.ErrFailed
	if e, ok := errors.AsType[*node.Error](err); ok {
		name = e.Name
	}
	return dbus.NewError(name, []any{err.Error()})
}

// administer is the action of polkit; units/system/network.cell.policy says who may by default.
const administer = "network.cell.administer-mesh"

// trusted tells whether the sender is root, as celld is, or the daemon's own user.
func (n *net) trusted(msg dbus.Message) bool {
	sender, _ := msg.Headers[dbus.FieldSender].Value().(string)
	var uid uint32
	err := n.conn.BusObject().CallWithContext(n.ctx, "org.freedesktop.DBus.GetConnectionUnixUser", 0, sender).Store(&uid)
	return err == nil && (uid == 0 || int(uid) == os.Geteuid())
}

// celld lets celld alone speak for the machine's cells and users.
func (n *net) celld(msg dbus.Message) *dbus.Error {
	if !n.trusted(msg) {
		return dbus.NewError(api.ErrDenied, []any{"only celld speaks for the cells and users of this machine"})
	}
	return nil
}

// administrates lets root, and whom polkit lets, change what the machine belongs to.
func (n *net) administrates(msg dbus.Message) *dbus.Error {
	if n.trusted(msg) {
		return nil
	}
	ok, err := polkit.Ask(n.ctx, n.conn, msg, administer, nil)
	switch {
	case err == nil && ok:
		return nil
	case err != nil && !polkit.NotThere(err):
		return dbus.NewError(api.ErrDenied, []any{fmt.Sprintf("polkit was asked about %s and did not answer: %s", administer, api.ErrorText(err))})
	}
	return dbus.NewError(api.ErrDenied, []any{"only an administrator may do that to the mesh (polkit: " + administer + ")"})
}

func (n *net) Create(msg dbus.Message, name, as string) *dbus.Error {
	if derr := n.administrates(msg); derr != nil {
		return derr
	}
	return fail(n.node.Create(name, as))
}

func (n *net) Invite(msg dbus.Message, role string, uses uint32, seconds uint64) (string, *dbus.Error) {
	if derr := n.administrates(msg); derr != nil {
		return "", derr
	}
	token, err := n.node.Invite(role, int(uses), time.Duration(min(seconds, 1<<31))*time.Second)
	return token, fail(err)
}

func (n *net) Join(msg dbus.Message, token, as string) (string, string, *dbus.Error) {
	if derr := n.administrates(msg); derr != nil {
		return "", "", derr
	}
	name, called, err := n.node.Join(n.ctx, token, as)
	return name, called, fail(err)
}

func (n *net) Leave(msg dbus.Message) *dbus.Error {
	if derr := n.administrates(msg); derr != nil {
		return derr
	}
	return fail(n.node.Leave(n.ctx))
}

func (n *net) Evict(msg dbus.Message, name string) *dbus.Error {
	if derr := n.administrates(msg); derr != nil {
		return derr
	}
	return fail(n.node.Evict(n.ctx, name))
}

func (n *net) Rotate(msg dbus.Message) *dbus.Error {
	if derr := n.administrates(msg); derr != nil {
		return derr
	}
	return fail(n.node.Rotate())
}

// Nodes is open to everybody.
func (n *net) Nodes() (string, *dbus.Error) { return text(n.node.Nodes()) }

// Status is open to everybody.
func (n *net) Status() (string, *dbus.Error) { return text(n.node.Status()) }

// Why is open to everybody.
func (n *net) Why(caller, cell string) (string, *dbus.Error) {
	ctx, cancel := context.WithTimeout(n.ctx, time.Minute)
	defer cancel()
	return text(n.node.Why(ctx, caller, cell))
}

func text[T any](v T, err error) (string, *dbus.Error) {
	if err != nil {
		return "", fail(err)
	}
	b, err := json.Marshal(v)
	return string(b), fail(err)
}

func parse[T any](text string) (v T, derr *dbus.Error) {
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return v, dbus.NewError(api.ErrInvalid, []any{fmt.Sprintf("read the argument: %v", err)})
	}
	return v, nil
}

func (n *net) Announce(msg dbus.Message, cells string) *dbus.Error {
	if derr := n.celld(msg); derr != nil {
		return derr
	}
	all, derr := parse[[]api.Announced](cells)
	if derr != nil {
		return derr
	}
	return fail(n.node.Announce(all))
}

func (n *net) Dial(msg dbus.Message, call string) (dbus.UnixFD, string, *dbus.Error) {
	if derr := n.celld(msg); derr != nil {
		return 0, "", derr
	}
	c, derr := parse[api.RemoteCall](call)
	if derr != nil {
		return 0, "", derr
	}
	ctx, cancel := context.WithTimeout(n.ctx, time.Minute)
	defer cancel()
	f, reached, err := n.node.Dial(ctx, c)
	if err != nil {
		return 0, "", fail(err)
	}
	// The bus duplicates the descriptor when the reply is written, which is after this returns.
	fd, err := syscall.Dup(int(f.Fd()))
	f.Close()
	if err != nil {
		return 0, "", fail(err)
	}
	time.AfterFunc(time.Second, func() { syscall.Close(fd) })
	answer, derr := text(reached, nil)
	return dbus.UnixFD(fd), answer, derr
}

func (n *net) Renew(msg dbus.Message, call string) (string, *dbus.Error) {
	if derr := n.celld(msg); derr != nil {
		return "", derr
	}
	c, derr := parse[api.RemoteCall](call)
	if derr != nil {
		return "", derr
	}
	ctx, cancel := context.WithTimeout(n.ctx, time.Minute)
	defer cancel()
	return text(n.node.Renew(ctx, c))
}
