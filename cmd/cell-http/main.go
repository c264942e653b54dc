// Command cell-http is a cell through which programs that speak HTTP and JSON call other cells: those that its own
// cell.toml names in [needs] and [cells]. It takes its socket from systemd; docs/http.md says what it answers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/net/netutil"

	"github.com/cell-network/cell/internal/httpdoor"
	"github.com/cell-network/cell/sdk/broker"
	"github.com/cell-network/cell/sdk/manifest"
	"github.com/cell-network/cell/sdk/wire"
)

// Bounds on connections of clients.
const (
	maxConnections = 4096
	headerWithin   = 10 * time.Second
	idleFor        = 2 * time.Minute
	maxHeader      = 64 << 10
)

func main() {
	err := run(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cell-http:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	config, err := parse(args, out)
	if err != nil {
		return err
	}
	dir := os.Getenv("CELL_DIR")
	m, errs := manifest.Load(dir)
	if len(errs) > 0 {
		return fmt.Errorf("read %s: %w", dir, errs)
	}
	for _, n := range m.Needs {
		config.Cells = append(config.Cells, n.Name)
	}
	for _, c := range m.Cells {
		config.Cells = append(config.Cells, c.Name)
	}
	if len(config.Cells) == 0 {
		return errors.New("cell.toml names no cell in [needs] or [cells], so there is nothing to call")
	}
	config.Log = slog.Error
	config.Connect = func(ctx context.Context, cell string) (*wire.Conn, error) {
		c, grant, err := broker.Connect(ctx, cell, "")
		if err != nil {
			return nil, err
		}
		conn := wire.Greet(c, wire.Hello{Name: os.Getenv("CELL_NAME")})
		go grant.Keep(conn.Done(), conn.Introduce)
		return conn, nil
	}
	listeners, err := activation.Listeners()
	if err != nil {
		return fmt.Errorf("take sockets: %w", err)
	}
	if len(listeners) == 0 {
		return errors.New("take sockets: systemd handed none over; cell-http is the exec of a cell that speaks http")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return serve(ctx, config, listeners, m.Life.StopWithin)
}

// parse reads the options. One of --token-file and --anyone is demanded: nobody opens a door to everybody by forgetting.
func parse(args []string, out io.Writer) (c httpdoor.Config, err error) {
	f := flag.NewFlagSet("cell-http", flag.ContinueOnError)
	f.SetOutput(out)
	f.Usage = func() {
		fmt.Fprint(out, "cell-http lets programs that speak HTTP and JSON call the cells that its cell.toml names.\n\nOptions:\n")
		f.PrintDefaults()
	}
	tokenFile := f.String("token-file", "", "callers send what this `FILE` holds as a bearer token")
	anyone := f.Bool("anyone", false, "callers need no token: who reaches the door may call")
	files := f.String("files", "", "answer what is no call from the files of this `DIRECTORY`")
	list := func(name, usage string, into *[]string) {
		f.Func(name, usage, func(s string) error { *into = append(*into, s); return nil })
	}
	list("host", "a `NAME` that requests may be addressed to; IP addresses, localhost and names without a dot always may", &c.Hosts)
	list("origin", "an `ORIGIN` whose pages may call, as in https://app.example.org; the door's own always may", &c.Origins)
	f.Int64Var(&c.MaxBody, "max-body", httpdoor.DefaultMaxBody, "`BYTES` that a request may have")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	for i, h := range c.Hosts {
		c.Hosts[i] = strings.ToLower(h)
	}
	switch {
	case f.NArg() > 0:
		return c, fmt.Errorf("%q: there are no arguments but options", f.Arg(0))
	case c.MaxBody <= 0:
		return c, fmt.Errorf("--max-body: %d is not a size", c.MaxBody)
	case *anyone == (*tokenFile != ""):
		return c, errors.New("who may call? Give --token-file FILE or --anyone")
	case *tokenFile != "":
		data, err := os.ReadFile(*tokenFile)
		if err != nil {
			return c, err
		}
		if c.Token = strings.TrimSpace(string(data)); len(c.Token) < 16 {
			return c, fmt.Errorf("%s: a token of less than 16 characters can be guessed", *tokenFile)
		}
	}
	if *files != "" {
		root, err := os.OpenRoot(*files) // no link leads out of it
		if err != nil {
			return c, err
		}
		c.Files = http.FileServerFS(root.FS())
	}
	return c, nil
}

// serve serves until ctx ends. Connections that are kept alive without a request are then closed at once, the others with their answer.
func serve(ctx context.Context, config httpdoor.Config, listeners []net.Listener, within time.Duration) error {
	door := httpdoor.New(config)
	defer door.Close()
	server := &http.Server{Handler: door, ReadHeaderTimeout: headerWithin, IdleTimeout: idleFor, MaxHeaderBytes: maxHeader}
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ended <- server.Serve(netutil.LimitListener(l, maxConnections)) }()
	}
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("tell systemd that the door is open: %w", err)
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	// Calls under way are answered; what would go on for ever is told to end.
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	go door.Drain(ctx)
	err := server.Shutdown(ctx)
	door.Drain(ctx)
	return err
}
