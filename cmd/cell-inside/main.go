// Command cell-inside is what Cell itself runs inside of a cell's membrane, and beside it: the proxy of a program that insists on a port, the
// way to the cells and hosts that a program may reach, the check of its health, and what cell explain tries there. Nobody starts it by hand.
package main

import (
	"fmt"
	"os"
	"syscall"

	"github.com/cell-network/cell/membrane/attempts"
	"github.com/cell-network/cell/membrane/spec"
)

// stops are the signals with which a cell can be asked to stop; systemd sends it to each of its processes.
var stops = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH}

func main() {
	switch {
	case len(os.Args) > 4 && os.Args[1] == spec.ServePort:
		os.Exit(servePort(os.Args[2], os.Args[3], os.Args[4:]))
	case len(os.Args) > 2 && os.Args[1] == spec.Beside:
		os.Exit(beside(os.Args[2:]))
	case len(os.Args) > 2 && os.Args[1] == spec.Dial:
		os.Exit(serveDial(os.Args[2:]))
	case len(os.Args) == 3 && os.Args[1] == spec.Probe:
		if err := attempts.Probe(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "cell-inside probe:", err)
			os.Exit(1)
		}
	default:
		fmt.Fprintln(os.Stderr, "cell-inside: it is started by cell-membrane")
		os.Exit(2)
	}
}
