package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/sdk/replicas"
	"github.com/cell-network/cell/sdk/wire"
)

func newRace() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "race NAME", Short: "Show among which replicas a cell chooses for its calls, and how", Args: args(1, 1, "a cell's name"),
		ValidArgsFunction: cellNames,
		Long: `Show, for each cell that NAME calls, the replicas that it knows: the median of what they
took lately, the score by which it chooses (expected microseconds times calls; the least
wins), calls under way, and their state:

  ready    it is chosen when its score is the better one of two
  away     there is no connection, because none was needed or the last one ended
  hangs    it does not answer a PING: others are preferred, and soon its connection ends
  broken   it failed several times in a row and is left alone for a while

Each client of a program chooses for itself. With replicas ("NAME:2") each is asked for its
own. A cell that sleeps is woken and has called nobody yet.`,
		Example: "  cell race shop\n  cell race shop.web --json",
		RunE: func(c *cobra.Command, words []string) error {
			m, err := manager(c.Context())
			if err != nil {
				return err
			}
			conn, err := connect(c.Context(), m, words[0])
			if err != nil {
				return err
			}
			defer conn.Close()
			data, err := conn.Call(c.Context(), wire.MethodRaces, nil)
			if err != nil {
				return fmt.Errorf("ask %s for its choices: %w", words[0], err)
			}
			if asJSON {
				_, err = c.OutOrStdout().Write(append(data, '\n'))
				return err
			}
			var all []replicas.Report
			if err := json.Unmarshal(data, &all); err != nil {
				return fmt.Errorf("choices of %s: %w", words[0], err)
			}
			if len(all) == 0 {
				fmt.Fprintf(c.ErrOrStderr(), "%s calls no other cell now\n", words[0])
			}
			for _, r := range all {
				printRace(c.OutOrStdout(), r, time.Now())
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print it as JSON, with some of the last choices")
	return c
}

func printRace(w io.Writer, r replicas.Report, now time.Time) {
	at := now.UTC().Format("[2006-01-02T15:04:05Z]")
	fmt.Fprintf(w, "%s  racer  %s  %s, %s, %d hedged, %d made again\n",
		at, r.Need, count(len(r.Candidates), "candidate"), count(int(r.Calls), "call"), r.Hedged, r.Retried)
	for _, x := range r.Candidates {
		p50, score, winner := "-", "-", ""
		if x.P50 > 0 {
			p50 = fmt.Sprintf("%.0fµs", x.P50)
		}
		if x.Score > 0 {
			score = fmt.Sprintf("%.0f", x.Score)
		}
		if x.Instance == r.Winner {
			winner = "  ← winner"
		}
		fmt.Fprintf(w, "%s  race   %-16s p50=%-8s score=%-8s in-flight=%-4d %s%s\n", at, x.Instance, p50, score, x.InFlight, x.State, winner)
	}
	if r.Winner != "" {
		fmt.Fprintf(w, "%s  last   %s -> %s\n", at, r.Need, r.Winner)
	}
}
