package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/internal/host"
	"github.com/cell-network/cell/membrane/spec"
)

func newLogs() *cobra.Command {
	var o logOptions
	c := &cobra.Command{
		Use: "logs [NAME]", ValidArgsFunction: cellNames, Short: "Show what a cell wrote", Args: args(0, 1, "one name"),
		Long: `Show what a cell wrote, or with --trace what all cells wrote about one call and those that it caused.
A long line that journald stored in pieces is shown as one. Further ways to select and print: cell journalctl.

EXIT STATUS
  4 when there is no such cell.`,
		Example: "  cell logs -f calculator\n  cell logs --systemd calculator\n  cell logs --trace 4bf92f3577b34da6a3ce929d0e0e4736\n  cell logs --json calculator | jq -r .MESSAGE",
		RunE: func(c *cobra.Command, words []string) error {
			switch {
			case o.trace != "" && len(words) == 0:
				if raw, err := hex.DecodeString(o.trace); err != nil || len(raw) != 16 {
					return &codeError{exitUsage, fmt.Sprintf("--trace: %q is not 32 hexadecimal digits", o.trace), nil}
				}
				return o.run(c, "", []string{"TRACE=" + strings.ToLower(o.trace)})
			case o.trace == "" && len(words) == 1:
				return o.run(c, words[0], unitMatches(words[0], o.systemd))
			}
			return &codeError{exitUsage, "cell logs needs the name of a cell, or --trace", []string{"cell logs --help"}}
		},
	}
	c.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on with new lines")
	c.Flags().StringVar(&o.trace, "trace", "", "what all cells wrote about the call with this `ID`")
	c.Flags().BoolVar(&o.systemd, "systemd", false, "also what systemd wrote about the cell")
	c.Flags().BoolVar(&o.json, "json", false, "print each line as a JSON object with the journal's fields; the stable form")
	c.Flags().IntVarP(&o.lines, "lines", "n", 100, "how many lines of the past")
	return c
}

type logOptions struct {
	follow, systemd, json bool
	trace                 string
	lines                 int
}

// run shows the lines that match, those of the named cell unless name is empty.
func (o *logOptions) run(c *cobra.Command, name string, matches []string) error {
	ctx, begun, out := c.Context(), time.Now(), c.OutOrStdout()
	h, err := findHost(ctx)
	if err != nil {
		return err
	}
	show := func(l *line) error { return l.print(out) }
	if o.json {
		show = func(l *line) error { return l.json(out) }
	}
	j := &journal{h, matches, c.ErrOrStderr()}
	lines, err := j.last(ctx, max(o.lines, 0))
	if err != nil {
		return err
	}
	cursor := ""
	for _, l := range lines {
		if err := show(l); err != nil {
			return err
		}
		cursor = l.field("__CURSOR")
	}
	if len(lines) == 0 && o.lines > 0 {
		if name != "" {
			if _, err := list(c, name); err != nil { // a cell that is gone may have left lines
				return err
			}
		}
		fmt.Fprintln(c.ErrOrStderr(), "nothing was written yet")
		if name != "" && !o.systemd {
			fmt.Fprintf(c.ErrOrStderr(), "hint: cell logs --systemd %s   shows what systemd did with it\n", name)
		}
	}
	if !o.follow {
		return nil
	}
	return j.follow(ctx, cursor, begun, show)
}

// lastWords are the newest lines that a cell's program wrote since a moment, n at most. It waits a little: journald may not have
// read yet what a program wrote that has just ended.
func lastWords(ctx context.Context, h *host.Host, name string, since time.Time, n int) []string {
	j := &journal{host: h, matches: unitMatches(name, false)}
	for try := 0; ; try++ {
		lines, err := j.last(ctx, n, fmt.Sprintf("--since=@%d.%06d", since.Unix(), since.Nanosecond()/1000))
		if len(lines) == 0 && err == nil && try < 3 {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		var words []string
		for _, l := range lines {
			words = append(words, strings.Split(printable(string(l.text)), "\n")...)
		}
		return words[max(0, len(words)-n):]
	}
}

// unitMatches selects all that a cell's units wrote, and with systemd what their manager wrote of them. It is wider than journalctl
// -u, which loses the last words of a process that ended at once. By the time journald looks, its control group is gone, or it
// was looked at before it entered one (systemd connects the output first): such a line is filed as a system unit's, as the
// manager's own, or as nobody's, and has only the identifier that the manager gave it (journald-context.c).
func unitMatches(name string, systemd bool) []string {
	uid := fmt.Sprintf("_UID=%d", os.Getuid())
	said := []string{"_TRANSPORT=stdout", "SYSLOG_IDENTIFIER=" + name}
	matches := [][]string{append([]string{uid}, said...), append([]string{"_SYSTEMD_UNIT=init.scope"}, said...)}
	if os.Getuid() == 0 {
		for _, root := range []bool{false, true} {
			matches = append(matches, append([]string{fmt.Sprintf("_UID=%d", spec.HostUser(name, root))}, said...))
		}
	}
	for _, key := range []string{"_SYSTEMD_UNIT", "_SYSTEMD_USER_UNIT"} { // what celld says of the cell
		matches = append(matches, []string{key + "=celld.service", "SYSLOG_IDENTIFIER=" + name})
	}
	for _, u := range []string{"cell@" + name + ".service", "cell@" + name + ".socket", "cell@" + name + ".timer"} {
		matches = append(matches, []string{"_SYSTEMD_UNIT=" + u}, []string{"_SYSTEMD_USER_UNIT=" + u})
		if systemd {
			matches = append(matches, []string{"_PID=1", "UNIT=" + u}, []string{uid, "USER_UNIT=" + u})
		}
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
