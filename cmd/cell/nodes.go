package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/sdk/api"
)

func newNodes() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "nodes", Short: "List the machines of the tissue", Args: args(0, 0, "no arguments"),
		Long: `List the machines of the tissue, as this one sees them.

PATH is how another one is reached: direct, lan (directly, within a network of this machine),
relay NODE (through that one, which cannot read what it passes on), or none (not at present).
SEEN is when it was heard of last.`,
		Example: "  cell nodes\n  cell nodes --json",
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := mesh(c.Context())
			if err != nil {
				return err
			}
			all, err := n.Nodes(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(all)
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tPATH\tRTT\tROLE\tCELLS\tCORES\tMEMORY\tVERSION\tSEEN\tADDRESS")
			for _, node := range all {
				rtt, seen := "–", "never"
				if node.RTT > 0 {
					rtt = fmt.Sprintf("%.1fms", node.RTT)
				}
				if !node.Seen.IsZero() {
					seen = heard(time.Since(node.Seen))
				}
				path := node.Path
				if node.Via != "" {
					path += " " + node.Via
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%dG\t%s\t%s\t%s\n", node.Name, path, rtt, node.Role, node.Cells,
					node.Capacity.Cores, (node.Capacity.Memory+1<<29)>>30, node.Version, seen, node.Address)
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON list")
	return c
}

// pairs says how many pairs of nodes are served; nothing for none.
func pairs(n int) string {
	if n == 0 {
		return ""
	}
	return "for " + count(n, "pair") + " of nodes"
}

// heard is a time that has passed, to the second, minute, hour or day.
func heard(d time.Duration) string {
	switch {
	case d < 5*time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}

// mesh is cellnetd, which the bus starts.
func mesh(ctx context.Context) (api.Net, error) {
	m, err := manager(ctx)
	return api.Net(m), err
}

func newNet() *cobra.Command {
	c := &cobra.Command{
		Use: "net", Short: "Look at the mesh of machines", Args: args(0, 0, "a command"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newNetStatus(), newNetWhy(), newNetRotate())
	return c
}

func newNetStatus() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "status", Short: "Show what the mesh is made of on this machine", Args: args(0, 0, "no arguments"),
		Example: "  cell net status\n  cell net status --json",
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := mesh(c.Context())
			if err != nil {
				return err
			}
			s, err := n.Status(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(s)
			}
			if s.Tissue == "" {
				fmt.Fprintln(c.OutOrStdout(), "this machine is in no tissue")
				return nil
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
			for _, line := range [][2]string{
				{"tissue", s.Tissue + " (" + s.ID + ")"},
				{"node", s.Node},
				{"address", s.Address},
				{"interface", s.Interface},
				{"wireguard", fmt.Sprintf("%s, UDP port %d", s.WireGuard, s.Port)},
				{"firewall", s.Firewall},
				{"names", s.Names},
				{"NAT", s.NAT},
				{"outside", strings.Join(s.Outside, ", ")},
				{"helpers", strings.Join(s.Helpers, ", ")},
				{"relaying", pairs(s.Relaying)},
				{"records", fmt.Sprint(s.Records)},
				{"trouble", s.Trouble},
			} {
				if line[1] != "" {
					fmt.Fprintf(w, "%s\t%s\n", line[0], line[1])
				}
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

func newNetWhy() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "why [CALLER] CELL", Short: "Show step by step whether a caller reaches a cell on another machine", Args: args(1, 2, "a cell"),
		Long: `Show step by step whether a caller on this machine reaches a cell on another one: who has that
name, by which path the machine is reached, which rule of its kernel decides, and what its celld
says. CALLER is a cell of this machine or user:NAME; without it you are meant.`,
		Example: "  cell net why shop.web billing\n  cell net why user:alice billing",
		RunE: func(c *cobra.Command, words []string) error {
			n, err := mesh(c.Context())
			if err != nil {
				return err
			}
			if len(words) == 1 {
				me, err := user.Current()
				if err != nil {
					return fmt.Errorf("ask who you are: %w", err)
				}
				words = []string{"user:" + me.Username, words[0]}
			}
			all, err := n.Why(c.Context(), words[0], words[1])
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(all)
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
			for _, r := range all {
				mark := "ok"
				if !r.Good {
					mark = "NO"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", mark, r.What, r.Text)
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON list")
	return c
}

func newNetRotate() *cobra.Command {
	return &cobra.Command{
		Use: "rotate", Short: "Turn to another key of WireGuard", Args: args(0, 0, "no arguments"),
		Long: `Turn to another key of WireGuard, which the other machines know already. Connections go on. It
happens by itself every 30 days; do it when somebody may have read the present key.`,
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := mesh(c.Context())
			if err != nil {
				return err
			}
			return n.Rotate(c.Context())
		},
	}
}

// sum is what some machines have together.
type sum struct {
	Class   string `json:"class"` // "member", "guest", "donor" or "all"
	Nodes   int    `json:"nodes"`
	Reached int    `json:"reached"` // the rest counts these alone
	api.Capacity
}

func newCapacity() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "capacity", Short: "Show what the machines of the tissue have together", Args: args(0, 0, "no arguments"),
		Long: `Show what the machines of the tissue that are reached have together, by role. GFLOP/S is an
estimate: cores times clock times the operations on float64 that a core ends in a cycle at most.`,
		Example: "  cell capacity\n  cell capacity --json",
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := mesh(c.Context())
			if err != nil {
				return err
			}
			all, err := n.Nodes(c.Context())
			if err != nil {
				return err
			}
			sums := sumUp(all)
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(sums)
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "CLASS\tNODES\tREACHED\tCORES\tMEMORY\tSTORAGE\tGFLOP/S (ESTIMATE)")
			for _, s := range sums {
				fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%dG\t%dG\t%d\n", s.Class, s.Nodes, s.Reached, s.Cores, (s.Memory+1<<29)>>30, (s.Storage+1<<29)>>30, (s.MFlops+500)/1000)
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON list")
	return c
}

// sumUp adds by role, and in the end all.
func sumUp(nodes []api.Node) []sum {
	sums := []sum{}
	for _, class := range []string{"member", "guest", "donor", "all"} {
		s := sum{Class: class}
		for _, n := range nodes {
			if class != "all" && n.Role != class {
				continue
			}
			s.Nodes++
			if n.Path == "none" {
				continue
			}
			s.Reached++
			s.Cores += n.Capacity.Cores
			s.Memory += n.Capacity.Memory
			s.Storage += n.Capacity.Storage
			s.MFlops += n.Capacity.MFlops
		}
		if s.Nodes > 0 {
			sums = append(sums, s)
		}
	}
	return sums
}
