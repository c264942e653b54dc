//go:build !cgo

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "verify: NVIDIA's library needs cgo; install a C compiler")
	os.Exit(1)
}
