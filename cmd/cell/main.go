// Command cell is what people type. Output rules: standard output carries what was asked, standard error the progress;
// errors are lowercase, without a full stop, as "cell: …" followed by "hint: …" lines; no colour carries meaning.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/internal/host"
)

// version is set by the linker in packages.
var version = "dev"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "host-init" {
		if err := host.Init(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "cell:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(report(ctx, os.Stderr, root().ExecuteContext(ctx)))
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use: "cell", Short: "Run directories as systemd services that find and call one another",
		Long: `Run directories as systemd services that find and call one another.

A cell is a directory with a cell.toml. "cell mitosis DIR" builds the tree of cells
rooted there and runs it as cell@NAME.service and cell@NAME.socket.`,
		Version: version, SilenceErrors: true, SilenceUsage: true, DisableAutoGenTag: true,
	}
	c.PersistentFlags().Bool("user", false, "use the user's own manager where the machine has Cell installed, too")
	c.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if user, err := c.Flags().GetBool("user"); err == nil && user {
			return os.Setenv("CELL_MANAGER", string(host.User))
		}
		return nil
	}
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &codeError{exitUsage, err.Error(), []string{c.CommandPath() + " --help"}}
	})
	c.AddCommand(newNew(), newBuild(), newMitosis(), newCheck(), newUse(), newGenome(), newSync(), newStatus(), newTop(), newMetrics(), newGPU(), newImage(), newPs(), newLogs(), newStart(), newStop(), newApoptosis(), newExplain(), newDoctor(), newRace(),
		newTissue(), newInvite(), newJoin(), newNodes(), newCapacity(), newNet(), newEvict(), newLeave(),
		newHost(), newPass("systemctl"), newPass("journalctl"))
	return c
}

// args checks the number of a verb's words; cobra's own check cannot give an exit code.
func args(low, high int, usage string) cobra.PositionalArgs {
	return func(c *cobra.Command, words []string) error {
		if len(words) >= low && (high < 0 || len(words) <= high) {
			return nil
		}
		return &codeError{exitUsage, fmt.Sprintf("%s takes %s", c.CommandPath(), usage), []string{c.CommandPath() + " --help"}}
	}
}
