package broker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/celld"
	"github.com/cell-network/cell/celld/store"
	"github.com/cell-network/cell/sdk/broker"
)

// serveHere is a server in the test's own process, without a manager: no cell runs.
func serveHere(t *testing.T) (dial func() *net.UnixConn) {
	t.Helper()
	wanted, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l, err := Listen(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- (&Server{Cells: &celld.Server{Store: wanted, Log: slog.New(slog.DiscardHandler)}}).Serve(ctx, l)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return func() *net.UnixConn {
		c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: filepath.Join(dir, "celld.sock"), Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
}

func ask(c *net.UnixConn, packet []byte) (broker.Answer, error) {
	if _, err := c.Write(packet); err != nil {
		return broker.Answer{}, err
	}
	data := make([]byte, broker.MaxPacket)
	n, err := c.Read(data)
	if err != nil {
		return broker.Answer{}, err
	}
	return broker.ParseAnswer(data[:n])
}

func TestListen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "broker")
	for _, everybody := range []bool{true, false} { // the second over the first one's
		l, err := Listen(dir, everybody)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		st, err := os.Stat(filepath.Join(dir, "celld.sock"))
		if want := map[bool]os.FileMode{true: 0o666, false: 0o600}[everybody]; err != nil || st.Mode().Perm() != want {
			t.Errorf("%v %v, want %v", st.Mode(), err, want)
		}
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Error(all, err)
	}
}

func TestRequests(t *testing.T) {
	dial := serveHere(t)
	for name, tt := range map[string]struct {
		packet []byte
		want   broker.Code
		closed bool
	}{
		"damaged":            {[]byte{0xff}, broker.Invalid, true},
		"cut off":            {[]byte{0x12, 200, 1}, broker.Invalid, true},
		"too long":           {make([]byte, broker.MaxPacket+1), broker.Invalid, true},
		"unknown operation":  {(&broker.Request{Op: 99, Sequence: 5}).Append(nil), broker.Invalid, false},
		"no operation":       {(&broker.Request{Sequence: 5}).Append(nil), broker.Invalid, false},
		"nobody's name":      {(&broker.Request{Op: broker.OpConnect, Target: "x", Sequence: 5}).Append(nil), broker.NotFound, false},
		"a name of any form": {(&broker.Request{Op: broker.OpConnect, Target: "../\x00\n:", Sequence: 5}).Append(nil), broker.NotFound, false},
	} {
		c := dial()
		a, err := ask(c, tt.packet)
		if err != nil || a.Code != tt.want || !tt.closed && a.Sequence != 5 {
			t.Errorf("%s: %+v %v", name, a, err)
		}
		_, err = ask(c, (&broker.Request{Op: broker.OpConnect, Target: "x"}).Append(nil))
		if (err == nil) == tt.closed {
			t.Errorf("%s: the next request: %v", name, err)
		}
	}
}

// Descriptors that somebody sends along are not kept.
func TestDescriptorsSent(t *testing.T) {
	dial := serveHere(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := dial()
	request := (&broker.Request{Op: broker.OpConnect, Target: "x"}).Append(nil)
	if _, _, err := c.WriteMsgUnix(request, unix.UnixRights(int(w.Fd())), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, broker.MaxPacket)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	_ = r.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the pipe is still open elsewhere: %v", err)
	}
}

// One user may not take all connections; what he gives back is there again.
func TestTooMany(t *testing.T) {
	dial := serveHere(t)
	nobody := (&broker.Request{Op: broker.OpConnect, Target: "x"}).Append(nil)
	var all []*net.UnixConn
	for i := range maxPerUID {
		c := dial()
		if _, err := ask(c, nobody); err != nil {
			t.Fatalf("connection %d: %v", i+1, err)
		}
		all = append(all, c)
	}
	if _, err := ask(dial(), nobody); err == nil {
		t.Error("one more was served")
	}
	all[0].Close()
	for end := time.Now().Add(5 * time.Second); ; {
		_, err := ask(dial(), nobody)
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after one was closed: %v", err)
		}
	}
}

func TestEnter(t *testing.T) {
	s := &Server{conns: map[int]int{}}
	n := 0
	for uid := 0; s.enter(uid); uid++ {
		n++
	}
	if n != maxConns {
		t.Errorf("%d connections in all, want %d", n, maxConns)
	}
	for uid := range maxConns {
		s.leave(uid)
	}
	if s.all != 0 || len(s.conns) != 0 {
		t.Errorf("%d connections of %d users are left", s.all, len(s.conns))
	}
}

