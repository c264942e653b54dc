package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/internal/host"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/manifest"
	"github.com/cell-network/cell/sdk/wire"
)

func newGenome() *cobra.Command {
	var asJSON, proto, openAPI bool
	c := &cobra.Command{
		Use: "genome NAME|DIR|FILE", Short: "Show the interface of a cell", Args: args(1, 1, "a cell's name, a directory or a file"),
		ValidArgsFunction: cellNames,
		Long: `Show what a cell serves: methods, types and errors, as Go writes them.

NAME is a cell that runs or sleeps and is asked itself. DIR is a cell's directory, whose
source is read, written ./DIR where a cell of that name runs; FILE is a genome.json of any
version.`,
		Example: "  cell genome calculator\n  cell genome ./calculator --proto > calculator.proto\n  cell genome diff accepted/1.0.0.json .",
		RunE: func(c *cobra.Command, words []string) error {
			g, err := findGenome(c.Context(), words[0])
			if err != nil {
				return err
			}
			var data []byte
			switch {
			case asJSON:
				data, err = g.Marshal()
			case proto:
				data = genome.Proto(g)
			case openAPI:
				data = genome.OpenAPI(g)
			default:
				data = []byte(genome.Text(g))
			}
			if err == nil {
				_, err = c.OutOrStdout().Write(data)
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as genome.json has it")
	c.Flags().BoolVar(&proto, "proto", false, "as a file of protocol buffers, for other languages")
	c.Flags().BoolVar(&openAPI, "openapi", false, "as OpenAPI, for the HTTP door")
	c.MarkFlagsMutuallyExclusive("json", "proto", "openapi")
	c.AddCommand(newGenomeDiff())
	return c
}

func newGenomeDiff() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "diff OLD NEW", Short: "Say what changed between two interfaces, and what that does to callers",
		Args: args(2, 2, "two of: a cell's name, a directory, a file"),
		Long: `Say what changed between two interfaces, and what that does to callers of the old one:
safe, nothing; source, running callers go on and Go code must be edited when it is built
anew; break, running callers fail. docs/compatibility.md has the rules.

EXIT STATUS
  1 when something breaks.`,
		Example: "  cell genome diff users ./users",
		RunE: func(c *cobra.Command, words []string) error {
			old, err := findGenome(c.Context(), words[0])
			if err != nil {
				return err
			}
			now, err := findGenome(c.Context(), words[1])
			if err != nil {
				return err
			}
			changes := genome.Compare(old, now)
			if asJSON {
				if err := json.NewEncoder(c.OutOrStdout()).Encode(changes); err != nil {
					return err
				}
			}
			for _, x := range changes {
				if !asJSON {
					fmt.Fprintf(c.OutOrStdout(), "%-7s %s\n        %s\n", x.Verdict, says(x), x.Rule)
				}
			}
			fmt.Fprintf(c.ErrOrStderr(), "%s; the version after %s is %s\n", count(len(changes), "change"), old.Version, genome.Bump(old.Version, changes))
			if genome.Worst(changes) == genome.Break {
				return &codeError{code: exitError}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the changes as JSON")
	return c
}

// findGenome finds what a word means: a cell that is known when it is no path, else a directory or a file.
func findGenome(ctx context.Context, word string) (*genome.Genome, error) {
	st, err := os.Stat(word)
	switch {
	case err == nil && isKnown(ctx, word):
	case err == nil && st.IsDir():
		if _, err := os.Stat(filepath.Join(word, manifest.File)); err != nil {
			return readGenome(filepath.Join(word, genome.File))
		}
		dir, err := filepath.Abs(word)
		if err == nil {
			dir, err = filepath.EvalSymlinks(dir)
		}
		if err != nil {
			return nil, err
		}
		r := newInterfaces().of(dir)
		if r.err == nil && r.genome == nil {
			r.err = &codeError{exitUsage, fmt.Sprintf("%s speaks %s and has no methods", word, r.manifest.Speaks), nil}
		}
		return r.genome, r.err
	case err == nil:
		return readGenome(word)
	}
	m, err := manager(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := connect(ctx, m, word)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return askGenome(ctx, conn, word)
}

// isKnown tells whether a word is the name of a cell that a manager which runs knows.
func isKnown(ctx context.Context, word string) bool {
	if strings.ContainsAny(word, "/") || !manifest.ValidName(strings.ReplaceAll(word, ".", "")) {
		return false
	}
	h, err := host.Find(ctx, "")
	if err != nil {
		return false
	}
	conn, err := h.Dial(ctx)
	if err != nil {
		return false
	}
	defer conn.Close()
	cells, err := api.Manager{Conn: conn}.List(ctx, word)
	return err == nil && slices.ContainsFunc(cells, func(c api.Cell) bool { return c.Name == word })
}

// connect connects to a cell that has methods.
func connect(ctx context.Context, m api.Manager, name string) (*wire.Conn, error) {
	// One that is not known here may run on another machine.
	if err := speaks(ctx, m, name); err != nil && api.ErrorName(err) != api.ErrNotFound {
		return nil, err
	}
	f, err := m.Connect(ctx, name)
	if err != nil {
		return nil, err
	}
	nc, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", name, err)
	}
	return wire.NewConn(nc), nil
}

// genomeMethod is the built-in method that answers the genome.
const genomeMethod = 0

func askGenome(ctx context.Context, conn *wire.Conn, name string) (*genome.Genome, error) {
	data, err := conn.Call(ctx, genomeMethod, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s for its genome: %w", name, err)
	}
	g, err := genome.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("genome of %s: %w", name, err)
	}
	return g, nil
}

func newBuild() *cobra.Command {
	var major bool
	c := &cobra.Command{
		Use: "build [DIR]", Short: "Build the cells of a tree without starting them", Args: args(0, 1, "one directory"),
		Long: `Build the tree of cells rooted at DIR (default: here) as cell mitosis does, without starting anything.

For a Go cell it generates genome.json and cell_gen.go from the source, and for each cell named
in [needs] a package cells/NAME to call it with. Commit them: a plain go build then works where
Cell is not installed.

A build that would break callers is refused: those in the tree and beside it, and those built
against a version in accepted/. With --new-major the last program that was built stays beside
the new one, as NAME-v1, for callers built against it; DIR is then a single cell.`,
		Example: "  cell build .\n  cell build --new-major users",
		RunE: func(c *cobra.Command, words []string) error {
			if major {
				if err := newMajor(c.OutOrStdout(), dirArg(words)); err != nil {
					return err
				}
			}
			tree, err := loadTree(c.ErrOrStderr(), dirArg(words))
			if err != nil {
				return err
			}
			if err := actAsOwner(c.Context(), tree.Root.Manifest.Dir); err != nil {
				return err
			}
			unlock, err := lockTree(c.Context(), c.ErrOrStderr(), tree.Root.Manifest.Dir)
			if err != nil {
				return err
			}
			defer unlock()
			return buildTree(c.Context(), c.ErrOrStderr(), tree)
		},
	}
	c.Flags().BoolVar(&major, "new-major", false, "keep the version that was built last beside the new one")
	return c
}

func newSync() *cobra.Command {
	var from string
	c := &cobra.Command{
		Use: "sync [DIR]", Short: "Bring the packages for calls of other cells up to date", Args: args(0, 1, "a cell's directory"),
		Long: `Regenerate the packages cells/NAME of a cell and of those below it from the source of the cells
they call. With --from, take one of them from what a running cell serves or from a genome.json;
the source of the other cell is then not needed.`,
		Example: "  cell sync .\n  cell sync --from users=shop.users ./web",
		RunE: func(c *cobra.Command, words []string) error {
			return runSync(c, dirArg(words), from)
		},
	}
	c.Flags().StringVar(&from, "from", "", "NAME=CELL or NAME=FILE: take this one from a cell that runs, or from a file")
	return c
}

// speaks refuses cells that have no methods: they would not understand a single byte.
func speaks(ctx context.Context, m api.Manager, name string) error {
	cells, err := m.List(ctx, name)
	if err != nil {
		return err
	}
	for _, x := range cells {
		if x.Name != name {
			continue
		}
		man, errs := manifest.Load(x.Dir)
		if len(errs) == 0 && man.Speaks != "cell" {
			return &codeError{
				exitUsage, fmt.Sprintf("%s speaks %s and has no methods", name, man.Speaks),
				[]string{"curl --unix-socket " + relative(man.Dir) + "/run/cell.sock http://cell/"},
			}
		}
		return nil
	}
	e := &codeError{exitNotFound, fmt.Sprintf("no cell %q is known here", name), nil}
	if _, err := os.Stat(filepath.Join(name, manifest.File)); err == nil {
		e.hints = []string{"cell mitosis " + name + "   starts the one in ./" + name}
	}
	return e
}
