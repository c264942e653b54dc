package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

func newStart() *cobra.Command {
	return &cobra.Command{
		Use: "start NAME", ValidArgsFunction: cellNames, Short: "Start a stopped cell and its subtree", Args: args(1, 1, "one name"),
		Long: "Start a stopped cell and its subtree, and wait until they are ready. A job that is named runs now.\n\nEXIT STATUS\n  3 when a cell did not become ready.",
		RunE: func(c *cobra.Command, words []string) error {
			m, err := manager(c.Context())
			if err != nil {
				return err
			}
			_, err = watched(c, m, func() ([]api.Step, error) { return m.Start(c.Context(), words[0]) })
			return err
		},
	}
}

func newStop() *cobra.Command {
	return &cobra.Command{
		Use: "stop NAME", ValidArgsFunction: cellNames, Short: "Stop a cell and its subtree", Args: args(1, 1, "one name"),
		Long: "Stop a cell and its subtree. Running calls finish, then the socket closes. It stays stopped, also over a reboot, until cell start or cell mitosis.",
		RunE: func(c *cobra.Command, words []string) error {
			m, err := manager(c.Context())
			if err != nil {
				return err
			}
			return m.Stop(c.Context(), words[0])
		},
	}
}

func newApoptosis() *cobra.Command {
	return &cobra.Command{
		Use: "apoptosis NAME", ValidArgsFunction: cellNames, Short: "Stop a cell and remove what was built of it", Args: args(1, 1, "one name"),
		Long: `Stop a cell and its subtree, forget it, and remove everything a build can make again: run/, cache/
and bin/. The source and data/ stay, and log/ unless keep_log = false.`,
		RunE: func(c *cobra.Command, words []string) error {
			m, err := manager(c.Context())
			if err != nil {
				return err
			}
			cells, err := m.List(c.Context(), words[0])
			if err != nil {
				return err
			}
			if err := m.Forget(c.Context(), words[0]); err != nil {
				return err
			}
			// A tree has one owner; see celld's own check.
			if err := actAsOwner(c.Context(), cells[0].Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			for _, x := range cells {
				if err := clean(x.Dir); err != nil {
					return fmt.Errorf("clean %s: %w", x.Name, err)
				}
			}
			return nil
		},
	}
}

// clean removes what a build or a run made in a cell's directory.
func clean(dir string) error {
	gone := []string{"cache", "run"}
	// Without a build nothing could make bin/ again: it is source.
	if m, errs := manifest.Load(dir); len(errs) == 0 {
		if m.Build != "" {
			gone = append(gone, "bin")
		}
		if !m.Life.KeepLog {
			gone = append(gone, "log")
		}
	}
	root, err := os.OpenRoot(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	for _, d := range gone {
		if err := root.RemoveAll(d); err != nil {
			return err
		}
	}
	for _, d := range []string{"data", "log"} {
		_ = os.Remove(filepath.Join(dir, d)) // only when empty: then Cell made it
	}
	return nil
}
