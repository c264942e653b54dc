package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPackets(t *testing.T) {
	for _, r := range []Request{
		{Op: OpReplicate, Target: "shop.users", Hash: "c0ffee", Sequence: 7, Number: 3},
		{Op: OpRenew, Target: "users", Sequence: 8, Instance: "shop.users:2", Nonce: []byte{0xff, 0}},
		{Op: OpConnect, Target: "users", Avoid: []string{"shop.users", "shop.users:2"}},
	} {
		if got, err := ParseRequest(r.Append(nil)); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v %v", got, err)
		}
	}
	for _, a := range []Answer{
		{Code: Denied, Message: "not you", Instance: "shop.users:2", Sequence: 9, Event: "died", Time: 1234567},
		{Instance: "shop.users", Replicas: 3, Takes: 1500},
		{Instance: "shop.users", Nonce: []byte{0xff, 1}, Expires: 77, Introduction: []byte("\xff signed")},
		{Instance: "shop.users", Confined: true},
	} {
		if got, err := ParseAnswer(a.Append(nil)); err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("%+v %v", got, err)
		}
	}
	long := Answer{Code: Failed, Message: strings.Repeat("ü", 5000)}
	if got, err := ParseAnswer(long.Append(nil)); err != nil || len(got.Message) != maxText {
		t.Errorf("%d bytes, %v", len(got.Message), err)
	}
	for _, b := range [][]byte{{0x08}, {0xff}, {0x12, 200, 1}, make([]byte, MaxPacket+1)} {
		if _, err := ParseRequest(b); err == nil {
			t.Errorf("%.8x was read", b)
		}
	}
}

func FuzzPackets(f *testing.F) {
	f.Add((&Request{Op: OpConnect, Target: "a", Hash: "b", Sequence: 1, Number: 2}).Append(nil))
	f.Add((&Request{Op: OpRenew, Instance: "a", Nonce: []byte("n")}).Append(nil))
	f.Add((&Answer{Denied, "no", "a:2", 1, "born", 5, []byte("n"), 7, []byte("i"), 3, 4, true}).Append(nil))
	f.Add((&Request{Op: OpConnect, Target: "a", Avoid: []string{"a", "a:2"}}).Append(nil))
	f.Add([]byte{0x1a, 0x03, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseRequest(b); err == nil {
			if again, err := ParseRequest(r.Append(nil)); err == nil && !reflect.DeepEqual(again, r) {
				t.Errorf("%+v became %+v", r, again)
			}
		}
		_, _ = ParseAnswer(b)
	})
}

// celld stands in for the daemon: each connection is given to serve.
func celld(t *testing.T, path string, serve func(*net.UnixConn, Request)) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			b := make([]byte, MaxPacket)
			if n, err := c.Read(b); err == nil {
				r, _ := ParseRequest(b[:n])
				serve(c, r)
			}
			c.Close()
		}
	}()
	return l
}

// send answers with the descriptors of fresh socket pairs, whose other ends say hello.
func send(c *net.UnixConn, a Answer, descriptors int) {
	var fds []int
	for range descriptors {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			panic(err)
		}
		_, _ = unix.Write(pair[1], []byte("hello"))
		unix.Close(pair[1])
		fds = append(fds, pair[0])
	}
	_, _, _ = c.WriteMsgUnix(a.Append(nil), unix.UnixRights(fds...), nil)
	for _, fd := range fds {
		unix.Close(fd)
	}
}

func open(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestConnect(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	t.Setenv("CELL_BROKER", path)
	celld(t, path, func(c *net.UnixConn, r Request) {
		switch r.Target {
		case "no":
			send(c, Answer{Code: Denied, Message: "not you", Sequence: r.Sequence}, 0)
		case "none":
			send(c, Answer{Sequence: r.Sequence}, 0)
		case "two":
			send(c, Answer{Sequence: r.Sequence}, 2)
		case "refused with one":
			send(c, Answer{Code: NotReady, Sequence: r.Sequence}, 1)
		default:
			send(c, Answer{Instance: r.Target + ":2 " + r.Hash, Sequence: r.Sequence}, 1)
		}
	})
	conn, grant, err := Connect(t.Context(), "users", "abc")
	if err != nil || grant.Instance != "users:2 abc" {
		t.Fatal(grant, err)
	}
	b := make([]byte, 8)
	if n, err := conn.Read(b); err != nil || string(b[:n]) != "hello" {
		t.Errorf("%q %v", b[:n], err)
	}
	conn.Close()
	before := open(t)
	for target, want := range map[string]string{
		"no": "connect to no: not you", "none": "connect to none: celld sent 0 descriptors instead of one",
		"two": "connect to two: celld sent 2 descriptors instead of one", "refused with one": "connect to refused with one: not ready",
	} {
		_, _, err := Connect(t.Context(), target, "")
		if _, ok := errors.AsType[*Error](err); !ok || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for end := time.Now().Add(5 * time.Second); open(t) > before; time.Sleep(time.Millisecond) { // celld's ends are closed soon
		if time.Now().After(end) {
			t.Fatalf("%d descriptors were open, %d are now", before, open(t))
		}
	}
}

// A celld that is away, or goes away before it answers, is waited for.
func TestConnectWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	t.Setenv("CELL_BROKER", path)
	hungUp := make(chan struct{}, 1)
	go func() {
		time.Sleep(30 * time.Millisecond)
		l := celld(t, path, func(*net.UnixConn, Request) {
			select {
			case hungUp <- struct{}{}:
			default:
			}
		})
		<-hungUp
		l.Close()
		celld(t, path, func(c *net.UnixConn, r Request) { send(c, Answer{Instance: "back", Sequence: r.Sequence}, 1) })
	}()
	conn, grant, err := Connect(t.Context(), "users", "")
	if err != nil || grant.Instance != "back" {
		t.Fatal(grant, err)
	}
	conn.Close()
}

func TestConnectGivesUp(t *testing.T) {
	t.Setenv("CELL_BROKER", filepath.Join(t.TempDir(), "nobody"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err := Connect(ctx, "users", "")
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "ask celld for users") || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, _, err := Connect(ctx, "users", ""); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestPaths(t *testing.T) {
	t.Setenv("CELL_BROKER", "")
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("HOME", "/home/a")
	want := "[/run/cell/broker/celld.sock /run/user/7/cell/broker/celld.sock /home/a/.local/state/cell/sockets/broker/celld.sock]"
	if got := fmt.Sprint(Paths()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	t.Setenv("CELL_BROKER", "/x")
	if got := fmt.Sprint(Paths()); got != "[/x]" {
		t.Error(got)
	}
}
