package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cell-network/cell/internal/host"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/wire"
)

// testbed is a manager of its own with a typed cell in it.
type testbed struct {
	t     testing.TB
	dir   string // of the cell
	state string
}

// newTestbed makes a directory with the calculator; its build copies the program, so that a version is a file's content.
func newTestbed(t testing.TB, life string) *testbed {
	t.Helper()
	b := &testbed{t: t, dir: filepath.Join(t.TempDir(), "calculator"), state: t.TempDir()}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b.manifest("one", life)
	b.write("make", "cp "+filepath.Join(programs, "calculator")+" bin/real\n"+
		"printf '#!/bin/sh\\n%s\\nexec \"${0%%/*}/real\"\\n' \"$(cat flavour)\" > bin/calculator\nchmod +x bin/calculator\n")
	b.write("flavour", ": first")
	t.Cleanup(func() { down(t, b.state) })
	return b
}

func (b *testbed) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *testbed) manifest(env, life string) {
	b.write("cell.toml", "[cell]\nname = \"calculator\"\nbuild = \"sh make\"\nenv = { GREETING = \""+env+"\" }\n[life]\n"+life)
}

func (b *testbed) socket() string { return filepath.Join(b.dir, "run/cell.sock") }

// cell runs the command and returns its exit code and output.
func (b *testbed) cell(words ...string) (int, string) {
	b.t.Helper()
	c := exec.Command(filepath.Join(programs, "cell"), words...)
	c.Env = append(os.Environ(), "XDG_STATE_HOME="+b.state, "CELL_MANAGER=embedded")
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(out)
}

func (b *testbed) must(words ...string) {
	b.t.Helper()
	if code, out := b.cell(words...); code != 0 {
		b.t.Fatalf("cell %s: exit %d\n%s", strings.Join(words, " "), code, out)
	}
}

// adder calls the calculator over one connection after the other, as a client does whose server goes away.
type adder struct {
	dial func() (net.Conn, error)
	conn *wire.Conn
}

var addRequest = func() []byte {
	b := wire.AppendInt(nil, 1, 3)
	return wire.AppendInt(b, 2, 4)
}()

// add calls Add(3, 4). A call that was not sent is sent again on a new connection; any other error is a lost call.
func (a *adder) add(ctx context.Context) error {
	for {
		if a.conn == nil {
			nc, err := a.dial()
			if err != nil {
				return fmt.Errorf("dial: %w", err)
			}
			a.conn = wire.NewConn(nc)
		}
		result, err := a.conn.Call(ctx, 1, addRequest)
		var notSent *wire.NotSent
		if errors.As(err, &notSent) {
			a.conn.Close()
			a.conn = nil
			continue
		}
		if err != nil {
			return err
		}
		f := wire.NewFields(result)
		if !f.Next() || wire.GetInt[int64](f, "result") != 7 {
			return fmt.Errorf("answer %x", result)
		}
		return nil
	}
}

// load calls from n goroutines until stop is called, which returns the number of calls and fails the test for each lost one.
func load(t *testing.T, n int, dial func() (net.Conn, error)) (stop func() int64) {
	ctx, cancel := context.WithCancel(context.Background())
	var calls, lost atomic.Int64
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			a := &adder{dial: dial}
			for ctx.Err() == nil {
				if err := a.add(context.Background()); err != nil {
					if lost.Add(1) < 5 {
						t.Errorf("lost call: %v", err)
					}
					a.conn = nil
				}
				calls.Add(1)
				time.Sleep(time.Millisecond)
			}
			if a.conn != nil {
				a.conn.Close()
			}
		})
	}
	return func() int64 {
		cancel()
		wg.Wait()
		t.Logf("%d calls, %d lost", calls.Load(), lost.Load())
		return calls.Load()
	}
}

// TestLoad changes a cell in every way while callers call: no call may fail.
func TestLoad(t *testing.T) {
	needManager(t)
	b := newTestbed(t, "")
	b.must("mitosis", b.dir)
	stop := load(t, 20, func() (net.Conn, error) { return net.Dial("unix", b.socket()) })

	b.write("flavour", ": second")
	b.must("mitosis", b.dir)
	b.write("flavour", "exit 3") // never becomes ready
	if code, out := b.cell("mitosis", b.dir); code != exitNotReady || !strings.Contains(out, "rolled back") {
		t.Errorf("a broken version: exit %d\n%s", code, out)
	}
	b.write("flavour", ": third")
	b.must("mitosis", b.dir)
	for _, env := range []string{"two", "three"} { // new definitions: an exchange of pairs
		b.manifest(env, "")
		b.must("mitosis", b.dir)
	}
	b.must("systemctl", "kill", "-s", "KILL", "celld.service")
	b.must("mitosis", b.dir)
	if calls := stop(); calls < 100 {
		t.Errorf("only %d calls: that is no load", calls)
	}
}

