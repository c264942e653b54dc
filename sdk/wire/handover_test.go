package wire

import (
	"context"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A connection that is handed over is served with who was introduced on the one that it came over.
func TestHandover(t *testing.T) {
	var accepted, introduced atomic.Int32
	peers := make(chan any, 1)
	f := serve(t, func(s *Server) {
		s.Accepted = func(net.Conn) (any, error) { accepted.Add(1); return "nobody", nil }
		s.Introduce = func(_ any, data []byte) (any, error) { introduced.Add(1); return string(data), nil }
		s.Handler = func(_ context.Context, r Request) ([]byte, error) { peers <- r.Peer; return r.Payload, nil }
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	file, err := near.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	near.Close()
	over, err := net.Dial("unix", f.path)
	if err != nil {
		t.Fatal(err)
	}
	defer over.Close()
	u := over.(*net.UnixConn)
	if _, err := u.Write(AppendIntroduction(nil, []byte("web"))); err != nil {
		t.Fatal(err)
	}
	if _, _, err := u.WriteMsgUnix(AppendHandover(nil), unix.UnixRights(int(file.Fd())), nil); err != nil {
		t.Fatal(err)
	}
	file.Close()
	c := Greet(far, Hello{})
	defer c.Close()
	got, err := c.Do(t.Context(), Call{Method: mEcho, Request: []byte("hello")})
	if err != nil || string(got) != "hello" {
		t.Fatalf("%q %v", got, err)
	}
	if peer := <-peers; peer != "web" || accepted.Load() != 1 || introduced.Load() != 1 {
		t.Errorf("the caller is %v; %d accepted, %d introduced: wanted is one of each", peer, accepted.Load(), introduced.Load())
	}
	_ = u.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := u.Read(make([]byte, 64)); n != 0 || err == nil {
		t.Errorf("the connection that it came over stays open: %d bytes, %v", n, err)
	}
}

// Descriptors that nobody asked for are closed, and a handover without one ends the connection.
func TestHandoverWithoutOne(t *testing.T) {
	f := serve(t, nil)
	open := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := open()
	for _, n := range []int{0, 2} {
		over, err := net.Dial("unix", f.path)
		if err != nil {
			t.Fatal(err)
		}
		var fds []int
		for range n {
			fds = append(fds, 0)
		}
		u := over.(*net.UnixConn)
		var oob []byte
		if n > 0 {
			oob = unix.UnixRights(fds...)
		}
		if _, _, err := u.WriteMsgUnix(AppendHandover(nil), oob, nil); err != nil {
			t.Fatal(err)
		}
		_ = u.SetReadDeadline(time.Now().Add(10 * time.Second))
		for err = nil; err == nil; {
			_, err = u.Read(make([]byte, 256))
		}
		over.Close()
	}
	for end := time.Now().Add(10 * time.Second); open() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d descriptors were open, %d are now", before, open())
		}
	}
}
