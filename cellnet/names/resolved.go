package names

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Resolved is systemd-resolved on the system bus. It keeps what it is told for as long as the interface is there, also over its own
// restarts.
type Resolved struct{ Conn *dbus.Conn }

// ErrNoResolved tells that systemd-resolved does not run.
var ErrNoResolved = errors.New("systemd-resolved is not running")

// Route makes resolved ask server, reached over the interface, for names of cells and for no others. Only names below Domain leave for
// it, and names of the tissue are not asked for elsewhere.
func (r Resolved) Route(ctx context.Context, iface int, server netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	type address struct {
		Family  int32
		Address []byte
	}
	type domain struct {
		Name      string
		RouteOnly bool
	}
	resolved := r.Conn.Object("org.freedesktop.resolve1", "/org/freedesktop/resolve1")
	for _, c := range []struct {
		method string
		value  any
	}{
		{"SetLinkDNS", []address{{unix.AF_INET6, server.AsSlice()}}},
		{"SetLinkDomains", []domain{{strings.TrimSuffix(Domain, "."), true}}},
		{"SetLinkDefaultRoute", false},
		{"SetLinkDNSSEC", "no"}, // nobody signs for the domain; WireGuard proves who answers
		{"SetLinkDNSOverTLS", "no"},
		{"SetLinkLLMNR", "no"},
		{"SetLinkMulticastDNS", "no"},
	} {
		err := resolved.CallWithContext(ctx, "org.freedesktop.resolve1.Manager."+c.method, dbus.FlagNoAutoStart, int32(iface), c.value).Err
		var e dbus.Error
		if errors.As(err, &e) && (e.Name == "org.freedesktop.DBus.Error.ServiceUnknown" || e.Name == "org.freedesktop.DBus.Error.NameHasNoOwner") {
			return ErrNoResolved
		}
		if err != nil {
			return fmt.Errorf("systemd-resolved: %s: %w", c.method, err)
		}
	}
	return nil
}
