package main

import (
	"fmt"
	"os"

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
			if follow {
				j = append(j, "-f")
			}
			j = append(j, unitMatches(words[0])...)
			return pass(c, "journalctl", j)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines")
	c.Flags().IntVarP(&lines, "lines", "n", 100, "how many lines of the past")
	return c
}

// unitMatches selects all that a cell's units wrote and what their manager wrote of them. It is wider than journalctl -u:
// the last lines of a process that ended at once are filed as a system unit's, whatever manager runs it, because journald
// finds its control group gone and has only the name that the manager gave (journald-context.c).
func unitMatches(name string) []string {
	var m []string
	for _, u := range []string{"cell@" + name + ".service", "cell-program@" + name + ".service", "cell@" + name + ".socket"} {
		for _, match := range [][]string{
			{"_SYSTEMD_UNIT=" + u}, {"_SYSTEMD_USER_UNIT=" + u}, {"_PID=1", "UNIT=" + u}, {fmt.Sprintf("_UID=%d", os.Getuid()), "USER_UNIT=" + u},
		} {
			if len(m) > 0 {
				m = append(m, "+")
			}
			m = append(m, match...)
		}
	}
	return m
}
