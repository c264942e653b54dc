// Command celld serves cells on one systemd manager. It is started by D-Bus activation; nobody starts it by hand.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/celld"
	"github.com/cell-network/cell/celld/broker"
	"github.com/cell-network/cell/celld/bus"
	"github.com/cell-network/cell/celld/store"
	"github.com/cell-network/cell/celld/systemd"
	"github.com/cell-network/cell/sdk/api"
)

const version = "0.1.0"

func main() {
	work := run
	if len(os.Args) == 4 && os.Args[1] == "hold-storage" {
		work = func() error { return celld.HoldStorage(os.Args[2], os.Args[3]) }
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "celld:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	kind := os.Getenv("CELL_MANAGER")
	connect, socketDir := dbus.ConnectSystemBus, "/run/cell"
	switch kind {
	case "", "system":
		kind = "system"
	case "user":
		connect, socketDir = dbus.ConnectSessionBus, filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "cell")
	case "embedded":
		connect = dbus.ConnectSessionBus
	default:
		return fmt.Errorf("CELL_MANAGER=%s: not system, user or embedded", kind)
	}
	// With the broker's directory, which has to be there for the first cell's sandbox.
	if err := os.MkdirAll(filepath.Join(socketDir, broker.Dir), 0o755); err != nil {
		return err
	}
	state := os.Getenv("CELL_STATE_DIR")
	if state == "" {
		state = os.Getenv("STATE_DIRECTORY")
	}
	if state == "" {
		return errors.New("neither CELL_STATE_DIR nor STATE_DIRECTORY is set")
	}
	runs, err := store.OpenRuns(state)
	if err != nil {
		return err
	}
	wanted, err := store.Open(state)
	if err != nil {
		return err
	}
	// Signals and methods have a connection each: a flood of unit changes must not delay an answer.
	events, err := connect()
	if err != nil {
		return fmt.Errorf("connect to the bus: %w", err)
	}
	defer events.Close()
	front, err := connect()
	if err != nil {
		return fmt.Errorf("connect to the bus: %w", err)
	}
	defer front.Close()
	sd, err := systemd.New(ctx, events)
	if err != nil {
		return err
	}
	linkDir := os.Getenv("CELL_SOCKET_LINKS")
	if linkDir == "" {
		linkDir = socketDir
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find celld's own path: %w", err)
	}
	s := &celld.Server{
		Systemd: sd, Store: wanted, Runs: runs, SocketDir: socketDir, LinkDir: linkDir, System: kind == "system", User: kind == "user" && os.Geteuid() != 0,
		Helper: self, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	if s.Key, err = celld.OpenKey(state, filepath.Join(socketDir, broker.Dir)); err != nil {
		return err
	}
	if text := os.Getenv("CELL_INTRODUCTION"); text != "" {
		if s.Lifetime, err = time.ParseDuration(text); err != nil || s.Lifetime <= 0 {
			return fmt.Errorf("CELL_INTRODUCTION=%s: not a duration", text)
		}
	}
	mesh, err := connect() // a connection of its own, as the calls over it may take their time
	if err != nil {
		return fmt.Errorf("connect to the bus: %w", err)
	}
	defer mesh.Close()
	if s.Mesh, err = bus.WatchMesh(ctx, mesh); err != nil {
		return err
	}
	devices, err := connect() // likewise: a driver may hang
	if err != nil {
		return fmt.Errorf("connect to the bus: %w", err)
	}
	defer devices.Close()
	s.GPUs = bus.GPUs{Gpu: api.Gpu{Conn: devices}}
	sd.OnUnknown = func(property string) {
		s.Log.Warn("this systemd does not know a property; cells run without it", "property", property, "systemd", sd.Version())
	}
	if err := bus.Serve(ctx, front, s, version); err != nil {
		return err
	}
	// After the name is taken: a second celld must not replace the first one's socket.
	hub, err := broker.Listen(filepath.Join(socketDir, broker.Dir), s.System)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- (&broker.Server{Cells: s}).Serve(ctx, hub) }()
	go watchdog(ctx)
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("notify readiness: %w", err)
	}
	go s.Restore(ctx)
	go s.Retire(ctx)
	go s.AnnounceCells(ctx)
	go s.GuardGPUs(ctx)
	go func() { failed <- s.Watch(ctx) }()
	return <-failed
}

func watchdog(ctx context.Context) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return
	}
	t := time.NewTicker(every / 2)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		}
	}
}
