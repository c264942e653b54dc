package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cell-network/cell/sdk/gen"
	"github.com/cell-network/cell/sdk/genome"
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
		if err := syncGit(c, n.Manifest); err != nil {
			return err
		}
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

// syncGit makes the packages of those needs whose source is in a repository.
func syncGit(c *cobra.Command, m *manifest.Manifest) error {
	for _, need := range m.Needs {
		if need.Git == "" {
			continue
		}
		g, err := fetchGenome(c.Context(), need)
		if err != nil {
			return fmt.Errorf("need %s: %w", need.Name, err)
		}
		to := gen.ClientPath(m.Dir, need.Name)
		have, err := readGenome(filepath.Join(to, genome.File))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if _, err := gen.Client(m.Dir, need.Name, g); err != nil {
			return err
		}
		if have == nil || have.FullHash() != g.FullHash() {
			fmt.Fprintf(c.OutOrStdout(), "%s: calls %s version %s\n", relative(to), g.Cell, g.Version)
		}
	}
	return nil
}

// fetchGenome reads what a cell serves from its repository. Nothing of it is run, and nothing is kept but the genome.
func fetchGenome(ctx context.Context, need manifest.Need) (*genome.Genome, error) {
	dir, err := os.MkdirTemp("", "cell-sync-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	args := []string{"clone", "--quiet", "--depth=1", "--config=core.hooksPath=/dev/null", "--config=core.symlinks=false"}
	if need.Ref != "" {
		args = append(args, "--branch="+need.Ref)
	}
	git := exec.CommandContext(ctx, "git", append(args, "--", need.Git, dir)...)
	git.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_LFS_SKIP_SMUDGE=1")
	out, err := git.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, &codeError{exitError, "git is not installed", nil}
	}
	if err != nil {
		if text := strings.TrimSpace(string(out)); text != "" {
			err = errors.New(text)
		}
		return nil, fmt.Errorf("git clone %s: %w", need.Git, err)
	}
	r := newInterfaces().of(filepath.Join(dir, need.Path))
	switch {
	case r.err != nil:
		return nil, errors.New(strings.ReplaceAll(r.err.Error(), dir, need.Git))
	case r.genome == nil:
		return nil, fmt.Errorf("%s has no methods: it speaks %s", need.Git, r.manifest.Speaks)
	}
	return r.genome, nil
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
