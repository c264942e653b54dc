package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cell-network/cell/gpu/nvml/nvmltest"
	"github.com/cell-network/cell/internal/host/hosttest"
)

// programs holds what TestMain built: cell, celld and misfit, a server that misbehaves on request.
var programs string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if len(os.Args) > 1 && os.Args[1] == "host-init" {
			main()
			return 0
		}
		if flag.Parse(); testing.Short() {
			return m.Run()
		}
		dir, err := hosttest.Build([]string{".", "../celld", "../cell-gpu", "../cell-membrane", "../cell-inside", "../cell-http"}, []string{"./testdata/misfit", "../../examples/calculator"})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		programs = dir
		return m.Run()
	}())
}

// needManager skips, or fails under CELL_TEST_REQUIRE, where no embedded manager can run.
func needManager(t *testing.T) {
	t.Helper()
	lacks := ""
	if os.Geteuid() != 0 {
		lacks = "the embedded manager needs root"
	} else if _, err := exec.LookPath("dbus-daemon"); err != nil {
		lacks = "dbus-daemon is not installed"
	} else if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		lacks = "systemd is not installed"
	}
	switch {
	case testing.Short():
		t.Skip("it needs a manager, which -short leaves out")
	case lacks == "":
	case os.Getenv("CELL_TEST_REQUIRE") != "":
		t.Fatal(lacks)
	default:
		t.Skip(lacks)
	}
}

// TestScripts runs each script with a manager of its own.
func TestScripts(t *testing.T) {
	needManager(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", programs+":"+os.Getenv("PATH"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, ".state"))
			e.Setenv("CELL_MANAGER", "embedded")
			e.Setenv("GORACE", "atexit_sleep_ms=0") // otherwise a second at every exit
			e.Setenv("GOCOVERDIR", os.Getenv("GOCOVERDIR"))
			examples, err := filepath.Abs("../../examples")
			if err != nil {
				return err
			}
			e.Setenv("EXAMPLES", examples)
			port, err := freePort()
			if err != nil {
				return err
			}
			e.Setenv("FREE_PORT", port)
			e.Setenv("MISFIT", filepath.Join(programs, "misfit"))
			e.Setenv("GOCACHE", goEnv("GOCACHE"))
			e.Setenv("GOMODCACHE", goEnv("GOMODCACHE"))
			e.Setenv("GOFLAGS", "-mod=mod")
			e.Setenv("GOPROXY", "off")
			e.Defer(func() {
				down(t, e.Getenv("XDG_STATE_HOME"))
				_ = exec.Command("umount", "-q", "-l", filepath.Join(e.WorkDir, "small")).Run() // of disk.txtar
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"get": get, "until": until, "examples": examples, "nvml": stubNVML},
		Condition: func(name string) (bool, error) {
			if name != "browser" {
				return false, fmt.Errorf("no condition %s", name)
			}
			_, err := exec.LookPath("chromium")
			if err != nil && os.Getenv("CELL_TEST_REQUIRE") == "all" {
				return false, errors.New("chromium is not installed")
			}
			return err == nil, nil
		},
	})
}

// stubNVML makes a library that stands in for NVIDIA's, which the script tells what there is by the file nvml.stub, and dev.sh, which runs
// a command where their files are.
func stubNVML(ts *testscript.TestScript, _ bool, _ []string) {
	library, err := nvmltest.Build(ts.MkAbs("."), "")
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("dev.sh"), []byte(nvmltest.Devices), 0o644))
	ts.Setenv("CELL_NVML", library)
	ts.Setenv("NVML_STUB", ts.MkAbs("nvml.stub"))
}

// freePort is a port of the loopback interface that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

func goEnv(name string) string {
	out, _ := exec.Command("go", "env", name).Output()
	return strings.TrimSpace(string(out))
}

