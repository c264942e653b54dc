package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

func newGPU() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "gpu", Short: "List the graphics processors of this machine and who has them", Args: args(0, 0, "no arguments"),
		Long: `List the graphics processors of this machine, which cells have them, and what uses them.

A cell that has a device is listed below it with what it was granted, what it uses at present, and
the energy that it has used since cell-gpu runs, with the error of that figure. A process that belongs
to no cell is listed, too: a device on which one computes is granted to nobody as a whole.
A "–" is what the driver does not tell.`,
		Example: "  cell gpu\n  cell gpu --json",
		RunE: func(c *cobra.Command, _ []string) error {
			m, err := manager(c.Context())
			if err != nil {
				return err
			}
			all, err := m.Enzymes(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(all)
			}
			return printGPUs(c.OutOrStdout(), all)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printGPUs(out io.Writer, all api.Enzymes) error {
	if all.Driver != "" {
		fmt.Fprintf(out, "driver %s, CUDA %s\n", all.Driver, all.CUDA)
	}
	if all.Problem != "" {
		fmt.Fprintln(out, all.Problem)
	}
	if len(all.Devices) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "GPU\tNAME\tMEMORY\tBUSY\tPOWER\tTEMP\tENERGY\tSTATE")
	for _, d := range all.Devices {
		fmt.Fprintf(w, "%d\t%s\t%s of %s\t%s\t%s\t%s\t\t%s\n", d.Index, d.Name, bytesOr(d.Used), manifest.FormatBytes(int64(d.Memory)),
			told(d.Busy, "%d%%"), told(d.Power, "%.0fW"), told(d.Temperature, "%d°C"), gpuState(d, all.Grants))
		for _, s := range d.Slices {
			fmt.Fprintf(w, "\tslice %s\t%s\t\t\t\t\t%s\n", s.Name, manifest.FormatBytes(int64(s.Memory)), gpuHolders(all.Grants, func(g api.GPUGrant) bool { return g.Slice == s.UUID }))
		}
		for _, g := range all.Grants {
			if g.UUID == d.UUID {
				fmt.Fprintln(w, grantLine(g, all.Uses))
			}
		}
		for _, p := range d.Processes {
			if p.Cell == "" || !slices.ContainsFunc(all.Grants, func(g api.GPUGrant) bool { return g.Cell == p.Cell && g.UUID == d.UUID }) {
				fmt.Fprintf(w, "\tprocess %d\t%s\t\t\t\t\t%s\n", p.PID, bytesOr(p.Memory), strings.TrimSpace(p.Kind+" "+p.Cell))
			}
		}
	}
	return w.Flush()
}

// gpuState is who may have a device.
func gpuState(d api.GPU, grants []api.GPUGrant) string {
	switch {
	case d.Problem != "":
		return d.Problem
	case d.MIG == "on":
		return "divided"
	}
	return gpuHolders(grants, func(g api.GPUGrant) bool { return g.UUID == d.UUID && g.Slice == "" })
}

func gpuHolders(grants []api.GPUGrant, of func(api.GPUGrant) bool) string {
	state := "free"
	for _, g := range grants {
		if of(g) {
			if state = "taken"; g.Share {
				state = "shared"
			}
		}
	}
	return state
}

// grantLine is a cell below its device.
func grantLine(g api.GPUGrant, uses []api.GPUUse) string {
	memory, busy, energy := manifest.FormatBytes(0), "–", "–" // without a process on it
	for _, u := range uses {
		if u.Cell != g.Cell || u.UUID != g.UUID {
			continue
		}
		memory, busy = bytesOr(u.Memory), fmt.Sprintf("%.0fs", u.Busy)
		if u.Joules != nil {
			energy = fmt.Sprintf("%s ±%s", joules(*u.Joules), joules(u.Error))
		}
	}
	if g.Memory > 0 {
		memory += " of " + manifest.FormatBytes(int64(g.Memory))
	}
	state := "alone"
	if g.Share {
		state = "shares"
	}
	return fmt.Sprintf("\t%s\t%s\t%s\t\t\t%s\t%s", g.Cell, memory, busy, energy, state)
}

// joules is an amount of energy for people: in watt-hours from a tenth of one on.
func joules(j float64) string {
	if j >= 360 {
		return fmt.Sprintf("%.1fWh", j/3600)
	}
	return fmt.Sprintf("%.0fJ", j)
}

func bytesOr(n *uint64) string {
	if n == nil {
		return "–"
	}
	return manifest.FormatBytes(int64(*n))
}

func told[T any](v *T, format string) string {
	if v == nil {
		return "–"
	}
	return fmt.Sprintf(format, *v)
}
