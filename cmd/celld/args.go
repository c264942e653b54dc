package main

import (
	"fmt"
	"net/url"
	"os"
	"syscall"
)

// notRun is systemd's exit status for a program that cannot be executed (systemd.exec(5), EXIT_EXEC).
const notRun = 203

// runArgs becomes a program whose arguments systemd would spoil, and which were escaped therefore: see package unit.
func runArgs(program string, escaped []string) int {
	argv := []string{program}
	for _, e := range escaped {
		arg, err := url.QueryUnescape(e)
		if err != nil {
			fmt.Fprintln(os.Stderr, "celld run-args:", err)
			return notRun
		}
		argv = append(argv, arg)
	}
	fmt.Fprintf(os.Stderr, "celld run-args: execute %s: %v\n", program, syscall.Exec(program, argv, os.Environ()))
	return notRun
}
