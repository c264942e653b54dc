package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/sdk/gen"
	"github.com/cell-network/cell/sdk/manifest"
)

func runSync(c *cobra.Command, dir, from string) error {
	if from != "" {
		return syncFrom(c, dir, from)
	}
	tree, err := loadTree(c.ErrOrStderr(), dir)
	if err != nil {
		return err
	}
	x := newInterfaces()
	for _, n := range tree.Nodes {
		clients, err := x.clients(n.Manifest)
		if err != nil {
			return err
		}
		for _, cl := range clients {
			why, err := cl.stale()
			if err != nil {
				return err
			}
			if cl.held() {
				why = "is for an older major version"
			}
			if _, err := gen.Client(n.Manifest.Dir, cl.need.Name, cl.genome); err != nil {
				return err
			}
			if why != "" {
				fmt.Fprintf(c.OutOrStdout(), "%s: made anew, it %s\n", relative(cl.to), strings.Replace(why, "is ", "was ", 1))
			}
		}
	}
	return nil
}

// syncFrom makes one package of a cell that runs or of a genome on file.
func syncFrom(c *cobra.Command, dir, from string) error {
	name, source, ok := strings.Cut(from, "=")
	if !ok || source == "" {
		return &codeError{exitUsage, fmt.Sprintf("--from: %q is not NAME=CELL or NAME=FILE", from), nil}
	}
	m, errs := manifest.Load(dir)
	if len(errs) > 0 {
		return errs
	}
	if !slices.ContainsFunc(m.Needs, func(n manifest.Need) bool { return n.Name == name }) {
		return &codeError{
			exitUsage, fmt.Sprintf("--from: %s has no need %q", relative(m.Dir), name),
			[]string{fmt.Sprintf("write [needs] %s = { path = \"…\" } in %s", name, relative(m.Dir)+"/"+manifest.File)},
		}
	}
	g, err := findGenome(c.Context(), source)
	if err != nil {
		return err
	}
	to, err := gen.Client(m.Dir, name, g)
	if err == nil {
		fmt.Fprintf(c.OutOrStdout(), "%s: calls %s version %s\n", relative(to), g.Cell, g.Version)
	}
	return err
}
