package hosttest

import (
	"fmt"
	"os"
	"os/exec"
)

// Build builds the programs that a test drives into a new directory, with the race detector when the test has it: what races in
// them is then told in their output. The caller removes the directory.
func Build(packages ...string) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "cell-programs-"); err != nil {
		return "", fmt.Errorf("build the programs under test: %w", err)
	}
	args := []string{"build", "-trimpath", "-o", dir + "/"}
	if Race {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, packages...)...)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		_ = os.RemoveAll(dir)
		return "", fmt.Errorf("build the programs under test: %w", err)
	}
	return dir, nil
}
