package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/internal/host"
)

func newHost() *cobra.Command {
	c := &cobra.Command{
		Use: "host", Short: "Say which systemd manager is in use and why", Args: args(0, 0, "no argument"),
		Long: `Say which systemd manager is in use and why: the machine's (root), the user's own, or an
embedded one that cell brings up where systemd is installed but does not run, as in containers.
CELL_MANAGER=system, user or embedded chooses another.`,
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := host.Find(c.Context(), "")
			if errors.Is(err, host.ErrDown) {
				fmt.Fprintln(c.OutOrStdout(), "embedded: not up; the next cell command brings it up")
				return nil
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: %s\n", h.Kind, h.Why)
			return nil
		},
	}
	c.AddCommand(&cobra.Command{
		Use: "down", Short: "End an embedded manager with everything in it", Args: args(0, 0, "no argument"),
		Long: "Stop an embedded manager and everything in it. As after a reboot, the next cell command brings it back with the cells that ran.",
		RunE: func(c *cobra.Command, _ []string) error {
			h, err := host.Find(c.Context(), "")
			if errors.Is(err, host.ErrDown) {
				return nil
			}
			if err != nil {
				return err
			}
			return h.Down(c.Context())
		},
	})
	return c
}
