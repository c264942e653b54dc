package main

import (
	"bufio"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newTissue() *cobra.Command {
	c := &cobra.Command{
		Use: "tissue", Short: "Found a set of machines that trust one another", Args: args(0, 0, "a command"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var node string
	create := &cobra.Command{
		Use: "create NAME", Short: "Found a tissue of which this machine is the first", Args: args(1, 1, "a name"),
		Long: `Found a tissue of which this machine is the first. No machine of it is special later: the
others go on when this one is gone. "cell invite" does the same where there is no tissue yet,
with the name home.`,
		Example: "  cell tissue create home",
		RunE: func(c *cobra.Command, words []string) error {
			n, err := mesh(c.Context())
			if err != nil {
				return err
			}
			if err := n.Create(c.Context(), words[0], node); err != nil {
				return err
			}
			fmt.Fprintf(c.ErrOrStderr(), "%s: founded; cell invite makes a token for the next machine\n", words[0])
			return nil
		},
	}
	create.Flags().StringVar(&node, "node", "", "what this machine is called in it (default its host name)")
	c.AddCommand(create)
	return c
}

func newInvite() *cobra.Command {
	role, uses, lifetime := "member", uint32(1), time.Hour
	c := &cobra.Command{
		Use: "invite", Short: "Make a token with which a machine joins", Args: args(0, 0, "no arguments"),
		Long: `Make a token with which a machine joins this one's tissue, at any machine of it. Whoever has
the token can join: pass it on like a password.

Roles:
  member  a machine of the same owner: it may invite and evict, and its users call cells as
          the users of the same name here
  guest   it calls what [auth] of a cell allows to "node:NAME"
  donor   it lends itself and calls nothing`,
		Example: "  cell invite\n  cell invite --uses 20 --for 24h\n  cell invite --role guest",
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := mesh(c.Context())
			if err != nil {
				return err
			}
			token, err := n.Invite(c.Context(), role, uses, uint64(max(lifetime, 0).Seconds()))
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), token)
			return nil
		},
	}
	c.Flags().StringVar(&role, "role", role, "member, guest or donor")
	c.Flags().Uint32Var(&uses, "uses", uses, "how many machines may join with it")
	c.Flags().DurationVar(&lifetime, "for", lifetime, "how long it is good")
	return c
}

func newJoin() *cobra.Command {
	var node string
	c := &cobra.Command{
		Use: "join TOKEN", Short: "Make this machine one of a tissue's", Args: args(1, 1, "a token"),
		Long: `Make this machine one of the tissue's that the token is of: WireGuard, addresses, rules, names
and records set themselves up. With "-" the token is read from standard input, and is not seen
among the arguments of running programs.`,
		Example: "  cell join cell1.…\n  cell join - < token",
		RunE: func(c *cobra.Command, words []string) error {
			token := words[0]
			if token == "-" {
				line, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
				if token = strings.TrimSpace(line); token == "" {
					return fmt.Errorf("read the token: %w", err)
				}
			}
			n, err := mesh(c.Context())
			if err != nil {
				return err
			}
			tissue, called, err := n.Join(c.Context(), token, node)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.ErrOrStderr(), "%s: joined as %s\n", tissue, called)
			return nil
		},
	}
	c.Flags().StringVar(&node, "node", "", "what this machine is called there (default its host name)")
	return c
}

func newLeave() *cobra.Command {
	return &cobra.Command{
		Use: "leave", Short: "End this machine's membership of its tissue", Args: args(0, 0, "no arguments"),
		Long: `End this machine's membership of its tissue and forget its keys. The others are told where
they are reached. Cells go on here, and are no longer called from there.`,
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := mesh(c.Context())
			if err != nil {
				return err
			}
			return n.Leave(c.Context())
		},
	}
}

func newEvict() *cobra.Command {
	return &cobra.Command{
		Use: "evict NODE", Short: "End the membership of another machine for good", Args: args(1, 1, "a node"),
		Long: `End the membership of another machine for good. It is named by its name or the beginning of
its id; its key never becomes a member again. Machines that are not reached now obey when they
are.`,
		Example: "  cell evict laptop",
		RunE: func(c *cobra.Command, words []string) error {
			n, err := mesh(c.Context())
			if err != nil {
				return err
			}
			return n.Evict(c.Context(), words[0])
		},
	}
}
