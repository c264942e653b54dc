package main

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func newLogs() *cobra.Command {
	var follow bool
	var lines int
	var trace string
	c := &cobra.Command{
		Use: "logs [NAME]", ValidArgsFunction: cellNames, Short: "Show the journal of a cell", Args: args(0, 1, "one name"),
		Long: `Show what a cell and systemd wrote about it, or with --trace what all cells wrote about one call and
those that it caused. Further ways to select and print: cell journalctl.`,
		Example: "  cell logs -f calculator\n  cell logs --trace 4bf92f3577b34da6a3ce929d0e0e4736\n  cell journalctl -u cell@calculator -o json",
		RunE: func(c *cobra.Command, words []string) error {
			j := []string{"--no-pager", "-n", fmt.Sprint(lines)}
			if follow {
				j = append(j, "-f")
			}
			switch {
			case trace != "" && len(words) == 0:
				if raw, err := hex.DecodeString(trace); err != nil || len(raw) != 16 {
					return &codeError{exitUsage, fmt.Sprintf("--trace: %q is not 32 hexadecimal digits", trace), nil}
				}
				j = append(j, "TRACE="+strings.ToLower(trace))
			case trace == "" && len(words) == 1:
				j = append(j, unitMatches(words[0])...)
			default:
				return &codeError{exitUsage, "cell logs: wanted is the name of a cell, or --trace", []string{"cell logs --help"}}
			}
			return pass(c, "journalctl", j)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines")
	c.Flags().StringVar(&trace, "trace", "", "what all cells wrote about the call with this `ID`")
	c.Flags().IntVarP(&lines, "lines", "n", 100, "how many lines of the past")
	return c
}

// unitMatches selects all that a cell's units wrote and what their manager wrote of them. It is wider than journalctl -u,
// which loses the last words of a process that ended at once. By the time journald looks, its control group is gone, or it
// was looked at before it entered one (systemd connects the output first): such a line is filed as a system unit's, as the
// manager's own, or as nobody's, and has only the identifier that the manager gave it (journald-context.c).
func unitMatches(name string) []string {
	uid := fmt.Sprintf("_UID=%d", os.Getuid())
	said := []string{"_TRANSPORT=stdout", "SYSLOG_IDENTIFIER=" + name}
	matches := [][]string{append([]string{uid}, said...), append([]string{"_SYSTEMD_UNIT=init.scope"}, said...)}
	for _, u := range []string{"cell@" + name + ".service", "cell-program@" + name + ".service", "cell@" + name + ".socket"} {
		matches = append(matches, []string{"_SYSTEMD_UNIT=" + u}, []string{"_SYSTEMD_USER_UNIT=" + u},
			[]string{"_PID=1", "UNIT=" + u}, []string{uid, "USER_UNIT=" + u})
	}
	var words []string
	for i, m := range matches {
		if i > 0 {
			words = append(words, "+")
		}
		words = append(words, m...)
	}
	return words
}
