package sdk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cell-network/cell/sdk/internal/generated"
	"github.com/cell-network/cell/sdk/internal/journal"
	"github.com/cell-network/cell/sdk/wire"
)

// Methods of the cell that the tests run in a process of its own.
const (
	mEcho = 1 + iota
	mGate // writes to descriptor 5, then waits until descriptor 4 has something to read or is closed
	mPanic
	mOverflow
	mInvalid
	mFail
	mOwnTimeout
	mLog
	mPid
	mForwarded
)

type overflow struct{}

func (overflow) Error() string { return "does not fit" }

type testCell struct{}

func (testCell) CellBuild() *generated.Genome {
	entered, gate := os.NewFile(5, "entered"), os.NewFile(4, "gate")
	method := func(id uint32, f func(context.Context, []byte) ([]byte, error)) generated.Method {
		return generated.Method{ID: id, Name: fmt.Sprintf("m%d", id), Call: f}
	}
	fails := func(id uint32, err error) generated.Method {
		return method(id, func(context.Context, []byte) ([]byte, error) { return nil, err })
	}
	return &generated.Genome{
		Name: "probe", Version: "3.1", Hash: "beef", JSON: []byte(`{"name":"probe"}`),
		Error: func(err error) (string, string, []byte, bool) {
			e, ok := errors.AsType[overflow](err)
			return "Overflow", e.Error(), []byte{7}, ok
		},
		Methods: []generated.Method{
			method(mEcho, func(_ context.Context, b []byte) ([]byte, error) { return b, nil }),
			method(mGate, func(_ context.Context, b []byte) ([]byte, error) {
				entered.Write([]byte{1})
				gate.Read(make([]byte, 1))
				return b, nil
			}),
			method(mPanic, func(context.Context, []byte) ([]byte, error) { panic("broken on purpose") }),
			fails(mOverflow, fmt.Errorf("add: %w", overflow{})),
			fails(mInvalid, &InvalidRequest{Field: "a.b", Reason: "too long"}),
			fails(mFail, errors.New("disk full")),
			fails(mOwnTimeout, fmt.Errorf("ask: %w", context.DeadlineExceeded)),
			method(mLog, func(_ context.Context, b []byte) ([]byte, error) {
				slog.Warn(string(b), "answer", 42)
				return nil, nil
			}),
			method(mPid, func(context.Context, []byte) ([]byte, error) {
				return strconv.AppendInt(nil, int64(os.Getpid()), 10), nil
			}),
			fails(mForwarded, &InvalidRequest{Reason: "theirs", Answered: true}),
		},
	}
}

func TestMain(m *testing.M) {
	if os.Getenv("SDK_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	if os.Getenv("LISTEN_FDS") != "" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	if path := os.Getenv("SDK_TEST_JOURNAL"); path != "" {
		journal.SocketPath = path
	}
	Main(testCell{})
}

// child is a process that runs Main, as systemd would start it; the test holds the listening socket.
type child struct {
	*exec.Cmd
	stderr  bytes.Buffer
	entered *os.File
	gate    *os.File
}

// listen makes the socket that outlives the children.
func listen(t testing.TB) (path string, socket *os.File) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sdk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	defer l.Close()
	if socket, err = l.(*net.UnixListener).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return path, socket
}

// start runs a child on socket; nil hands none over.
func start(t testing.TB, socket *os.File, env ...string) *child {
	t.Helper()
	return startTo(t, nil, socket, env...)
}

// startTo is start with a file for standard error; nil collects it in stderr.
func startTo(t testing.TB, stderr, socket *os.File, env ...string) *child {
	t.Helper()
	c := &child{Cmd: exec.Command(os.Args[0])}
	gateRead, gate, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	entered, enteredWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer gateRead.Close()
	defer enteredWrite.Close()
	c.entered, c.gate = entered, gate
	for _, e := range os.Environ() {
		switch name, _, _ := strings.Cut(e, "="); name {
		case "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "JOURNAL_STREAM", "CELL_NAME":
		default:
			c.Env = append(c.Env, e)
		}
	}
	c.Env = append(c.Env, "SDK_TEST_CHILD=1", "GORACE=atexit_sleep_ms=0") // otherwise a second at every exit
	if socket != nil {
		c.Env = append(c.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES=cell")
		c.ExtraFiles = []*os.File{socket, gateRead, enteredWrite}
	}
	c.Env = append(c.Env, env...)
	c.Stderr = &c.stderr
	if stderr != nil {
		c.Stderr = stderr
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		gate.Close()
		entered.Close()
	})
	return c
}

// exits waits for the end of the child and checks its code.
func (c *child) exits(t testing.TB, code int) {
	t.Helper()
	c.Wait()
	if got := c.ProcessState.ExitCode(); got != code {
		t.Errorf("the process ended with %d, want %d: %v\n%s", got, code, c.ProcessState, &c.stderr)
	}
}

func dial(t testing.TB, path string) *wire.Conn {
	t.Helper()
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := wire.NewConn(nc)
	t.Cleanup(func() { c.Close() })
	return c
}
