// Package bus serves network.cell.Net1: it decides who may do what and translates errors. What a method does is package node's.
package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"
	"github.com/godbus/dbus/v5/prop"

	"github.com/cell-network/cell/cellnet/node"
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
	reply, err := conn.RequestName(api.NetName, dbus.NameFlagDoNotQueue)
	if err != nil {
		return fmt.Errorf("take the name %s: %w", api.NetName, err)
	}
	if reply != dbus.RequestNameReplyPrimaryOwner {
		return fmt.Errorf("take the name %s: another cellnetd has it", api.NetName)
	}
	return nil
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

// administrates lets root alone change what the machine belongs to, and speak for its users.
func (n *net) administrates(sender dbus.Sender) *dbus.Error {
	var uid uint32
	err := n.conn.BusObject().CallWithContext(n.ctx, "org.freedesktop.DBus.GetConnectionUnixUser", 0, string(sender)).Store(&uid)
	if err != nil || uid != 0 && int(uid) != os.Geteuid() {
		return dbus.NewError(api.ErrDenied, []any{"only root may do that to the mesh"})
	}
	return nil
}

func (n *net) Create(sender dbus.Sender, name, as string) *dbus.Error {
	if derr := n.administrates(sender); derr != nil {
		return derr
	}
	return fail(n.node.Create(name, as))
}

func (n *net) Invite(sender dbus.Sender, role string, uses uint32, seconds uint64) (string, *dbus.Error) {
	if derr := n.administrates(sender); derr != nil {
		return "", derr
	}
	token, err := n.node.Invite(role, int(uses), time.Duration(min(seconds, 1<<31))*time.Second)
	return token, fail(err)
}

func (n *net) Join(sender dbus.Sender, token, as string) (string, string, *dbus.Error) {
	if derr := n.administrates(sender); derr != nil {
		return "", "", derr
	}
	name, called, err := n.node.Join(n.ctx, token, as)
	return name, called, fail(err)
}

func (n *net) Leave(sender dbus.Sender) *dbus.Error {
	if derr := n.administrates(sender); derr != nil {
		return derr
	}
	return fail(n.node.Leave(n.ctx))
}

func (n *net) Evict(sender dbus.Sender, name string) *dbus.Error {
	if derr := n.administrates(sender); derr != nil {
		return derr
	}
	return fail(n.node.Evict(name))
}

// Nodes is open to everybody.
func (n *net) Nodes() (string, *dbus.Error) { return text(n.node.Nodes()) }

// Status is open to everybody.
func (n *net) Status() (string, *dbus.Error) { return text(n.node.Status()) }

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

func (n *net) Announce(sender dbus.Sender, cells string) *dbus.Error {
	if derr := n.administrates(sender); derr != nil {
		return derr
	}
	all, derr := parse[[]api.Announced](cells)
	if derr != nil {
		return derr
	}
	return fail(n.node.Announce(all))
}

func (n *net) Dial(sender dbus.Sender, call string) (dbus.UnixFD, string, *dbus.Error) {
	if derr := n.administrates(sender); derr != nil {
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

func (n *net) Renew(sender dbus.Sender, call string) (string, *dbus.Error) {
	if derr := n.administrates(sender); derr != nil {
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
