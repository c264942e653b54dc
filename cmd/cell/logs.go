package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newLogs() *cobra.Command {
	var follow bool
	var lines int
	c := &cobra.Command{
		Use: "logs NAME", ValidArgsFunction: cellNames, Short: "Show the journal of a cell", Args: args(1, 1, "one name"),
		Long:    "Show what a cell and systemd wrote about it. Further ways to select and print: cell journalctl.",
		Example: "  cell logs -f calculator\n  cell journalctl -u cell@calculator -o json",
		RunE: func(c *cobra.Command, words []string) error {
			j := []string{"--no-pager", "-n", fmt.Sprint(lines)}
			for _, u := range []string{"cell@" + words[0] + ".service", "cell-program@" + words[0] + ".service", "cell@" + words[0] + ".socket"} {
				j = append(j, "-u", u)
			}
			if follow {
				j = append(j, "-f")
			}
			return pass(c, "journalctl", j)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines")
	c.Flags().IntVarP(&lines, "lines", "n", 100, "how many lines of the past")
	return c
}
