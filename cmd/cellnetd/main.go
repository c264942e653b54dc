// Command cellnetd keeps a machine in its tissue: WireGuard, addresses, rules and records. It is started by D-Bus activation, and
// with the machine; where that is in no tissue it soon ends again.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/cellnet/bus"
	"github.com/cell-network/cell/cellnet/names"
	"github.com/cell-network/cell/cellnet/node"
	"github.com/cell-network/cell/internal/onbus"
	"github.com/cell-network/cell/sdk/api"
)

const version = "0.1.0"

func main() {
	work := run
	if len(os.Args) == 2 && os.Args[1] == "clean-up" {
		work = cleanUp
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "cellnetd:", err)
		os.Exit(1)
	}
}

func stateDir() (string, error) {
	for _, name := range []string{"CELLNET_STATE_DIR", "STATE_DIRECTORY"} {
		if dir := os.Getenv(name); dir != "" {
			return dir, nil
		}
	}
	return "", errors.New("neither CELLNET_STATE_DIR nor STATE_DIRECTORY is set")
}

// cleanUp is what systemd runs after the daemon. After a crash everything stays: the next daemon takes it over, and the rules go on
// to keep out what they kept out.
func cleanUp() error {
	if result := os.Getenv("SERVICE_RESULT"); result != "" && result != "success" {
		return nil
	}
	dir, err := stateDir()
	if err != nil {
		return err
	}
	return node.CleanUp(dir)
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	dir, err := stateDir()
	if err != nil {
		return err
	}
	system := os.Getenv("CELL_MANAGER") == "system"
	connect := dbus.ConnectSystemBus
	if !system {
		connect = dbus.ConnectSessionBus
	}
	var use onbus.Use
	front, err := connect(use.Option())
	if err != nil {
		return fmt.Errorf("connect to the bus: %w", err)
	}
	defer front.Close()
	var resolver node.Resolver
	if system {
		resolver = names.Resolved{Conn: front}
	}
	n, err := node.Open(ctx, dir, slog.New(slog.NewTextHandler(os.Stderr, nil)), version, api.Manager{Conn: front}, resolver)
	if err != nil {
		return err
	}
	if err := bus.Serve(ctx, front, n, version); err != nil {
		return err
	}
	// celld knows which cells there are.
	front.BusObject().Call("org.freedesktop.DBus.StartServiceByName", dbus.FlagNoReplyExpected, api.ManagerName, uint32(0))
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("notify readiness: %w", err)
	}
	return use.Idle(ctx, front, api.NetName, bus.IdleFor, n.InTissue)
}
