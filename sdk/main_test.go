package sdk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/sdk/internal/generated"
	"github.com/cell-network/cell/sdk/internal/unixtest"
	"github.com/cell-network/cell/sdk/wire"
)

func TestNoSocket(t *testing.T) {
	c := start(t, nil)
	c.exits(t, 2)
	if got := c.stderr.String(); got != "probe: no socket was handed over; run it with: cell mitosis .\n" {
		t.Errorf("message: %q", got)
	}
	c = start(t, nil, "LISTEN_FDS=x")
	c.exits(t, 2)
	if !strings.Contains(c.stderr.String(), `LISTEN_FDS="x"`) {
		t.Errorf("message: %q", &c.stderr)
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c = start(t, file)
	c.exits(t, 2)
	if !strings.Contains(c.stderr.String(), "descriptor 3: not a socket") {
		t.Errorf("message: %q", &c.stderr)
	}
}

func TestReadyCallsAndWatchdog(t *testing.T) {
	path, socket := listen(t)
	for _, addr := range []string{filepath.Join(filepath.Dir(path), "notify"), fmt.Sprintf("@cell-sdk-test-%d", os.Getpid())} {
		notify := unixtest.Datagrams(t, addr)
		c := start(t, socket, "NOTIFY_SOCKET="+addr, "WATCHDOG_USEC=20000")
		if got := unixtest.Datagram(t, notify); got != "READY=1" {
			t.Fatalf("first message: %q", got)
		}
		if got := unixtest.Datagram(t, notify); got != "WATCHDOG=1" {
			t.Errorf("second message: %q", got)
		}
		checkCalls(t, dial(t, path))
		c.Process.Signal(syscall.SIGTERM)
		got := unixtest.Datagram(t, notify)
		for got == "WATCHDOG=1" {
			got = unixtest.Datagram(t, notify)
		}
		if got != "STOPPING=1" {
			t.Errorf("last message: %q", got)
		}
		c.exits(t, 0)
	}
}

func checkCalls(t *testing.T, conn *wire.Conn) {
	t.Helper()
	peer, err := conn.Peer(t.Context())
	if err != nil || peer.Name != "probe" || peer.Version != "3.1" || peer.Hash != "beef" {
		t.Errorf("greeting: %+v, %v", peer, err)
	}
	if got, err := conn.Call(t.Context(), 0, nil); err != nil || string(got) != `{"name":"probe"}` {
		t.Errorf("genome: %q, %v", got, err)
	}
	if got, err := conn.Call(t.Context(), mEcho, []byte("x")); err != nil || string(got) != "x" {
		t.Errorf("echo: %q, %v", got, err)
	}
	for method, want := range map[uint32]wire.Error{
		mPanic:      {Code: wire.CodeRemote, Message: "panic, see the log of probe"},
		mOverflow:   {Code: wire.CodeApplication, Name: "Overflow", Message: "does not fit", Payload: []byte{7}},
		mInvalid:    {Code: wire.CodeInvalidRequest, Message: "invalid request: a.b: too long", Payload: []byte("\n\x03a.b\x12\x08too long")},
		mFail:       {Code: wire.CodeRemote, Message: "internal error, see the log of probe"},
		mOwnTimeout: {Code: wire.CodeRemote, Message: "internal error, see the log of probe"},
		mForwarded:  {Code: wire.CodeRemote, Message: "internal error, see the log of probe"},
		999:         {Code: wire.CodeNoSuchMethod, Message: "cell probe has no method 999"},
	} {
		_, err := conn.Call(t.Context(), method, nil)
		e, ok := errors.AsType[*wire.Error](err)
		if !ok || e.Code != want.Code || e.Name != want.Name || e.Message != want.Message || string(e.Payload) != string(want.Payload) {
			t.Errorf("method %d: %+v, want %+v", method, err, want)
		}
	}
}

func TestStopWithCallInFlight(t *testing.T) {
	path, socket := listen(t)
	c := start(t, socket)
	conn := dial(t, path)
	result := make(chan error, 1)
	go func() {
		got, err := conn.Call(context.Background(), mGate, []byte("kept"))
		if err == nil && string(got) != "kept" {
			err = fmt.Errorf("result %q", got)
		}
		result <- err
	}()
	c.entered.Read(make([]byte, 1))
	c.Process.Signal(syscall.SIGTERM)
	for conn.Usable() {
		time.Sleep(time.Millisecond)
	}
	_, err := conn.Call(t.Context(), mEcho, nil)
	if _, ok := errors.AsType[*wire.NotSent](err); !ok {
		t.Errorf("call after the stop: %v", err)
	}
	next := dial(t, path) // waits in the backlog
	answered := make(chan error, 1)
	go func() {
		_, err := next.Call(context.Background(), mEcho, nil)
		answered <- err
	}()
	c.gate.Close()
	if err := <-result; err != nil {
		t.Errorf("call in flight: %v", err)
	}
	c.exits(t, 0)
	c = start(t, socket)
	if err := <-answered; err != nil {
		t.Errorf("call that waited for the next process: %v", err)
	}
	c.Process.Signal(syscall.SIGTERM)
	c.exits(t, 0)
}

func TestStopWithin(t *testing.T) {
	path, socket := listen(t)
	c := start(t, socket, "CELL_STOP_WITHIN=10ms")
	conn := dial(t, path)
	result := make(chan error, 1)
	go func() {
		_, err := conn.Call(context.Background(), mGate, nil)
		result <- err
	}()
	c.entered.Read(make([]byte, 1))
	c.Process.Signal(syscall.SIGTERM)
	c.exits(t, 0)
	err := <-result
	if _, ok := errors.AsType[*wire.Lost](err); !ok {
		t.Errorf("call that was cut: %v", err)
	}
	if !strings.Contains(c.stderr.String(), "1 calls were still running") {
		t.Errorf("log: %s", &c.stderr)
	}
}

func TestIdleExit(t *testing.T) {
	path, socket := listen(t)
	notify := unixtest.Datagrams(t, filepath.Join(filepath.Dir(path), "notify"))
	c := start(t, socket, "CELL_IDLE_TIMEOUT=10ms", "NOTIFY_SOCKET="+notify.LocalAddr().String())
	conn := dial(t, path)
	result := make(chan error, 1)
	go func() {
		_, err := conn.Call(context.Background(), mGate, nil)
		result <- err
	}()
	c.entered.Read(make([]byte, 1))
	time.Sleep(50 * time.Millisecond) // a call that runs for longer than the timeout is no idleness
	c.gate.Close()
	if err := <-result; err != nil {
		t.Errorf("call: %v", err)
	}
	<-conn.Done()
	if got := unixtest.Datagram(t, notify) + unixtest.Datagram(t, notify); got != "READY=1STOPPING=1" {
		t.Errorf("messages: %q", got)
	}
	c.exits(t, 0)
}

// Processes that stop as soon as they can, started again when somebody waits, as systemd does. Callers come at all moments,
// also that of the stop, and every one is answered.
func TestIdleExitLosesNoCaller(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	path, socket := listen(t)
	var stop atomic.Bool
	processes, retries := 0, atomic.Int64{}
	var supervisor, callers sync.WaitGroup
	supervisor.Go(func() {
		for {
			poll := []unix.PollFd{{Fd: int32(socket.Fd()), Events: unix.POLLIN}}
			if n, _ := unix.Poll(poll, 10); n == 0 {
				if stop.Load() {
					return
				}
				continue
			}
			c := start(t, socket, "CELL_IDLE_TIMEOUT=4ms")
			c.exits(t, 0)
			processes++
		}
	})
	call := func(i int) error {
		nc, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		conn := wire.NewConn(nc)
		defer conn.Close()
		for range 1 + i%3 {
			if _, err := conn.Call(context.Background(), mEcho, []byte("x")); err != nil {
				return err
			}
			time.Sleep(time.Duration(i%11) * 500 * time.Microsecond)
		}
		return nil
	}
	for caller := range 3 {
		callers.Go(func() {
			for i := range 150 {
				err := call(i + caller)
				for isNotSent(err) {
					retries.Add(1)
					err = call(i + caller)
				}
				if err != nil {
					t.Errorf("caller %d, round %d: %v", caller, i, err)
				}
				time.Sleep(time.Duration(i%17) * 600 * time.Microsecond)
			}
		})
	}
	callers.Wait()
	stop.Store(true)
	supervisor.Wait()
	t.Logf("%d processes, %d calls made again", processes, retries.Load())
	if processes < 3 {
		t.Error("no process found itself idle")
	}
}

func isNotSent(err error) bool {
	_, ok := errors.AsType[*wire.NotSent](err)
	return ok
}

func TestBadMethods(t *testing.T) {
	call := func(context.Context, []byte) ([]byte, error) { return nil, nil }
	for name, methods := range map[string][]generated.Method{
		"id 0":        {{ID: 0, Name: "a", Call: call}},
		"twice":       {{ID: 1, Name: "a", Call: call}, {ID: 1, Name: "b", Call: call}},
		"no function": {{ID: 1, Name: "a"}},
	} {
		if _, err := handler(&generated.Genome{Name: "x", Methods: methods}, newGate("x", ""), nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestDuration(t *testing.T) {
	for value, want := range map[string]time.Duration{"": time.Minute, "3s": 3 * time.Second, "soon": time.Minute, "-1s": time.Minute} {
		t.Setenv("CELL_TEST_DURATION", value)
		if got := duration("CELL_TEST_DURATION", time.Minute); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// The whole way: a process whose standard error is the journal writes to the journal, another to standard error.
func TestMainLogs(t *testing.T) {
	path, socket := listen(t)
	sent := unixtest.Datagrams(t, filepath.Join(filepath.Dir(path), "journal"))
	stderr, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(stderr.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	c := startTo(t, stderr, socket, "CELL_NAME=calc", "SDK_TEST_JOURNAL="+sent.LocalAddr().String(), fmt.Sprintf("JOURNAL_STREAM=%d:%d", st.Dev, st.Ino))
	if _, err := dial(t, path).Call(t.Context(), mLog, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	entry := unixtest.Datagram(t, sent)
	for _, field := range []string{"MESSAGE=hello\n", "ANSWER=42\n", "CELL=calc\n", "SYSLOG_IDENTIFIER=calc\n", "PRIORITY=4\n"} {
		if !strings.Contains(entry, field) {
			t.Errorf("entry %q has no %q", entry, field)
		}
	}
	c.Process.Signal(syscall.SIGTERM)
	c.exits(t, 0)
	if written, _ := os.ReadFile(stderr.Name()); len(written) > 0 {
		t.Errorf("standard error: %s", written)
	}

	c = start(t, socket, "SDK_TEST_JOURNAL="+sent.LocalAddr().String(), fmt.Sprintf("JOURNAL_STREAM=%d:%d", st.Dev, st.Ino))
	if _, err := dial(t, path).Call(t.Context(), mLog, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	c.Process.Signal(syscall.SIGTERM)
	c.exits(t, 0)
	if !strings.Contains(c.stderr.String(), `"level":"WARN","msg":"hello","answer":42`) {
		t.Errorf("standard error: %s", &c.stderr)
	}
}
