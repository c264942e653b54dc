package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

func newExplain() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "explain NAME", ValidArgsFunction: cellNames, Short: "Show a cell's effective manifest, units, limits and membrane", Args: args(1, 1, "one name"),
		Long: `Show a cell's manifest with every default filled in, the units it becomes, and for each limit
and rule of the membrane what was requested and whether it holds on this machine: a probe that is
sealed as the cell is tries what must not succeed.`,
		RunE: func(c *cobra.Command, words []string) error {
			m, err := manager(c.Context())
			if err != nil {
				return err
			}
			cells, err := m.List(c.Context(), words[0])
			if err != nil {
				return err
			}
			i := slices.IndexFunc(cells, func(x api.Cell) bool { return x.Name == words[0] })
			if i < 0 {
				return &codeError{exitNotFound, fmt.Sprintf("no cell %q is known here", words[0]), nil}
			}
			rules, err := m.Explain(c.Context(), words[0])
			if err != nil {
				return err
			}
			man, errs := manifest.Load(cells[i].Dir)
			if len(errs) > 0 {
				return errs
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(struct {
					Manifest string     `json:"manifest"`
					Rules    []api.Rule `json:"rules"`
				}{man.String(), rules})
			}
			fmt.Fprintf(c.OutOrStdout(), "# %s/%s, with every default\n%s", man.Dir, manifest.File, man)
			printRules(c, rules)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON; the stable form")
	return c
}

func printRules(c *cobra.Command, rules []api.Rule) {
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
	group := ""
	for _, r := range rules {
		if r.Group != group {
			group = r.Group
			fmt.Fprintln(w)
			if group == "units" {
				fmt.Fprintf(w, "%s\n", group)
			} else {
				fmt.Fprintf(w, "%s\trequested\tby\tenforced\n", group)
			}
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", r.What, r.Requested, r.By, r.Enforced)
	}
	w.Flush()
}
