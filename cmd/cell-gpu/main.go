// Command cell-gpu asks the drivers of graphics processors. It is a process of its own because their libraries may hang, or end it. It is
// started by D-Bus, on machines that have such a device, when celld asks.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/gpu"
	"github.com/cell-network/cell/gpu/bus"
	"github.com/cell-network/cell/gpu/nvml"
	"github.com/cell-network/cell/internal/onbus"
	"github.com/cell-network/cell/sdk/api"
)

const version = "0.1.0"

// patience is how long a driver is waited for. The first call may load it, which takes seconds.
const patience = 15 * time.Second

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cell-gpu:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	connect := dbus.ConnectSystemBus
	if os.Getenv("CELL_MANAGER") != "system" {
		connect = dbus.ConnectSessionBus
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	s := gpu.NewServer(&nvml.Driver{Library: os.Getenv("CELL_NVML")}, proc{}, patience)
	var use onbus.Use
	conn, err := connect(use.Option())
	if err != nil {
		return fmt.Errorf("connect to the bus: %w", err)
	}
	defer conn.Close()
	if err := bus.Serve(ctx, conn, s, version); err != nil {
		return err
	}
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("notify readiness: %w", err)
	}
	go s.Watch(ctx, time.Second, log.Warn)
	return use.Idle(ctx, conn, api.GpuName, bus.IdleFor, s.Busy)
}

// proc finds processes where the kernel shows them.
type proc struct{}

// Cgroup is the last line's path of /proc/PID/cgroup, that of the unified hierarchy.
func (proc) Cgroup(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path
		}
	}
	return ""
}
