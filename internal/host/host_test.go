package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "host-init" {
		if err := Init(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func need(t *testing.T) context.Context {
	t.Helper()
	why := ""
	switch {
	case os.Geteuid() != 0:
		why = "needs root"
	case systemdPath() == "":
		why = "needs systemd installed"
	case exists(insideMark):
		why = "already inside an embedded manager"
	default:
		if err := checkTools(); err != nil {
			why = err.Error()
		} else if _, err := cgroupDir("x"); err != nil {
			why = err.Error()
		}
	}
	if why != "" {
		if os.Getenv("CELL_TEST_REQUIRE") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	t.Cleanup(func() {
		h, err := Find(context.Background(), Embedded)
		if err != nil && !errors.Is(err, ErrDown) {
			t.Errorf("find: %v", err)
		}
		if err == nil {
			if err := h.Down(context.Background()); err != nil {
				t.Errorf("down: %v", err)
			}
		}
	})
	return ctx
}

func TestEmbedded(t *testing.T) {
	ctx := need(t)
	if _, err := Find(ctx, Embedded); !errors.Is(err, ErrDown) {
		t.Fatalf("before: %v", err)
	}
	keep := filepath.Join(t.TempDir(), "keep")
	if err := os.WriteFile(keep, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	runBefore, _ := os.ReadDir("/run")
	began := time.Now()
	h, err := Ensure(ctx, Embedded, "/bin/false")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("up in %v", time.Since(began))
	conn, err := h.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	v, err := conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").GetProperty("org.freedesktop.systemd1.Manager.Version")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("version %v", v)

	run := func(name string, args ...string) string {
		t.Helper()
		out, err := h.Command(ctx, name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	run("systemd-run", "--unit=hello", "--remain-after-exit", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do echo said-$((40+2)); sleep 0.1; done") // again, as a first line may come before journald knows whose it is
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, _ := h.Command(ctx, "journalctl", "--no-pager", "-u", "hello.service").CombinedOutput()
		if strings.Contains(string(out), "said-42") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no journal line: %s", out)
		}
	}
	run("systemctl", "daemon-reload")
	if out := run("systemctl", "show", "-P", "LoadState,ActiveState", "hello.service"); !strings.Contains(out, "loaded") || !strings.Contains(out, "active") {
		// Old systemctl prints one property per -P only.
		if out = run("systemctl", "show", "-p", "LoadState", "-p", "ActiveState", "hello.service"); !strings.Contains(out, "LoadState=loaded") || !strings.Contains(out, "ActiveState=active") {
			t.Errorf("transient unit after a reload: %s", out)
		}
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out := run("systemctl", "status", "hello.service")
		if strings.Contains(out, "said-42") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("status shows no line: %s", out)
		}
	}
	if out := run("systemctl", "list-units", "--failed", "--no-legend"); strings.TrimSpace(out) != "" {
		t.Errorf("failed units: %s", out)
	}
	// A unit of another user signals readiness.
	run("systemd-run", "--unit=ready", "-p", "Type=notify", "-p", "NotifyAccess=all", "-p", "User=nobody", "-p", "TimeoutStartSec=5",
		"sh", "-c", "systemd-notify --ready; sleep 60")
	// The bus starts the daemon's unit on the first call.
	call, stop := context.WithTimeout(ctx, 500*time.Millisecond)
	conn.Object("network.cell.Manager1", "/").CallWithContext(call, "org.freedesktop.DBus.Peer.Ping", 0)
	stop()
	if out := run("systemctl", "show", "-p", "InactiveExitTimestampMonotonic", "celld.service"); strings.TrimSpace(out) == "InactiveExitTimestampMonotonic=0" {
		t.Errorf("celld was not started: %s", out)
	}

	again, err := Ensure(ctx, Embedded, "/bin/false")
	if err != nil {
		t.Fatal(err)
	}
	if again.InitPID != h.InitPID {
		t.Errorf("second init %d, first %d", again.InitPID, h.InitPID)
	}
	cg, err := cgroupDir(h.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	if !exists(cg) {
		t.Errorf("no control group %s", cg)
	}
	began = time.Now()
	if err := h.Down(ctx); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("down took %v", d)
	}
	if alive(h.InitPID, h.start) || exists(cg) || exists(filepath.Join(h.StateDir, "host.json")) {
		t.Error("something is left after down")
	}
	if _, err := Find(ctx, Embedded); !errors.Is(err, ErrDown) {
		t.Errorf("after: %v", err)
	}
	if !exists(keep) {
		t.Error("file in the temporary directory is gone")
	}
	if runAfter, _ := os.ReadDir("/run"); len(runAfter) != len(runBefore) {
		t.Errorf("/run changed: %v, was %v", runAfter, runBefore)
	}
}

func TestConcurrentEnsure(t *testing.T) {
	ctx := need(t)
	var pids [2]int
	var wg sync.WaitGroup
	for i := range pids {
		wg.Go(func() {
			h, err := Ensure(ctx, Embedded, "/bin/false")
			if err != nil {
				t.Error(err)
				return
			}
			pids[i] = h.InitPID
		})
	}
	wg.Wait()
	if pids[0] == 0 || pids[0] != pids[1] {
		t.Errorf("inits: %v", pids)
	}
}

func TestJournalArgs(t *testing.T) {
	h := &Host{Kind: Embedded}
	for in, want := range map[string]string{
		"-u a":          "--user-unit=a",
		"-ua":           "--user-unit=a",
		"-fu a":         "-f --user-unit=a",
		"--unit a -n 5": "--user-unit a -n 5",
		"--unit=a":      "--user-unit=a",
		"-o cat -u a":   "-o cat --user-unit=a",
		"-S -u":         "-S -u",
	} {
		if got := h.journalArgs(strings.Fields(in)); !reflect.DeepEqual(got, strings.Fields(want)) {
			t.Errorf("%s: %v", in, got)
		}
	}
}

func TestUnknownManager(t *testing.T) {
	t.Setenv("CELL_MANAGER", "other")
	_, err := Find(context.Background(), "")
	var e *Error
	if !errors.As(err, &e) || e.Hint == "" {
		t.Errorf("error %v", err)
	}
}
