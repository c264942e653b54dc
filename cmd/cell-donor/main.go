// Command cell-donor makes a machine that was started from an image of cell image build a donor: docs/image.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/donor"
	"github.com/cell-network/cell/sdk/api"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cell-donor:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, words []string) error {
	switch {
	case len(words) == 1 && words[0] == "prepare":
		return donor.Prepare(ctx)
	case len(words) == 1 && words[0] == "serve":
		conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
		if err != nil {
			return fmt.Errorf("reach the bus: %w", err)
		}
		defer conn.Close()
		return donor.Serve(ctx, api.Manager{Conn: conn}, api.Net{Conn: conn})
	}
	return errors.New("it is started by units of a donor's image")
}
