package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/cell-network/cell/sdk/broker"
	"github.com/cell-network/cell/sdk/internal/generated"
	"github.com/cell-network/cell/sdk/internal/handover"
	"github.com/cell-network/cell/sdk/internal/journal"
	"github.com/cell-network/cell/sdk/internal/spans"
	"github.com/cell-network/cell/sdk/replicas"
	"github.com/cell-network/cell/sdk/stats"
	"github.com/cell-network/cell/sdk/trace"
	"github.com/cell-network/cell/sdk/wire"
)

const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2

	stopWithin = 9 * time.Second // when CELL_STOP_WITHIN does not say
)

// Main serves c on the sockets that systemd handed over, and ends the process: with 0 when systemd stopped it or when it had
// nothing to do for CELL_IDLE_TIMEOUT, with 1 when it cannot serve, with 2 when it was not started by systemd. It makes the
// journal the destination of package slog and of package log.
//
// When it stops, running calls have CELL_STOP_WITHIN (9 seconds when not set) to end. Both variables are durations as Go
// writes them, such as 1m30s.
func Main(c Cell) {
	code := run(c)
	spans.Stop()
	os.Exit(code)
}

func run(c Cell) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	given := handover.This()
	listeners, err := given.Listeners()
	g := c.CellBuild()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", g.Name, err)
		return exitUsage
	}
	if len(listeners) == 0 {
		fmt.Fprintf(os.Stderr, "%s: no socket was handed over; run it with: cell mitosis .\n", g.Name)
		return exitUsage
	}
	journal.Install(g.Name)
	gate := newGate(os.Getenv("CELL_NAME"), os.Getenv("CELL_BROKER"))
	table := measure(g)
	if t := trace.Current(); t != nil {
		t.Serves(g.Version)
	}
	handle, err := handler(g, gate, table)
	if err != nil {
		slog.Error(err.Error())
		return exitFail
	}
	server := &wire.Server{
		Handler: handle, Genome: g.JSON, Log: slog.Error, Accepted: gate.accepted, Introduce: gate.introduce, Races: races,
		Recycle: true,
		Hello:   wire.Hello{Name: g.Name, Version: g.Version, Hash: g.Hash, Accepts: g.Accepts},
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }()
	}
	if err := TellReady(); err != nil {
		slog.Warn(err.Error())
	}
	// Serving takes the server's lock: a server that is stuck is restarted.
	go given.Watch(func() { server.Serving() })

	within := duration("CELL_STOP_WITHIN", stopWithin)
	idle := duration("CELL_IDLE_TIMEOUT", 0)
	for {
		select {
		case <-signals:
			signal.Reset() // a second signal ends the process at once
			tell(given, "STOPPING=1")
			ctx, cancel := context.WithTimeout(context.Background(), within)
			defer cancel()
			if err := server.Drain(ctx); err != nil {
				slog.Warn("stopped before all calls had ended", "error", err)
			}
			return exitOK
		case err := <-failed:
			slog.Error("serving ended", "error", err)
			return exitFail
		case <-untilIdle(server, idle):
			if stopped := stopIdle(server, idle, within); stopped {
				tell(given, "STOPPING=1")
				return exitOK
			}
		}
	}
}

// measure makes the table in which calls are counted and gives it to celld, again and again: the next celld wants it, too. A cell
// serves also when nobody counts.
func measure(g *generated.Genome) *stats.Table {
	names := make([]string, len(g.Methods))
	for i, m := range g.Methods {
		names[i] = m.Name
	}
	table, err := stats.New(names)
	if err != nil {
		slog.Warn(err.Error())
		return nil
	}
	if os.Getenv("CELL_BROKER") == "" {
		return table
	}
	go func() {
		for {
			if e, ok := errors.AsType[*broker.Error](broker.Measure(context.Background(), table.File())); ok {
				slog.Warn("calls are not counted by celld", "reason", e.Message)
				return
			}
			time.Sleep(measureAgain)
		}
	}()
	return table
}

// measureAgain is how long a celld that is away is left alone.
const measureAgain = time.Second

// untilIdle fires when the server may have been idle for long enough; never when idle is 0.
func untilIdle(server *wire.Server, idle time.Duration) <-chan time.Time {
	if idle <= 0 {
		return nil
	}
	since, busy := server.Idle()
	if busy {
		return time.After(idle)
	}
	return time.After(max(time.Until(since.Add(idle)), 0))
}

// stopIdle stops a server that is idle. No caller is lost: systemd holds the socket, and who waits in its backlog starts the
// next process.
func stopIdle(server *wire.Server, idle, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	stopped, err := server.DrainIdle(ctx, idle)
	if err != nil {
		slog.Warn("stop when idle", "error", err)
	}
	return stopped
}

func tell(p *handover.Process, state string) {
	if err := p.Notify(state); err != nil {
		slog.Warn(err.Error())
	}
}

// duration reads a variable; one that is not well formed does not keep the cell from serving.
func duration(variable string, otherwise time.Duration) time.Duration {
	value := os.Getenv(variable)
	if value == "" {
		return otherwise
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		slog.Warn("variable is no duration", "variable", variable, "value", value, "used", otherwise.String())
		return otherwise
	}
	return d
}

// fullName is that of the cell that this process is, without the number of the replica.
func fullName(otherwise string) string {
	if name, _, _ := strings.Cut(os.Getenv("CELL_NAME"), ":"); name != "" {
		return name
	}
	return otherwise
}

// races answers what the clients of this process chose, as JSON, to programs of its own user that are no cells.
func races(r wire.Request) ([]byte, error) {
	if who, ok := r.Peer.(*peer); ok && (who.Cell != "" || who.UID != os.Geteuid() && who.UID != 0) {
		return nil, &wire.Error{Code: wire.CodeDenied, Message: "only its own user looks into a cell"}
	}
	return json.Marshal(replicas.Reports())
}
