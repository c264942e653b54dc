package broker

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What asking again would not change is told at once.
func TestConnectFinal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	t.Setenv("CELL_BROKER", path)
	celld(t, path, func(c *net.UnixConn, r Request) {
		switch r.Target {
		case "damaged":
			_, _ = c.Write([]byte{0xff})
		case "another":
			send(c, Answer{Sequence: r.Sequence + 1}, 1)
		}
	})
	begin := time.Now()
	for target, want := range map[string]struct {
		code Code
		text string
	}{
		"damaged": {Failed, "read packet"}, "another": {Failed, "another question"}, strings.Repeat("x", MaxPacket): {Invalid, "allowed are 4096"},
	} {
		_, _, err := Connect(t.Context(), target, "")
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != want.code || !strings.Contains(e.Message, want.text) {
			t.Errorf("%.10s: %v", target, err)
		}
	}
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("it took %v", took)
	}
}

// A socket that a celld left behind is one that comes back.
func TestConnectLeftBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	t.Setenv("CELL_BROKER", path)
	l := celld(t, path, nil)
	l.SetUnlinkOnClose(false)
	l.Close()
	back := make(chan struct{})
	go func() {
		defer close(back)
		time.Sleep(30 * time.Millisecond)
		next := celld(t, path+".new", func(c *net.UnixConn, r Request) { send(c, Answer{Sequence: r.Sequence}, 1) })
		next.SetUnlinkOnClose(false)
		if err := os.Rename(path+".new", path); err != nil {
			t.Error(err)
		}
	}()
	conn, _, err := Connect(t.Context(), "users", "")
	<-back
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// A socket that is closed to this user does not open by waiting. Root is another user in a process of its own.
func TestConnectClosed(t *testing.T) {
	if path := os.Getenv("TEST_CLOSED"); path != "" {
		t.Setenv("CELL_BROKER", path)
		_, _, err := Connect(t.Context(), "users", "")
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != Failed || !strings.Contains(e.Message, "permission denied") {
			t.Error(err)
		}
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	celld(t, path, func(*net.UnixConn, Request) {})
	if err := errors.Join(os.Chmod(path, 0), os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Setenv("TEST_CLOSED", path)
		TestConnectClosed(t)
		return
	}
	self, err := os.ReadFile("/proc/self/exe") // it lies where another user may not go
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "test"), self, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", filepath.Join(dir, "test"), "-test.run=TestConnectClosed", "-test.timeout=5s")
	c.Env = append(os.Environ(), "TEST_CLOSED="+path)
	c.Dir = "/"
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
