// Package onbus puts a daemon on a bus: its interface with its description and version, its name, and when it may go again.
package onbus

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"
	"github.com/godbus/dbus/v5/prop"
)

// Daemon is an interface that is named as the bus name is.
type Daemon struct {
	Name    string
	Path    dbus.ObjectPath
	XML     string // its contract
	Version string
	Methods any // an object whose methods are those of the interface
}

// Serve exports the interface on conn and takes its name, which no other one may have.
func (d Daemon) Serve(conn *dbus.Conn) error {
	if err := conn.ExportAll(d.Methods, d.Path, d.Name); err != nil {
		return fmt.Errorf("export %s: %w", d.Name, err)
	}
	if err := conn.Export(introspect.Introspectable(d.XML), d.Path, "org.freedesktop.DBus.Introspectable"); err != nil {
		return fmt.Errorf("export introspection: %w", err)
	}
	if _, err := prop.Export(conn, d.Path, prop.Map{d.Name: {"Version": {Value: d.Version, Emit: prop.EmitConst}}}); err != nil {
		return fmt.Errorf("export properties: %w", err)
	}
	return takeName(conn, d.Name)
}

func takeName(conn *dbus.Conn, name string) error {
	reply, err := conn.RequestName(name, dbus.NameFlagDoNotQueue)
	if err != nil {
		return fmt.Errorf("take the name %s: %w", name, err)
	}
	if reply != dbus.RequestNameReplyPrimaryOwner {
		return fmt.Errorf("take the name %s: another daemon has it", name)
	}
	return nil
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

// Idle returns when the daemon of that name may end: it is not busy, and nobody has called for so long. The bus starts another one for
// whoever calls next.
func (u *Use) Idle(ctx context.Context, conn *dbus.Conn, name string, long time.Duration, busy func() bool) error {
	t := time.NewTicker(long / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		last := u.last.Load()
		if busy() || time.Since(time.Unix(0, last)) < long {
			continue
		}
		// A call that came before the name was given up is answered; it may make the daemon busy.
		if _, err := conn.ReleaseName(name); err != nil {
			return fmt.Errorf("give up the name %s: %w", name, err)
		}
		if u.last.Load() == last && !busy() {
			return nil
		}
		if err := takeName(conn, name); err != nil {
			return err
		}
	}
}

// Trusted tells whether who sent a message is root, as the machine's daemons are, or the daemon's own user.
func Trusted(ctx context.Context, conn *dbus.Conn, msg dbus.Message) bool {
	sender, _ := msg.Headers[dbus.FieldSender].Value().(string)
	var uid uint32
	err := conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetConnectionUnixUser", 0, sender).Store(&uid)
	return err == nil && (uid == 0 || int(uid) == os.Geteuid())
}
