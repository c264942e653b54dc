// Package polkit asks polkit whether the sender of a message on the system bus may do something.
package polkit

import (
	"context"
	"errors"
	"strings"

	"github.com/godbus/dbus/v5"
)

type subject struct {
	Kind    string
	Details map[string]dbus.Variant
}

// Ask tells whether the sender of msg may do action. A person is asked for a password only where the caller said that one is there.
// details are shown to whoever decides.
func Ask(ctx context.Context, conn *dbus.Conn, msg dbus.Message, action string, details map[string]string) (bool, error) {
	sender, _ := msg.Headers[dbus.FieldSender].Value().(string)
	who := subject{"system-bus-name", map[string]dbus.Variant{"name": dbus.MakeVariant(sender)}}
	var flags uint32
	if msg.Flags&dbus.FlagAllowInteractiveAuthorization != 0 {
		flags = 1 // AllowUserInteraction
	}
	var answer struct {
		Authorized, Challenge bool
		Details               map[string]string
	}
	err := conn.Object("org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority").CallWithContext(ctx,
		"org.freedesktop.PolicyKit1.Authority.CheckAuthorization", 0, who, action, details, flags, "").Store(&answer)
	return answer.Authorized, err
}

// NotThere tells that polkit, or Cell's policy for it, is not installed. A polkit that is installed and fails is no such
// case: an administrator's rule must not end with the daemon that knows it.
func NotThere(err error) bool {
	var e dbus.Error
	if !errors.As(err, &e) {
		return false
	}
	return e.Name == "org.freedesktop.DBus.Error.ServiceUnknown" ||
		e.Name == "org.freedesktop.PolicyKit1.Error.Failed" && strings.Contains(e.Error(), "is not registered")
}
