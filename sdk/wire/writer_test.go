package wire

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// hookConn runs hook after the first write that does not wait.
type hookConn struct {
	*net.UnixConn
	hook func()
}

type hookRaw struct {
	syscall.RawConn
	c *hookConn
}

func (c *hookConn) SyscallConn() (syscall.RawConn, error) {
	raw, err := c.UnixConn.SyscallConn()
	return hookRaw{raw, c}, err
}

func (r hookRaw) Write(f func(uintptr) bool) error {
	err := r.RawConn.Write(f)
	if hook := r.c.hook; hook != nil {
		r.c.hook = nil
		hook()
	}
	return err
}

// A frame added while another is half written must not come between its halves.
func TestAddDuringPartialWrite(t *testing.T) {
	f := serve(t, nil)
	l, err := net.Listen("unix", f.path+"2")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("unix", f.path+"2")
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	near.(*net.UnixConn).SetWriteBuffer(4 << 10)
	conn := &hookConn{UnixConn: near.(*net.UnixConn)}
	w := newWriter(conn, time.Minute, func(err error) { t.Errorf("write: %v", err) })
	number := uint64(0)
	add := func() {
		number++
		w.add(header{kind: typePing}, nil, append(binary.LittleEndian.AppendUint64(nil, number), make([]byte, maxPing-8)...), true)
	}
	conn.hook = func() {
		if err := w.lock(context.Background()); err != nil {
			t.Error(err)
			return
		}
		add()
		w.unlock(true)
	}
	if err := w.lock(context.Background()); err != nil {
		t.Fatal(err)
	}
	for range 700 {
		add()
	}
	if w.unlock(true); number != 701 {
		t.Errorf("%d frames were added: the test tests nothing", number)
	}
	r := newReader(far)
	for i := range number {
		if _, b := f.read(t, r, typePing); binary.LittleEndian.Uint64(b) != i+1 {
			t.Fatalf("frame %d came as %d", binary.LittleEndian.Uint64(b), i+1)
		}
	}
	w.stop(ErrClosed)
}

func TestPause(t *testing.T) {
	f := serve(t, nil)
	waitFor(func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.accepting == 1 })
	if err := f.pause(); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	if f.accepting != 0 {
		t.Error("still accepting")
	}
	f.mu.Unlock()
	c := f.dial(t) // waits in the backlog
	f.resume()
	if _, err := c.Call(t.Context(), mEcho, nil); err != nil {
		t.Error(err)
	}
}

// A connection rests for longer than a write may take, after a write that had a deadline, and is then written to.
func TestWriteAfterARest(t *testing.T) {
	a, b := pair(t)
	w := newWriter(a, 20*time.Millisecond, func(err error) { t.Errorf("write: %v", err) })
	for _, alone := range []bool{false, true} { // by a goroutine with a deadline, then at once
		if err := w.lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.add(header{kind: typePing}, nil, nil, true)
		w.unlock(alone)
		w.flush()
		time.Sleep(40 * time.Millisecond)
	}
	b.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(b, make([]byte, 2*headerSize)); err != nil {
		t.Error(err)
	}
}