// TestBroker kills celld over and over while callers ask it for connections.
func TestBroker(t *testing.T) {
	needManager(t)
	b := newTestbed(t, "")
	b.must("mitosis", b.dir)
	t.Setenv("XDG_STATE_HOME", b.state)
	h, err := host.Find(t.Context(), host.Embedded)
	if err != nil {
		t.Fatal(err)
	}
	bus, err := h.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	m := api.Manager{Conn: bus}
	stop := load(t, 8, func() (net.Conn, error) {
		f, err := m.Connect(context.Background(), "calculator")
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return net.FileConn(f)
	})
	for i := range 5 {
		b.must("systemctl", "kill", "-s", "KILL", "celld.service")
		b.write("flavour", fmt.Sprint(": ", i)) // each new version makes the callers connect anew
		b.must("mitosis", b.dir)
	}
	stop()
}

// TestFirstInstant lets 200 callers meet a sleeping cell at once.
func TestFirstInstant(t *testing.T) {
	needManager(t)
	b := newTestbed(t, "")
	b.must("mitosis", "--asleep", b.dir)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			<-start
			a := &adder{dial: func() (net.Conn, error) { return net.Dial("unix", b.socket()) }}
			if err := a.add(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
}

// TestSleep lets callers come just when the cell goes to sleep: each is served, by it or by the next process.
func TestSleep(t *testing.T) {
	needManager(t)
	b := newTestbed(t, "idle_timeout = \"30ms\"")
	b.must("mitosis", b.dir)
	a := &adder{dial: func() (net.Conn, error) { return net.Dial("unix", b.socket()) }}
	for i := range 60 {
		if err := a.add(t.Context()); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
		time.Sleep(time.Duration(20+i%20) * time.Millisecond)
	}
	if code, out := b.cell("status", "calculator"); code != 0 {
		t.Errorf("status: exit %d\n%s", code, out)
	}
}

// TestUse checks that the words of the shell reach typed methods: against the calculator's committed genome.
func TestUse(t *testing.T) {
	needManager(t)
	data, err := os.ReadFile("../../examples/calculator/" + genome.File)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := genome.Parse(data); err != nil {
		t.Fatal(err)
	}
	b := newTestbed(t, "")
	b.must("mitosis", b.dir)
	for _, c := range []struct {
		words string
		code  int
		want  string
	}{
		{"add 3 4", 0, "7\n"},
		{"Add b=4 a=-3", 0, "1\n"},
		{"add 3 4 --json", 0, "{\"result\":7}\n"},
		{"sub -9 -- -3", 0, "-6\n"},
		{"add 9223372036854775807 1", exitRemote, "cell: calculator.Add: overflow (A=9223372036854775807, B=1)\n"},
		{"div 1 0 --json", exitRemote, `{"error":"application error","type":"DivisionByZero","message":"division by zero","fields":{}}` + "\n"},
		{"ad 3 4", exitNotFound, "cell: calculator has no method \"ad\"\nhint: Add(a, b int64) int64"},
		{"add three 4", exitUsage, "cell: calculator.Add: a: \"three\" is not a whole number\n"},
		{"add 3", exitUsage, "cell: calculator.Add: missing argument b"},
		{"add 1 2 3", exitUsage, "cell: calculator.Add: too many arguments"},
		{"add 9223372036854775808 0", exitUsage, "cell: calculator.Add: a:"},
		{"", 0, "Add(a, b int64) int64"},
	} {
		code, out := b.cell(append([]string{"use", "calculator"}, strings.Fields(c.words)...)...)
		if code != c.code || !strings.HasPrefix(out, c.want) {
			t.Errorf("cell use calculator %s: exit %d\n%swant %d\n%s", c.words, code, out, c.code, c.want)
		}
	}
	if code, _ := b.cell("use", "nobody", "add"); code != exitNotFound {
		t.Errorf("an unknown cell: exit %d", code)
	}
}
