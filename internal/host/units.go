package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	unitDir = runtimeDir + "/units"
	// unitPath leaves out the machine's own units. The directories beside
	// unitDir are private too; without them a reload forgets transient units.
	unitPath = runtimeDir + "/systemd/user.control:" + runtimeDir + "/systemd/transient:" +
		runtimeDir + "/systemd/user:" + unitDir
)

// standardUnits are taken from systemd's own user units.
var standardUnits = []string{
	"basic.target", "default.target", "sockets.target", "timers.target", "paths.target",
	"shutdown.target", "exit.target", "systemd-exit.service",
	"app.slice", "session.slice", "background.slice",
}

const busSocket = `[Unit]
Description=D-Bus User Message Bus Socket

[Socket]
ListenStream=%t/bus
`

const busService = `[Unit]
Description=D-Bus User Message Bus
Requires=dbus.socket

[Service]
Type=notify
NotifyAccess=main
ExecStart=DAEMON --session --address=systemd: --nofork --nopidfile --systemd-activation --syslog-only
Slice=session.slice
UMask=0022
`

// writeUnits fills the manager's unit directory and the bus activation file.
func writeUnits(state, celld string) error {
	wants := filepath.Join(unitDir, "sockets.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	for _, u := range standardUnits {
		src := firstExisting("/usr/lib/systemd/user/"+u, "/lib/systemd/user/"+u)
		if src == "" {
			if strings.HasSuffix(u, ".slice") {
				continue
			}
			return &Error{"systemd's user unit " + u + " is missing", "install the package systemd"}
		}
		if err := os.Symlink(src, filepath.Join(unitDir, u)); err != nil {
			return err
		}
	}
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		return &Error{"dbus-daemon is not installed", "install the package dbus"}
	}
	for path, text := range map[string]string{
		unitDir + "/dbus.socket":                                      busSocket,
		unitDir + "/dbus.service":                                     strings.Replace(busService, "DAEMON", quote(daemon), 1),
		unitDir + "/celld.service":                                    celldUnit(state, celld),
		unitDir + "/cellnetd.service":                                 cellnetdUnit(state, celld),
		unitDir + "/cell-gpu.service":                                 gpuUnit(celld),
		runtimeDir + "/dbus-1/services/network.cell.Manager1.service": "[D-BUS Service]\nName=network.cell.Manager1\nExec=/bin/false\nSystemdService=celld.service\n",
		runtimeDir + "/dbus-1/services/network.cell.Net1.service":     "[D-BUS Service]\nName=network.cell.Net1\nExec=/bin/false\nSystemdService=cellnetd.service\n",
		runtimeDir + "/dbus-1/services/network.cell.Gpu1.service":     "[D-BUS Service]\nName=network.cell.Gpu1\nExec=/bin/false\nSystemdService=cell-gpu.service\n",
	} {
		if err := writeFile(path, text); err != nil {
			return err
		}
	}
	if exists(filepath.Join(netState(state), "state.json")) { // this machine is in a tissue
		wants := filepath.Join(unitDir, "default.target.wants")
		if err := os.MkdirAll(wants, 0o755); err != nil {
			return err
		}
		if err := os.Symlink("../cellnetd.service", filepath.Join(wants, "cellnetd.service")); err != nil {
			return err
		}
	}
	return os.Symlink("../dbus.socket", filepath.Join(wants, "dbus.socket"))
}

// netState is the state directory of cellnetd.
func netState(state string) string { return filepath.Join(state, "net") }

// cellnetdUnit is the unit of the daemon of the mesh, which is beside celld. It ends after celld, whose calls it carries.
func cellnetdUnit(state, celld string) string {
	program := quote(filepath.Join(filepath.Dir(celld), "cellnetd"))
	return fmt.Sprintf(`[Unit]
Description=Cell mesh
Requires=dbus.socket
After=dbus.socket
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart=%s
ExecStopPost=%s clean-up
Environment=CELL_MANAGER=embedded %s
Restart=on-failure
RestartSec=200ms
UMask=0077
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_DAC_OVERRIDE
NoNewPrivileges=yes
`, program, program, quote("CELLNET_STATE_DIR="+netState(state)))
}

// gpuUnit is the unit of the daemon that asks the drivers of graphics processors, which is beside celld. It may have to be killed: a
// driver may hang.
func gpuUnit(celld string) string {
	return fmt.Sprintf(`[Unit]
Description=Cell graphics processors
Requires=dbus.socket
After=dbus.socket
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart=%s
Environment=CELL_MANAGER=embedded
TimeoutStopSec=5
`, quote(filepath.Join(filepath.Dir(celld), "cell-gpu")))
}

// celldUnit is the unit of the daemon, started by the first call on the bus.
func celldUnit(state, celld string) string {
	return fmt.Sprintf(`[Unit]
Description=Cell manager
Requires=dbus.socket
After=dbus.socket
# With a limit, some crashes in a row would leave the cells without celld.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart=%s
Environment=CELL_MANAGER=embedded %s %s
WatchdogSec=2min
Restart=on-failure
RestartSec=200ms
UMask=0022
`, quote(celld), quote("CELL_STATE_DIR="+state), quote("CELL_SOCKET_LINKS="+filepath.Join(state, "sockets")))
}

// quote makes one word of a unit file's setting.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, "\n", `\n`).Replace(s) + `"`
}

// writeFile writes a file and the directories above it.
func writeFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
