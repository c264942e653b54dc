// Package nvmltest makes libraries that stand in for NVIDIA's in tests, so that the real code that calls them runs without a device.
package nvmltest

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed testdata/stub.c
var source string

//go:embed testdata/cuda.c
var cudaSource string

// Devices is a script for sh: it runs the command that it is given with a /dev of its own, which has the files of two devices in it and is
// made in the working directory. It is for unshare --mount --propagation slave, as root.
//
//go:embed testdata/dev.sh
var Devices string

// Build compiles the library into dir. define is "OLD" for a driver that lacks much, "NEW" for one that bounds memory, or empty.
func Build(dir, define string) (path string, err error) {
	header, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/NVIDIA/go-nvml").Output()
	if err != nil {
		return "", fmt.Errorf("find NVML's header: %w", err)
	}
	path = filepath.Join(dir, "libnvidia-ml"+define+".so.1")
	args := []string{"-I", filepath.Join(strings.TrimSpace(string(header)), "pkg/nvml")}
	if define != "" {
		args = append(args, "-D"+define)
	}
	return path, compile(source, path, args...)
}

// BuildCUDA compiles a library that stands in for libcuda into dir.
func BuildCUDA(dir string) (path string, err error) {
	path = filepath.Join(dir, "libcuda.so.1")
	return path, compile(cudaSource, path)
}

func compile(source, path string, more ...string) error {
	c := exec.Command("gcc", append([]string{"-x", "c", "-", "-shared", "-fPIC", "-O1", "-w", "-o", path}, more...)...)
	c.Stdin, c.Stderr = strings.NewReader(source), os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("compile %s: %w", filepath.Base(path), err)
	}
	return nil
}
