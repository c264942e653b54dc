// Package bus serves network.cell.Net1: it decides who may do what and translates errors. What a method does is package node's.
package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/cellnet/node"
	"github.com/cell-network/cell/internal/onbus"
	"github.com/cell-network/cell/internal/polkit"
	"github.com/cell-network/cell/sdk/api"
)

// Serve exports the interface on conn and takes its name.
func Serve(ctx context.Context, conn *dbus.Conn, n *node.Node, version string) error {
	return onbus.Daemon{Name: api.NetName, Path: api.NetPath, XML: api.NetXML, Version: version, Methods: &net{ctx, conn, n}}.Serve(conn)
}

// IdleFor is how long a daemon without a tissue stays for nothing.
const IdleFor = 30 * time.Second

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

// celld lets celld alone speak for the machine's cells and users.
func (n *net) celld(msg dbus.Message) *dbus.Error {
	if !onbus.Trusted(n.ctx, n.conn, msg) {
		return dbus.NewError(api.ErrDenied, []any{"only celld speaks for the cells and users of this machine"})
	}
	return nil
}

// administrates lets root, and whom polkit lets, change what the machine belongs to.
func (n *net) administrates(msg dbus.Message) *dbus.Error {
	if onbus.Trusted(n.ctx, n.conn, msg) {
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