// examples NAME… copies examples into a module of their own that is built against this very SDK.
func examples(ts *testscript.TestScript, _ bool, names []string) {
	from, to := ts.Getenv("EXAMPLES"), ts.MkAbs(".")
	for _, name := range names {
		ts.Check(filepath.WalkDir(filepath.Join(from, name), func(path string, d fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(from, path)
			switch {
			case err != nil:
				return err
			case d.IsDir() && slices.Contains([]string{"bin", "run", "data", "cache", "log"}, d.Name()):
				return fs.SkipDir
			case d.IsDir():
				return os.MkdirAll(filepath.Join(to, rel), 0o755)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			data = bytes.ReplaceAll(data, []byte(`"github.com/cell-network/cell/examples/`), []byte(`"examples/`))
			return os.WriteFile(filepath.Join(to, rel), data, 0o644)
		}))
	}
	root := filepath.Dir(from)
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(to, "go.sum"), sum, 0o644))
	// With all that the SDK requires: a build that adds a line changes the source of those that were built beside it.
	own, err := os.ReadFile(filepath.Join(root, "go.mod"))
	ts.Check(err)
	requires := "require github.com/cell-network/cell v0.0.0\n"
	for line := range strings.Lines(string(own)) {
		f := strings.Fields(line)
		if len(f) > 1 && slices.Contains([]string{"github.com/godbus/dbus/v5", "google.golang.org/protobuf", "golang.org/x/sys"}, f[0]) {
			requires += "require " + f[0] + " " + f[1] + " // indirect\n"
		}
	}
	ts.Check(os.WriteFile(filepath.Join(to, "go.mod"), []byte("module examples\n\ngo 1.26.0\n\n"+requires+"\nreplace github.com/cell-network/cell => "+root+"\n"), 0o644))
}

// down ends the manager of a state directory.
func down(t testing.TB, state string) {
	raced(t, state)
	c := exec.Command(filepath.Join(programs, "cell"), "host", "down")
	c.Env = append(os.Environ(), "XDG_STATE_HOME="+state, "CELL_MANAGER=embedded")
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("cell host down: %v\n%s", err, out)
	}
}

// raced fails a test whose daemons or cells the race detector reported of, where they are built with it.
func raced(t testing.TB, state string) {
	if !hosttest.Race {
		return
	}
	c := exec.Command(filepath.Join(programs, "cell"), "journalctl", "-o", "cat", "--no-pager")
	c.Env = append(os.Environ(), "XDG_STATE_HOME="+state, "CELL_MANAGER=embedded")
	out, _ := c.CombinedOutput() // the manager may be down
	if _, report, ok := strings.Cut(string(out), "WARNING: DATA RACE"); ok {
		t.Errorf("data race:\n%s", report[:min(len(report), 4000)])
	}
}

// client speaks HTTP over a Unix socket.
func client(socket string) *http.Client {
	return &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
}

// get SOCKET PATH prints what the server on a cell's socket answers.
func get(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 3 && args[0] == "-fail" {
		args, neg = args[1:], true
	}
	if len(args) != 2 {
		ts.Fatalf("usage: get [-fail] SOCKET PATH")
	}
	r, err := client(ts.MkAbs(args[0])).Get("http://cell" + args[1])
	if (err != nil) != neg {
		ts.Fatalf("get %s: %v", args[1], err)
	}
	if err == nil {
		defer r.Body.Close()
		_, _ = io.Copy(ts.Stdout(), r.Body)
	}
}

// until PATTERN COMMAND… repeats a command until its output has the pattern, five minutes at most.
func until(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: until PATTERN COMMAND")
	}
	last := ""
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		c := exec.Command(args[1], args[2:]...)
		if _, err := exec.LookPath(args[1]); err != nil {
			c = exec.Command(filepath.Join(programs, args[1]), args[2:]...)
		}
		c.Dir, c.Env = ts.MkAbs("."), []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), "XDG_STATE_HOME=" + ts.Getenv("XDG_STATE_HOME"), "CELL_MANAGER=embedded"}
		out, _ := c.CombinedOutput()
		if last = string(out); strings.Contains(last, args[0]) {
			return
		}
	}
	ts.Fatalf("%v never said %q, but\n%s", args[1:], args[0], last)
}
