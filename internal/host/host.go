// Package host finds the systemd manager that serves this machine's cells
// and, where systemd does not run, brings up an embedded one.
//
// The embedded manager is an ordinary `systemd --user` in its own mount, PID
// and control group namespaces, with a private /run, a journal and a message
// bus. The machine's own /tmp, /etc and /run are left as they are.
package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Kind names the sort of systemd manager.
type Kind string

// The managers a cell can live under.
const (
	System   Kind = "system"
	User     Kind = "user"
	Embedded Kind = "embedded"
)

// ErrDown reports that the embedded manager is chosen but not running.
var ErrDown = errors.New("embedded manager is not running")

// Error is a failure together with what the operator can do about it.
type Error struct {
	Msg  string
	Hint string
}

// Error returns the message followed by the hint.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Msg
	}
	return e.Msg + ": " + e.Hint
}

// Host is a systemd manager and the places that belong to it.
type Host struct {
	Kind       Kind
	Why        string // why this kind was chosen
	BusAddress string // message bus, as reachable from this process
	InitPID    int    // init of the embedded manager, as seen from here
	StateDir   string // directory of durable state
	SocketDir  string // directory of cells' sockets, as seen inside the manager

	start  uint64 // start time of InitPID
	inside bool   // this process already runs in the embedded namespaces
}

// Dial connects to the manager's message bus, authenticates and says hello.
// The context bounds the setup only, not the life of the connection.
func (h *Host) Dial(ctx context.Context) (*dbus.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if h.Kind == Embedded && !h.inside && !alive(h.InitPID, h.start) {
		return nil, ErrDown
	}
	conn, err := dbus.Dial(h.BusAddress)
	if err != nil {
		return nil, fmt.Errorf("connect to the %s bus: %w", h.Kind, err)
	}
	done := make(chan error, 1)
	go func() {
		if err := conn.Auth(nil); err != nil {
			done <- err
			return
		}
		done <- conn.Hello()
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet the %s bus: %w", h.Kind, err)
	}
	return conn, nil
}

// Command prepares a systemd tool such as systemctl or journalctl so that it
// speaks to this manager.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	if h.Kind == System {
		return exec.CommandContext(ctx, name, args...)
	}
	if filepath.Base(name) == "journalctl" {
		args = h.journalArgs(args)
	} else {
		args = append([]string{"--user"}, args...)
	}
	if h.Kind == User || h.inside {
		return exec.CommandContext(ctx, name, args...)
	}
	enter := []string{
		"-t", strconv.Itoa(h.InitPID), "-m", "-p", "-C", "--",
		"env", "XDG_RUNTIME_DIR=" + runtimeDir, "DBUS_SESSION_BUS_ADDRESS=" + innerBus, name,
	}
	return exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
}

// journalArgs turns a selection by unit into one by user unit. The --user
// switch is added only where it helps: it hides lines of user units that the
// journal keeps in its system file, as it does for root and when volatile.
func (h *Host) journalArgs(args []string) []string {
	out := make([]string, 0, len(args)+1)
	units := false
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			out = append(out, args[i:]...)
			i = len(args)
		case a == "--unit":
			out, units = append(out, "--user-unit"), true
			if i+1 < len(args) {
				i++
				out = append(out, args[i])
			}
		case strings.HasPrefix(a, "--unit="):
			out, units = append(out, "--user-unit="+strings.TrimPrefix(a, "--unit=")), true
		case strings.HasPrefix(a, "--user-unit"), strings.HasPrefix(a, "_SYSTEMD_USER_UNIT="):
			out, units = append(out, a), true
		case takesValue(a):
			out = append(out, a)
			if i+1 < len(args) {
				i++
				out = append(out, args[i])
			}
		default:
			flags, value, ok := shortUnit(a)
			if !ok {
				out = append(out, a)
				continue
			}
			units = true
			if flags != "" {
				out = append(out, "-"+flags)
			}
			if value == "" && i+1 < len(args) {
				i++
				value = args[i]
			}
			out = append(out, "--user-unit="+value)
		}
	}
	if h.Kind == User && !units {
		out = append([]string{"--user"}, out...)
	}
	return out
}

// takesValue tells whether the next argument is the value of option a.
func takesValue(a string) bool {
	switch a {
	case "-S", "-U", "-t", "-p", "-g", "-o", "-c", "-D", "-M", "-F",
		"--since", "--until", "--identifier", "--priority", "--grep", "--output",
		"--cursor", "--after-cursor", "--cursor-file", "--facility", "--field", "--output-fields":
		return true
	}
	return false
}

// shortUnit splits a cluster of short options that ends in -u, as in -fu NAME.
func shortUnit(a string) (flags, value string, ok bool) {
	if len(a) < 2 || a[0] != '-' || a[1] == '-' {
		return "", "", false
	}
	for i := 1; i < len(a); i++ {
		if a[i] == 'u' {
			return a[1:i], a[i+1:], true
		}
		if !strings.ContainsRune("aefklmqrx", rune(a[i])) {
			return "", "", false
		}
	}
	return "", "", false
}

// userStateDir is the state directory of this user's cells.
func userStateDir() (string, error) {
	if d := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "cell"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		if os.Geteuid() != 0 {
			return "", &Error{"the home directory is unknown", "set HOME or XDG_STATE_HOME"}
		}
		home = "/root"
	}
	return filepath.Join(home, ".local", "state", "cell"), nil
}
