// Command cell-membrane seals a cell's program. celld names it in the units of cells; nobody else starts it. It starts with each cell, so
// it links as little as can be.
package main

import (
	"os"
	"syscall"

	"github.com/cell-network/cell/membrane"
)

func main() {
	syscall.Exit(membrane.Main(os.Args[1:])) // without what os.Exit does at the end: a cell waits
}
