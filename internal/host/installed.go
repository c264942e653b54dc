package host

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/units"
)

const activation = "network.cell.Manager1.service"

// systemInstalled tells whether the machine's bus knows celld.
func systemInstalled() bool {
	service := in(activation, "/usr/local/share/dbus-1/system-services", "/usr/share/dbus-1/system-services",
		"/lib/dbus-1/system-services", "/etc/dbus-1/system-services", "/run/dbus-1/system-services")
	policy := in("network.cell.Manager1.conf", "/etc/dbus-1/system.d", "/usr/share/dbus-1/system.d", "/run/dbus-1/system.d")
	return service && policy
}

func in(name string, dirs ...string) bool {
	for _, d := range dirs {
		if exists(filepath.Join(d, name)) {
			return true
		}
	}
	return false
}

// userInstalled tells whether every user's bus and manager know celld.
func userInstalled() bool {
	return in(activation, "/usr/local/share/dbus-1/services", "/usr/share/dbus-1/services") &&
		in("celld.service", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user", "/etc/systemd/user")
}

// ensureSystem checks what only an installation can give.
func (h *Host) ensureSystem() error {
	if !systemInstalled() {
		return &Error{"celld is not installed on this machine", "run `make install` as root, or choose another manager with CELL_MANAGER"}
	}
	return nil
}

// ensureUser makes the user's manager and bus know celld. Where Cell is not installed it writes their files to the
// runtime directory, which ends with the user's last session; celld is the program they name.
func (h *Host) ensureUser(ctx context.Context, celld string) error {
	run := userRuntimeDir()
	if !exists(filepath.Join(run, "bus")) {
		return &Error{"the user's manager has no message bus", "install the package dbus-user-session and log in again"}
	}
	files := map[string]string{
		filepath.Join(run, "dbus-1/services", activation):                  units.UserActivation,
		filepath.Join(run, "dbus-1/services", "network.cell.Gpu1.service"): units.UserGPUActivation,
		filepath.Join(run, "systemd/user/celld.service"):                   userUnit(celld, h.StateDir),
		filepath.Join(run, "systemd/user/cell-gpu.service"):                strings.ReplaceAll(units.UserGPU, "ExecStart=@BINDIR@/cell-gpu", "ExecStart="+quote(filepath.Join(filepath.Dir(celld), "cell-gpu"))),
	}
	changed := false
	installed := userInstalled()
	if !installed && !filepath.IsAbs(celld) {
		return fmt.Errorf("path of celld is not absolute: %q", celld)
	}
	for path, text := range files {
		old, err := os.ReadFile(path)
		switch {
		case installed && err == nil: // from before the installation, which they would cover
			err = os.Remove(path)
		case installed || err == nil && bytes.Equal(old, []byte(text)):
			continue
		default:
			err = replaceFile(path, text)
		}
		if err != nil {
			return fmt.Errorf("make celld known to the user's manager: %w", err)
		}
		changed = true
	}
	if !changed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := h.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	manager := conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
	if err := manager.CallWithContext(ctx, "org.freedesktop.systemd1.Manager.Reload", 0).Err; err != nil {
		return fmt.Errorf("reload the user's manager: %w", err)
	}
	if err := conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.ReloadConfig", 0).Err; err != nil {
		return fmt.Errorf("reload the user's bus: %w", err)
	}
	// A celld of another program is replaced; its cells go on running.
	var job dbus.ObjectPath
	err = manager.CallWithContext(ctx, "org.freedesktop.systemd1.Manager.TryRestartUnit", 0, "celld.service", "replace").Store(&job)
	if err != nil {
		return fmt.Errorf("restart celld: %w", err)
	}
	return nil
}

// userUnit fills in the unit of celld for a user's manager.
func userUnit(celld, state string) string {
	word := func(s string) string { return strings.Trim(quote(s), `"`) }
	text := strings.ReplaceAll(units.UserService, "ExecStart=@BINDIR@/celld", "ExecStart="+quote(celld))
	return strings.ReplaceAll(text, "@STATEDIR@", word(state))
}

// replaceFile writes a file whole, with the directories above it.
func replaceFile(path, text string) error {
	if err := writeFile(path+".new", text); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
