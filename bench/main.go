// Command bench measures Cell side by side with its rivals, in one run, and prints ratios: on a shared machine an absolute
// time proves nothing. It brings up an embedded manager of its own and needs root, systemd and, for one line, podman. Words choose parts,
// as in "bench reach"; without one all are measured.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cell-network/cell/internal/host"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "host-init" {
		if err := host.Init(os.Args[2:]); err != nil {
			os.Exit(1)
		}
		return
	}
	b, err := newBed()
	if err == nil {
		err = b.measureAll(os.Args[1:])
		b.close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bed is a manager of its own with the programs that are measured.
type bed struct {
	dir  string // programs, cells and state
	host *host.Host
}

func newBed() (*bed, error) {
	// Not in /tmp: the sandboxes that are compared have one of their own.
	dir, err := os.MkdirTemp("/opt", "cell-bench-")
	if err != nil {
		return nil, err
	}
	b := &bed{dir: dir}
	for pkg, out := range map[string]string{"./cmd/cell": "cell", "./cmd/celld": "celld", "./cmd/cell-membrane": "cell-membrane", "./cmd/cell-inside": "cell-inside", "./bench/echo": "echo", "./examples/calculator": "calculator"} {
		c := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, out), pkg)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := c.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w\n%s", pkg, err, text)
		}
	}
	if err := os.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state")); err != nil {
		return nil, err
	}
	if err := os.Setenv("CELL_MANAGER", "embedded"); err != nil {
		return nil, err
	}
	if _, err := b.cell("ps"); err != nil {
		return nil, err
	}
	b.host, err = host.Find(background(), host.Embedded)
	return b, err
}

func (b *bed) close() {
	if _, err := b.cell("host", "down"); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if err := os.RemoveAll(b.dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

func (b *bed) path(parts ...string) string {
	return filepath.Join(append([]string{b.dir}, parts...)...)
}

// cell runs the command and returns its state, for its processor time.
func (b *bed) cell(words ...string) (*os.ProcessState, error) {
	return finish(exec.Command(b.path("cell"), words...))
}

// tool runs a tool of systemd on the bed's manager.
func (b *bed) tool(name string, words ...string) error {
	_, err := finish(b.host.Command(background(), name, words...))
	return err
}

func finish(c *exec.Cmd) (*os.ProcessState, error) {
	text, err := c.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, text)
	}
	return c.ProcessState, nil
}

// write makes a cell's directory.
func (b *bed) write(name, toml string) (string, error) {
	dir := b.path("cells", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "cell.toml"), []byte(toml), 0o644)
}

// contest takes the rivals in turn, rounds times, and returns the median of each: neighbours on the machine then slow all
// of them alike. before prepares a rival and is not measured.
func contest(rounds int, rivals ...rival) ([]time.Duration, error) {
	times := make([][]time.Duration, len(rivals))
	for range rounds {
		for i, r := range rivals {
			if r.before != nil {
				if err := r.before(); err != nil {
					return nil, err
				}
			}
			// Each begins from rest: the kernel moves a process into a control group faster when it has just moved another.
			time.Sleep(100 * time.Millisecond)
			begin := time.Now()
			if err := r.run(); err != nil {
				return nil, err
			}
			times[i] = append(times[i], time.Since(begin))
		}
	}
	medians := make([]time.Duration, len(rivals))
	for i, t := range times {
		slices.Sort(t)
		medians[i] = t[len(t)/2]
	}
	return medians, nil
}

type rival struct{ before, run func() error }

// line prints one result.
func line(what, value, goal string) { fmt.Printf("%-66s %-22s %s\n", what, value, goal) }

func ratio(a, b time.Duration) string { return fmt.Sprintf("%.2f ×", float64(a)/float64(b)) }

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

func (b *bed) measureAll(chosen []string) error {
	parts := []struct {
		name string
		run  func() error
	}{
		{"start", b.start}, {"wake", b.wake}, {"podman", b.podman}, {"upgrade", b.upgrade}, {"unchanged", b.unchanged}, {"reach", b.reach}, {"database", b.database}, {"sleepers", b.sleepers},
	}
	line("measured", "result", "goal")
	for _, part := range parts {
		if len(chosen) > 0 && !slices.Contains(chosen, part.name) {
			continue
		}
		if err := part.run(); err != nil {
			return err
		}
	}
	return nil
}

var errNoReply = errors.New("no byte came back")
