package main

import (
	"errors"
	"os/exec"

	"github.com/spf13/cobra"
)

// pass runs a program of systemd against the manager in use, with its own exit code.
func pass(c *cobra.Command, name string, words []string) error {
	h, err := findHost(c.Context())
	if err != nil {
		return err
	}
	x := h.Command(c.Context(), name, words...)
	x.Stdin, x.Stdout, x.Stderr = c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr()
	err = x.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &codeError{max(exit.ExitCode(), exitError), "", nil}
	}
	return err
}

func newPass(name string) *cobra.Command {
	return &cobra.Command{
		Use: name + " …", Short: "Run " + name + " on the manager in use", DisableFlagParsing: true,
		RunE: func(c *cobra.Command, words []string) error { return pass(c, name, words) },
	}
}