// What is done for somebody who hangs up ends.
func TestHangUp(t *testing.T) {
	dir := t.TempDir()
	l, err := Listen(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unixpacket", filepath.Join(dir, "celld.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	go watch(s, cancel, nil)
	c.Close()
	if <-ctx.Done(); !errors.Is(ctx.Err(), context.Canceled) {
		t.Error(ctx.Err())
	}
}

// leaveConnected has a child connect and end, and returns it. This process holds the socket open.
func leaveConnected(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	socket := os.NewFile(uintptr(fd), "socket")
	t.Cleanup(func() { socket.Close() })
	child := exec.Command(os.Args[0], "-test.run=TestGone")
	child.Env = append(os.Environ(), "TEST_CONNECT="+path)
	child.ExtraFiles = []*os.File{socket}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	return child
}

// A process that has ended tells nothing: its id may be another's.
func TestGone(t *testing.T) {
	if path := os.Getenv("TEST_CONNECT"); path != "" {
		if err := unix.Connect(3, &unix.SockaddrUnix{Name: path}); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir := t.TempDir()
	l, err := Listen(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	child := leaveConnected(t, filepath.Join(dir, "celld.sock"))
	// It is not reaped yet: what /proc says of it is there to be read.
	if err := unix.Waitid(unix.P_PID, child.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if who, err := (&Server{}).identify(c); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("%+v %v", who, err)
	}
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
}

// Who connects, ends and leaves the socket to another one is not taken for the process that gets its id.
func TestReused(t *testing.T) {
	const last = "/proc/sys/kernel/ns_last_pid"
	now, err := os.ReadFile(last)
	if err == nil {
		err = os.WriteFile(last, now, 0)
	}
	if err != nil {
		t.Skip("ids cannot be given out again on purpose:", err)
	}
	dir := t.TempDir()
	l, err := Listen(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	child := leaveConnected(t, filepath.Join(dir, "celld.sock"))
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 1000 { // others take ids, too
		if err := os.WriteFile(last, []byte(strconv.Itoa(child.Process.Pid-1)), 0); err != nil {
			t.Fatal(err)
		}
		next := exec.Command("sleep", "60")
		if err := next.Start(); err != nil {
			t.Fatal(err)
		}
		got := next.Process.Pid
		if got == child.Process.Pid {
			if who, err := (&Server{}).identify(c); err == nil {
				t.Errorf("process %d was taken for its successor: %+v", got, who)
			}
		}
		_ = next.Process.Kill()
		_ = next.Wait()
		if got == child.Process.Pid {
			return
		}
	}
	t.Skip("the id", child.Process.Pid, "is taken by another process of this machine")
}

// Who is in a slice of cells is a cell of this manager as its owner, or nobody.
func TestCallerOf(t *testing.T) {
	wanted, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := wanted.Update(func(r map[string]store.Root) { r["shop"] = store.Root{Dir: "/shop", Owner: 1000} }); err != nil {
		t.Fatal(err)
	}
	s := &Server{Cells: &celld.Server{System: true, Store: wanted}}
	const cell = "/cell.slice/cell-shop.slice/"
	for _, tt := range []struct {
		group string
		uid   int
		want  string // "no": refused
	}{
		{cell + "cell@shop.service", 1000, "shop"},
		{cell + "cell@shop:2.service/part", 1000, "shop:2"},
		{cell + "cell@shop.service", 1001, "no"},
		{cell + "cell@shop.service", 0, "no"},
		{cell + "cell-door@shop.service", 1000, "no"},
		{cell + "cell@shop.socket", 1000, "no"},
		{cell + "evil.service/cell@shop.service", 1000, "no"},
		{"/cell.slice", 1000, "no"},
		{"/user.slice/user-1000.slice/user@1000.service" + cell + "cell@shop.service", 1000, "no"},
		{"/user.slice/user-1000.slice/session-1.scope", 1000, ""},
		{"/system.slice/cell@shop.service", 0, ""},
		{"/", 0, ""},
		{"", 1000, ""},
	} {
		who, err := s.callerOf(tt.group, tt.uid)
		switch {
		case tt.want == "no" && err == nil, tt.want != "no" && err != nil:
			t.Errorf("user %d in %s: %+v %v", tt.uid, tt.group, who, err)
		case err == nil && (who.Cell != tt.want || who.UID != tt.uid):
			t.Errorf("user %d in %s: %+v, want %q", tt.uid, tt.group, who, tt.want)
		}
	}
}
