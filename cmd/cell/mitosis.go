package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

func newMitosis() *cobra.Command {
	var plan, asleep, asJSON bool
	c := &cobra.Command{
		Use: "mitosis [DIR]", Short: "Build and start the tree of cells rooted at DIR", Args: args(0, 1, "one directory"),
		Long: `Build and start the tree of cells rooted at DIR (default: here).

Cells that already run are replaced only where they changed: calls in flight finish and new ones
wait. A version that does not become ready is rolled back.

EXIT STATUS
  3 when a cell did not become ready; see docs/cli.md for the others.`,
		Example: "  cell mitosis .\n  cell mitosis --plan shop",
		RunE: func(c *cobra.Command, words []string) error {
			tree, err := loadTree(c.ErrOrStderr(), dirArg(words))
			if err != nil {
				return err
			}
			if plan {
				return runPlan(c, tree, asJSON)
			}
			return runMitosis(c, tree, asleep)
		},
	}
	c.Flags().BoolVar(&plan, "plan", false, "print the steps with their reasons and do nothing")
	c.Flags().BoolVar(&asleep, "asleep", false, "open sockets only; cells start with their first caller")
	c.Flags().BoolVar(&asJSON, "json", false, "with --plan: print the steps as JSON")
	return c
}

func runPlan(c *cobra.Command, tree *manifest.Tree, asJSON bool) error {
	changed := []string{}
	steps := []api.Step{}
	x := newInterfaces()
	for _, n := range tree.Nodes {
		reason, err := whyBuild(n.Manifest)
		if err == nil && reason == "" {
			reason, err = staleClient(x, n.Manifest)
		}
		if err != nil {
			return err
		}
		if reason != "" {
			changed = append(changed, n.Name)
			steps = append(steps, api.Step{Verb: "build", Cell: n.Name, Reason: reason})
		}
	}
	m, err := manager(c.Context())
	if err != nil {
		return err
	}
	more, err := m.Plan(c.Context(), tree.Root.Manifest.Dir, changed)
	if err != nil {
		return err
	}
	steps = append(steps, more...)
	if asJSON {
		return json.NewEncoder(c.OutOrStdout()).Encode(steps)
	}
	for i, s := range steps {
		fmt.Fprintf(c.OutOrStdout(), "%-3d%-9s%-22s%s\n", i+1, s.Verb, s.Cell, s.Reason)
	}
	fmt.Fprintln(c.ErrOrStderr(), "nothing was done (--plan)")
	return nil
}

// staleClient says which interface changed that a cell was built against.
func staleClient(x *interfaces, m *manifest.Manifest) (string, error) {
	clients, err := x.clients(m)
	if err != nil {
		return "", err
	}
	for _, c := range clients {
		if why, err := c.stale(); why != "" || err != nil {
			return "the package for calls of " + c.need.Name + " " + why, err
		}
	}
	return "", nil
}

func runMitosis(c *cobra.Command, tree *manifest.Tree, asleep bool) error {
	ctx, begin := c.Context(), time.Now()
	if err := actAsOwner(ctx, tree.Root.Manifest.Dir); err != nil {
		return err
	}
	unlock, err := lockTree(ctx, c.ErrOrStderr(), tree.Root.Manifest.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := buildTree(ctx, c.ErrOrStderr(), tree); err != nil {
		return err
	}
	m, err := manager(ctx)
	if err != nil {
		return err
	}
	steps, err := watched(c, m, func() ([]api.Step, error) { return m.Apply(ctx, tree.Root.Manifest.Dir, asleep) })
	if err != nil {
		return err
	}
	var units []string
	for _, s := range steps {
		if s.Verb != "stop" {
			units = append(units, "cell@"+s.Cell+".service")
		}
	}
	state := "ready"
	if asleep {
		state = "open"
	}
	fmt.Fprintf(c.OutOrStdout(), "%s: %s %s in %.1fs\n", tree.Root.Name, count(len(units), "cell"), state, time.Since(begin).Seconds())
	for i, u := range units {
		if i == 12 && len(units) > 16 {
			fmt.Fprintf(c.OutOrStdout(), "  and %d more: cell ps\n", len(units)-i)
			break
		}
		fmt.Fprintln(c.OutOrStdout(), " ", u)
	}
	return nil
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// lockTree lets one mitosis of a directory run at a time; the lock goes with the process.
func lockTree(ctx context.Context, w io.Writer, dir string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Join(dir, "run"), 0o755); err != nil {
		return nil, fmt.Errorf("lock the tree: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "run/lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the tree: %w", err)
	}
	for said := false; ; said = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		if !said {
			fmt.Fprintln(w, "waiting for another cell mitosis of this tree")
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// buildTree builds all cells, as many at once as there are processors, and reports every failure. A cell's build waits
// for those of its children and needs, which may generate what it imports.
func buildTree(ctx context.Context, out io.Writer, tree *manifest.Tree) error {
	if err := replicasFit(tree); err != nil {
		return err
	}
	for _, line := range machineFits(tree) {
		fmt.Fprintln(out, "note:", line)
	}
	w := newProgress(out)
	defer w.close()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed codeError
	var unchanged []string
	x, bad := newInterfaces(), map[*manifest.Node]bool{}
	slots := make(chan struct{}, max(2, runtime.NumCPU()))
	done := map[*manifest.Node]chan struct{}{}
	for _, n := range tree.Nodes {
		done[n] = make(chan struct{})
	}
	for _, n := range tree.Nodes {
		wg.Go(func() {
			defer close(done[n])
			for _, list := range [][]*manifest.Node{n.Children, n.Needs} {
				for _, before := range list {
					<-done[before]
				}
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			mu.Lock()
			for _, before := range slices.Concat(n.Children, n.Needs) {
				bad[n] = bad[n] || bad[before]
			}
			skip := bad[n]
			mu.Unlock()
			if skip {
				return // what it is made of could not be made, which is said already
			}
			begin := time.Now()
			w.start("build " + n.Name)
			built, note, output, err := build(ctx, x, tree, n)
			w.end("build " + n.Name)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				bad[n] = true
				for line := range strings.Lines(output) {
					fmt.Fprintf(w, "  %s | %s\n", n.Name, strings.TrimRight(line, "\n"))
				}
				e := explainError(err)
				failed.text += fmt.Sprintf("build %s: %s\n", n.Name, e.text)
				failed.hints = append(failed.hints, e.hints...)
			case built:
				fmt.Fprintf(w, "  %-8s%-22s %.1fs\n", "build", n.Name, time.Since(begin).Seconds())
				if note != "" {
					fmt.Fprintf(w, "          %s\n", note)
				}
			default:
				unchanged = append(unchanged, n.Name)
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	if failed.text != "" {
		failed.code = exitError
		return &failed
	}
	switch {
	case len(unchanged) > 8:
		fmt.Fprintf(w, "  %-8sunchanged: %d cells\n", "build", len(unchanged))
	case len(unchanged) > 0:
		fmt.Fprintf(w, "  %-8sunchanged: %s\n", "build", strings.Join(unchanged, ", "))
	}
	return nil
}
