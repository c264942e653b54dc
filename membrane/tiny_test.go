package membrane

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func tinyFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny")
	if err := os.WriteFile(path, tinyELF(), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// The gate becomes the program only after a byte, with its arguments and environment, and says why it cannot.
func TestGate(t *testing.T) {
	path := tinyFile(t)
	for _, c := range []struct {
		name, open string
		program    []string
		says       string
		errno      byte
		code       int
	}{
		{"opened", "x", []string{"/bin/sh", "-c", `echo "$0 $1 $A"; exit 7`, "one", "two"}, "one two 1\n", 0, 7},
		{"no program", "x", []string{"/no/program"}, "", 2, 203},
		{"a directory", "x", []string{"/usr"}, "", 13, 203},
		{"never opened", "", []string{"/bin/sh", "-c", "echo no"}, "", 0, 226},
	} {
		t.Run(c.name, func(t *testing.T) {
			gate, open, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			ran, said, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd := &exec.Cmd{Path: path, Args: append([]string{"\x03"}, c.program...), Env: []string{"A=1"}, ExtraFiles: []*os.File{gate, said}}
			if _, err := open.WriteString(c.open); err != nil {
				t.Fatal(err)
			}
			open.Close()
			out, err := cmd.Output()
			said.Close()
			buf := [1]byte{}
			_, _ = ran.Read(buf[:])
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if string(out) != c.says || exit.ExitCode() != c.code || buf[0] != c.errno {
				t.Errorf("it says %q and ends with %d, errno %d", out, exit.ExitCode(), buf[0])
			}
		})
	}
}
