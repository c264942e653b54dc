package wire

import (
	"bytes"
	"context"
	"io"
	"math"
	"sync/atomic"
	"testing"
	"time"
)

const longItem = 100 << 10

// numbered is an item that is not another one.
func numbered(n int) []byte { return bytes.Repeat([]byte{byte(n), byte(n >> 8), 7}, longItem/3) }

// longItems is a server that sends long items until it cannot, and counts them.
func longItems(t *testing.T, most int) (*fixture, *atomic.Int64, chan error) {
	sent, ended := &atomic.Int64{}, make(chan error, 1)
	f := serve(t, func(s *Server) {
		s.Handler = func(_ context.Context, r Request) ([]byte, error) {
			for n := range most {
				if err := r.Stream.Send(numbered(n)); err != nil {
					ended <- err
					return nil, err
				}
				sent.Add(1)
			}
			return nil, nil
		}
	})
	return f, sent, ended
}

// A client that gives credit and does not read: Send waits for the socket a short time, then leaves the rest to others, then waits
// for them; it ends with the call, and no byte is lost or there twice.
func TestLongItemsUnread(t *testing.T) {
	f, sent, ended := longItems(t, math.MaxInt)
	nc := f.raw(t)
	_, _ = nc.Write(append(helloFrame(), frame(typeCall, 0, 1, appendExtension(nil, &extension{method: 1, flags: callItemsOut}))...))
	_, _ = nc.Write(frame(typeCredit, 0, 1, []byte{0, 0, 0, 0x7f}))
	for end := time.Now().Add(20 * time.Second); sent.Load() < softQueue/longItem; time.Sleep(tick) {
		if time.Now().After(end) {
			t.Fatalf("%d items were taken while nobody reads", sent.Load())
		}
	}
	_, _ = nc.Write(frame(typeCancel, 0, 1, nil))
	if err := <-ended; err != context.Canceled {
		t.Errorf("send: %v", err)
	}
	_ = nc.SetReadDeadline(time.Now().Add(30 * time.Second))
	r := newReader(nc)
	for n := 0; ; {
		h, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.payload(h)
		if err != nil {
			t.Fatal(err)
		}
		switch h.kind {
		case typeData:
			if !bytes.Equal(b, numbered(n)) {
				t.Fatalf("item %d is another one", n)
			}
			n++
		case typeError:
			if int64(n) < sent.Load() {
				t.Errorf("%d items came, %d were sent", n, sent.Load())
			}
			return
		}
	}
}

// Who takes items as fast as they come gets more at once; who is slow does not.
func TestWindowGrows(t *testing.T) {
	const items = 200
	f, sent, _ := longItems(t, items)
	c := f.dial(t)
	s := open(t, c, 1, false, true)
	for n := 0; ; n++ {
		item, err := s.Recv()
		if err == io.EOF && n == items {
			break
		}
		if err != nil || !bytes.Equal(item, numbered(n)) {
			t.Fatalf("item %d: %d bytes, %v", n, len(item), err)
		}
		Recycle(item)
	}
	if s.window <= window || s.window > mostWindow {
		t.Errorf("a window of %d bytes", s.window)
	}

	slow := open(t, c, 1, false, true)
	sent.Store(0)
	for n := range 10 {
		waitFor(func() bool { return slow.queued() > 1 })
		if item, err := slow.Recv(); err != nil || !bytes.Equal(item, numbered(n)) {
			t.Fatalf("item %d: %d bytes, %v", n, len(item), err)
		}
	}
	if slow.window != window {
		t.Errorf("a window of %d bytes for who is slow", slow.window)
	}
	slow.Close()
}

func (s *Stream) queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.items.cost / (longItem - 2))
}

// One goroutine sends and another receives on the only stream; either may be the one that reads the connection.
func TestEchoInTurn(t *testing.T) {
	f := serveStreams(t, nil)
	c := f.dial(t)
	for round := range 20 {
		s := open(t, c, sEcho, true, true)
		sent := make(chan error, 1)
		go func() {
			for n := range 300 {
				if err := s.Send(bytes.Repeat([]byte{byte(n)}, n*round*3+1)); err != nil {
					sent <- err
					return
				}
			}
			sent <- s.CloseSend()
		}()
		for n := range 300 {
			item, err := s.Recv()
			if err != nil || !bytes.Equal(item, bytes.Repeat([]byte{byte(n)}, n*round*3+1)) {
				t.Fatalf("round %d, item %d: %d bytes, %v", round, n, len(item), err)
			}
			if n == 150 && round%3 == 0 {
				if _, err := c.Call(t.Context(), mEcho, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if _, err := s.Result(); err != nil {
			t.Fatal(err)
		}
	}
}

// Items come one by one, with pauses in which nobody reads or somebody was told to leave that, and the end of the context comes, too.
func TestItemsWithPauses(t *testing.T) {
	f := serveStreams(t, nil)
	c := f.dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := openWith(t, ctx, c, Call{Method: sEcho}, true, true)
	for n := range 100 {
		if n%20 == 19 {
			time.Sleep(time.Duration(n) * tick / 50)
		}
		data := numbers(uint64(n))
		if err := s.Send(data); err != nil {
			t.Fatal(err)
		}
		if item, err := s.Recv(); err != nil || !bytes.Equal(item, data) {
			t.Fatalf("item %d: %x, %v", n, item, err)
		}
	}
	time.AfterFunc(tick, cancel)
	_, err := s.Recv()
	wantAbandoned(t, err, context.Canceled)
}
