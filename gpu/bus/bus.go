// Package bus serves network.cell.Gpu1: it decides who may ask and translates errors. What a method does is package gpu's.
package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/gpu"
	"github.com/cell-network/cell/internal/onbus"
	"github.com/cell-network/cell/sdk/api"
)

// Serve exports the interface on conn and takes its name.
func Serve(ctx context.Context, conn *dbus.Conn, s *gpu.Server, version string) error {
	return onbus.Daemon{Name: api.GpuName, Path: api.GpuPath, XML: api.GpuXML, Version: version, Methods: &enzymes{ctx, conn, s}}.Serve(conn)
}

// IdleFor is how long a daemon stays while nobody asks and nothing runs on a device: the sums of energy end with it.
const IdleFor = 2 * time.Minute

type enzymes struct {
	ctx  context.Context
	conn *dbus.Conn
	srv  *gpu.Server
}

func fail(err error) *dbus.Error {
	if err == nil {
		return nil
	}
	name := api.ErrFailed
	if e, ok := errors.AsType[*gpu.Error](err); ok {
		if name = api.ErrNotReady; e.Never {
			name = api.ErrInvalid
		}
	} else if _, ok := errors.AsType[*gpu.Hung](err); ok {
		name = api.ErrHung
	}
	return dbus.NewError(name, []any{err.Error()})
}

// celld lets celld alone ask: it is root, or the daemon's own user.
func (e *enzymes) celld(msg dbus.Message) *dbus.Error {
	if !onbus.Trusted(e.ctx, e.conn, msg) {
		return dbus.NewError(api.ErrDenied, []any{"only celld asks for the devices of this machine: see cell gpu"})
	}
	return nil
}

func text(v any, err error) (string, *dbus.Error) {
	if err != nil {
		return "", fail(err)
	}
	b, err := json.Marshal(v)
	return string(b), fail(err)
}

func (e *enzymes) Inventory(msg dbus.Message) (string, *dbus.Error) {
	if derr := e.celld(msg); derr != nil {
		return "", derr
	}
	return text(e.srv.Inventory())
}

func (e *enzymes) Choose(msg dbus.Message, want, held string) (string, *dbus.Error) {
	if derr := e.celld(msg); derr != nil {
		return "", derr
	}
	var w api.GPUWant
	var h []api.GPUGrant
	if err := errors.Join(json.Unmarshal([]byte(want), &w), json.Unmarshal([]byte(held), &h)); err != nil {
		return "", dbus.NewError(api.ErrInvalid, []any{fmt.Sprintf("read what is asked: %v", err)})
	}
	return text(e.srv.Choose(w, h))
}

func (e *enzymes) Use(msg dbus.Message) (string, *dbus.Error) {
	if derr := e.celld(msg); derr != nil {
		return "", derr
	}
	return text(e.srv.Use())
}

func (e *enzymes) Limit(msg dbus.Message, uuid, cgroup string, bytes uint64) (bool, *dbus.Error) {
	if derr := e.celld(msg); derr != nil {
		return false, derr
	}
	enforced, err := e.srv.Limit(uuid, cgroup, bytes)
	return enforced, fail(err)
}
