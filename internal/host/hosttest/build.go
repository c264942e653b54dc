package hosttest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
)

// coverDir is the variable with which make cover names where programs write what of them ran. go test takes their own, GOCOVERDIR, away
// from tests; the embedded manager hands it on.
const coverDir = "CELL_TEST_COVER"

// Build builds the programs that a test drives into a new directory: Cell's own with the race detector when the test has it, so that
// what races in them is told in their output, and cells as anybody would, as the detector makes a program take a second to end. The
// caller removes the directory.
func Build(own, cells []string) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "cell-programs-"); err != nil {
		return "", fmt.Errorf("build the programs under test: %w", err)
	}
	options := []string{}
	if Race {
		options = append(options, "-race")
	}
	if dir := os.Getenv(coverDir); dir != "" {
		if err := os.Setenv("GOCOVERDIR", dir); err != nil {
			return "", err
		}
		options = append(options, "-cover")
	}
	for _, words := range [][]string{slices.Concat(options, own), cells} {
		build := exec.Command("go", append([]string{"build", "-trimpath", "-o", dir + "/"}, words...)...)
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			_ = os.RemoveAll(dir)
			return "", fmt.Errorf("build the programs under test: %w", err)
		}
	}
	return dir, nil
}
