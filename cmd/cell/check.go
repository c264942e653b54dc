package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/sdk/manifest"
)

func newCheck() *cobra.Command {
	return &cobra.Command{
		Use: "check [DIR]", Short: "Report every static error of a tree", Args: args(0, 1, "one directory"),
		Long: `Report every error in the cell.toml files of a tree with its file, line, column and what to do, and
generated code that does not match the source. Nothing is built, written or started.`,
		Example: "  cell check .",
		RunE: func(c *cobra.Command, words []string) error {
			tree, err := loadTree(c.ErrOrStderr(), dirArg(words))
			if err != nil {
				return err
			}
			return checkGenerated(tree)
		},
	}
}

// checkGenerated reports generated files that are stale, and what in the source stands in the way of generating.
func checkGenerated(tree *manifest.Tree) error {
	if err := replicasFit(tree); err != nil {
		return err
	}
	x := newInterfaces()
	var all []string
	for _, n := range tree.Nodes {
		if err := x.rules(n.Manifest); err != nil {
			all = append(all, err.Error())
		}
		stale, err := x.drift(n.Manifest)
		if err != nil {
			all = append(all, err.Error())
		}
		all = append(all, stale...)
	}
	if len(all) == 0 {
		return nil
	}
	return &codeError{exitError, strings.Join(all, "\n"), []string{"cell build " + relative(tree.Root.Manifest.Dir) + "   makes generated code anew"}}
}

func dirArg(words []string) string {
	if len(words) == 0 {
		return "."
	}
	return words[0]
}

// loadTree reads a tree, prints all that is wrong with it and returns one error that counts.
func loadTree(w io.Writer, dir string) (*manifest.Tree, error) {
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return nil, &codeError{exitNotFound, fmt.Sprintf("there is no directory %q", dir), nil}
	}
	tree, errs := manifest.LoadTree(dir)
	if len(errs) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find the own path: %w", err)
		}
		errs = append(tree.Programs(filepath.Dir(self)), tree.MissingPaths()...)
	}
	if len(errs) == 0 {
		return tree, nil
	}
	for _, e := range errs {
		e.File = relative(e.File)
		fmt.Fprintln(w, e)
		for _, n := range e.Notes {
			fmt.Fprintln(w, "   ", n)
		}
		for _, h := range e.Hints {
			fmt.Fprintln(w, "  hint:", h)
		}
	}
	if len(errs) == 1 {
		return nil, &codeError{exitError, "1 error", nil}
	}
	return nil, &codeError{exitError, fmt.Sprintf("%d errors", len(errs)), nil}
}

// relative shortens a path that lies below the working directory.
func relative(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if wd, err = filepath.EvalSymlinks(wd); err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}
