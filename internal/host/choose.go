package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/godbus/dbus/v5"
)

// insideMark is a file in the private /run that names the state directory.
const insideMark = "/run/cell-host"

// Find returns the manager that serves this process and starts nothing. An
// empty want lets CELL_MANAGER or else the machine decide. For an embedded
// manager that is down the error wraps ErrDown.
func Find(ctx context.Context, want Kind) (*Host, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	kind, why, err := choose(want)
	if err != nil {
		return nil, err
	}
	switch kind {
	case System:
		addr := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS")
		if addr == "" {
			addr = "unix:path=/run/dbus/system_bus_socket"
		}
		return &Host{Kind: System, Why: why, BusAddress: addr, StateDir: "/var/lib/cell", SocketDir: "/run/cell"}, nil
	case User:
		dir, err := userStateDir()
		if err != nil {
			return nil, err
		}
		run := userRuntimeDir()
		addr := os.Getenv("DBUS_SESSION_BUS_ADDRESS")
		if p := filepath.Join(run, "bus"); exists(p) || addr == "" {
			addr = "unix:path=" + dbus.EscapeBusAddressValue(p)
		}
		return &Host{Kind: User, Why: why, BusAddress: addr, StateDir: dir, SocketDir: filepath.Join(run, "cell")}, nil
	}
	return findEmbedded(why)
}

// choose decides the kind and says why.
func choose(want Kind) (Kind, string, error) {
	why := "asked for"
	if want == "" {
		if v := os.Getenv("CELL_MANAGER"); v != "" {
			want, why = Kind(v), "CELL_MANAGER="+v
		}
	}
	root := os.Geteuid() == 0
	switch want {
	case System:
		if !exists("/run/systemd/system") || exists(insideMark) {
			return "", "", &Error{"systemd does not run this machine", "use the embedded manager: CELL_MANAGER=embedded, as root"}
		}
		return System, why, nil
	case User:
		if !exists(filepath.Join(userRuntimeDir(), "systemd", "private")) {
			return "", "", noUserManager()
		}
		return User, why, nil
	case Embedded:
		if !root {
			return "", "", &Error{"the embedded manager needs root", "run as root"}
		}
		if systemdPath() == "" {
			return "", "", noSystemd()
		}
		return Embedded, why, nil
	case "":
	default:
		return "", "", &Error{fmt.Sprintf("unknown manager %q", string(want)), "use system, user or embedded"}
	}
	switch {
	case root && exists(insideMark):
		return Embedded, "inside the embedded manager", nil
	case root && exists("/run/systemd/system"):
		return System, "root, and systemd runs this machine", nil
	case root && systemdPath() != "":
		return Embedded, "root, and systemd is installed but does not run this machine", nil
	case root:
		return "", "", noSystemd()
	case exists("/run/systemd/system") && systemInstalled():
		return System, "celld is installed on this machine; CELL_MANAGER=user chooses the user's own manager", nil
	case exists(filepath.Join(userRuntimeDir(), "systemd", "private")):
		return User, "an ordinary user with a systemd user manager", nil
	}
	return "", "", noUserManager()
}

func noSystemd() error {
	return &Error{"systemd is not installed", "install the packages systemd and dbus"}
}

func noUserManager() error {
	if !exists("/run/systemd/system") { // as in a container: there is nothing to log in to
		return &Error{"systemd does not run this machine, so an ordinary user has no manager", "run it as root: `cell` then brings up a manager of its own"}
	}
	return &Error{
		"this user has no systemd manager",
		"log in, or run `loginctl enable-linger` as root for this user, and set XDG_RUNTIME_DIR",
	}
}

// userRuntimeDir is XDG_RUNTIME_DIR or its customary value.
func userRuntimeDir() string {
	if d := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(d) {
		return d
	}
	return fmt.Sprintf("/run/user/%d", os.Getuid())
}

// systemdPath is the manager's executable, or empty.
func systemdPath() string {
	return firstExisting("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
}

func firstExisting(paths ...string) string {
	for _, p := range paths {
		if exists(p) {
			return p
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// insideState returns the state directory when this process runs in the
// namespaces of an embedded manager.
func insideState() (string, bool) {
	b, err := os.ReadFile(insideMark)
	if err != nil {
		return "", false
	}
	return strings.TrimSuffix(string(b), "\n"), true
}
