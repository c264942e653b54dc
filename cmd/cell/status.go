package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

func newStatus() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "status [NAME]", ValidArgsFunction: cellNames, Short: "Show a cell and its subtree, or all cells", Args: args(0, 1, "at most one name"),
		Long:    "Show a cell and its subtree, or all cells.\n\nEXIT STATUS\n  3 when a cell has failed, 4 when there is no such cell.",
		Example: "  cell status\n  cell status shop\n  cell status shop.gateway --json",
		RunE: func(c *cobra.Command, words []string) error {
			name := ""
			if len(words) == 1 {
				name = words[0]
			}
			cells, err := list(c, name)
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				if err := json.NewEncoder(c.OutOrStdout()).Encode(cells); err != nil {
					return err
				}
			case len(cells) == 1 && name != "":
				printOne(c, cells[0])
			default:
				printTree(c, cells)
			}
			return failedCells(cells)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON; the stable form")
	return c
}

func newPs() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "ps", Short: "List all cells, one a line", Args: args(0, 0, "no argument"),
		RunE: func(c *cobra.Command, _ []string) error {
			cells, err := list(c, "")
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(cells)
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tSTATE\tPID\tMEMORY\tDIRECTORY")
			for _, x := range cells {
				pid := "–"
				if x.PID > 0 {
					pid = fmt.Sprint(x.PID)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", x.Name, x.State, pid, memory(x), x.Dir)
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON; the stable form")
	return c
}

func list(c *cobra.Command, name string) ([]api.Cell, error) {
	m, err := manager(c.Context())
	if err != nil {
		return nil, err
	}
	cells, err := m.List(c.Context(), name)
	if cells == nil {
		cells = []api.Cell{}
	}
	return cells, err
}

// failedCells is the error of a list in which a cell has failed.
func failedCells(cells []api.Cell) error {
	for _, x := range cells {
		if x.State == "failed" {
			return &codeError{exitNotReady, "", []string{"cell logs " + x.Name + "   shows why it failed"}}
		}
	}
	return nil
}

func memory(x api.Cell) string {
	switch {
	case x.Memory == 0:
		return "–"
	case x.MemoryMax == 0:
		return manifest.FormatBytes(int64(x.Memory))
	}
	return manifest.FormatBytes(int64(x.Memory)) + " / " + manifest.FormatBytes(int64(x.MemoryMax))
}

// ago is how long a state has lasted, in its largest unit.
func ago(micros uint64) string {
	if micros == 0 {
		return "–"
	}
	d := time.Since(time.UnixMicro(int64(micros)))
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	case d >= time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	case d >= time.Minute:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}

// printTree draws the cells as the tree that their names are.
func printTree(c *cobra.Command, cells []api.Cell) {
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tVERSION\tSINCE\tCALLS/S\tP99\tMEMORY\tNOTE")
	shown := map[string]bool{}
	for _, x := range cells {
		shown[x.Name] = true
	}
	for i, x := range cells {
		rate, p99 := "–", "–"
		if x.Calls != nil {
			rate, p99 = three(x.Calls.PerSecond), short(time.Duration(x.Calls.P99))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", branch(cells, shown, i), x.State, or(x.Version), ago(x.Since), rate, p99, memory(x), x.Note)
	}
	w.Flush()
}

func or(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// branch is the first column: "├─ gateway" below a parent that is in the list, else the whole name.
func branch(cells []api.Cell, shown map[string]bool, i int) string {
	name := cells[i].Name
	dot := strings.LastIndex(name, ".")
	if dot < 0 || !shown[name[:dot]] {
		return name
	}
	indent := ""
	for at := dot; ; {
		up := strings.LastIndex(name[:at], ".")
		if up < 0 || !shown[name[:up]] {
			break
		}
		// A line goes on beside us when a later cell belongs to the same ancestor.
		if more(cells[i+1:], name[:up], name[:at]) {
			indent = "│  " + indent
		} else {
			indent = "   " + indent
		}
		at = up
	}
	mark := "└─ "
	if more(cells[i+1:], name[:dot], name) {
		mark = "├─ "
	}
	return indent + mark + name[dot+1:]
}

// more tells whether a later cell is a child of parent, outside of except's own subtree.
func more(later []api.Cell, parent, except string) bool {
	for _, x := range later {
		rest, ok := strings.CutPrefix(x.Name, parent+".")
		if ok && !strings.HasPrefix(x.Name, except+".") && rest != "" {
			return true
		}
	}
	return false
}

func printOne(c *cobra.Command, x api.Cell) {
	w := c.OutOrStdout()
	version := x.Version
	if version != "" {
		version = " " + version
	}
	fmt.Fprintf(w, "● %s%s: %s", x.Name, version, x.State)
	if x.Since > 0 {
		fmt.Fprintf(w, " for %s", ago(x.Since))
	}
	fmt.Fprintln(w)
	if x.Note != "" {
		fmt.Fprintf(w, "  %8s  %s\n", "note", x.Note)
	}
	pid := ""
	if x.PID > 0 {
		pid = fmt.Sprintf(" (pid %d)", x.PID)
	}
	trigger := ".socket"
	if x.Job {
		trigger = ".timer"
	}
	fmt.Fprintf(w, "  %8s  %s%s, %s\n", "unit", x.Unit, pid, strings.TrimSuffix(x.Unit, ".service")+trigger)
	fmt.Fprintf(w, "  %8s  %s\n", "where", x.Dir)
	if n := x.Calls; n != nil {
		fmt.Fprintf(w, "  %8s  %s/s now, %d since start; p50 %s, p99 %s, %d in flight, %s\n", "calls", three(n.PerSecond), n.Total,
			short(time.Duration(n.P50)), short(time.Duration(n.P99)), n.InFlight, count(int(n.Errors), "error"))
	}
	tasks := "–"
	if x.Tasks > 0 {
		tasks = fmt.Sprint(x.Tasks)
	}
	if x.TasksMax > 0 {
		tasks += fmt.Sprintf(" / %d", x.TasksMax)
	}
	fmt.Fprintf(w, "  %8s  memory %s · tasks %s\n", "limits", memory(x), tasks)
	for i, n := range x.Needs {
		label := ""
		if i == 0 {
			label = "needs"
		}
		fmt.Fprintf(w, "  %8s  %s: %d connections handed over, %d copied\n", label, n.Need, n.Handed, n.Copied)
	}
	for i, r := range x.Runs {
		label, took := "", ""
		if i == 0 {
			label = "runs"
		}
		if i == 5 {
			break
		}
		if r.End > 0 {
			took = short(time.Duration(r.End-r.Start) * time.Microsecond)
		}
		start := time.UnixMicro(int64(r.Start)).Format(time.DateTime)
		fmt.Fprintf(w, "  %8s  %s\n", label, strings.TrimSpace(fmt.Sprintf("%s  %-8s  %s", start, took, r.Result)))
	}
}
