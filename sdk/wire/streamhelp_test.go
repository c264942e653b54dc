package wire

import (
	"context"
	"encoding/binary"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// Methods of the test server that have items.
const (
	sSum    = 100 + iota // answers number and bytes of the items
	sCount               // sends as many items as the request says
	sEcho                // sends every item back; answers how many
	sHold                // tells entered, then waits until ctx ends and tells its cause
	sFlood               // sends items until it cannot, and counts them in sent
	sLate                // tells entered, waits for a value from gate, then answers like sSum
	sPanic               // panics after the first item
	sUntil               // sends an item, then waits for Draining
	sIgnore              // answers the request at once
	sSilent              // waits for an item, without a word
)

type streams struct {
	*fixture
	sent   atomic.Int64
	causes chan error
}

// itemSize is the size of what sCount and sFlood send.
const itemSize = 1000

func serveStreams(t testing.TB, change func(*Server)) *streams {
	f := &streams{causes: make(chan error, 1000)}
	f.fixture = serve(t, func(s *Server) {
		s.Handler = f.handleStream
		if change != nil {
			change(s)
		}
	})
	return f
}

func (f *streams) handleStream(ctx context.Context, r Request) ([]byte, error) {
	switch r.Method {
	case sLate:
		f.entered <- struct{}{}
		<-f.gate
		fallthrough
	case sSum:
		items, bytes := uint64(0), uint64(0)
		for {
			item, err := r.Stream.Recv()
			if err == io.EOF {
				return numbers(items, bytes), nil
			}
			if err != nil {
				f.causes <- err
				return nil, err
			}
			items, bytes = items+1, bytes+uint64(len(item))
		}
	case sCount:
		n := binary.LittleEndian.Uint64(r.Payload)
		for i := range n {
			if err := r.Stream.Send(append(numbers(i), make([]byte, itemSize-8)...)); err != nil {
				return nil, err
			}
		}
		return numbers(n), nil
	case sEcho:
		for n := uint64(0); ; n++ {
			item, err := r.Stream.Recv()
			if err == io.EOF {
				return numbers(n), nil
			}
			if err == nil {
				err = r.Stream.Send(item)
			}
			if err != nil {
				return nil, err
			}
		}
	case sHold:
		f.entered <- struct{}{}
		<-ctx.Done()
		f.causes <- context.Cause(ctx)
		return nil, ctx.Err()
	case sFlood:
		for item := make([]byte, itemSize); ; f.sent.Add(1) {
			if err := r.Stream.Send(item); err != nil {
				f.causes <- err
				return nil, err
			}
		}
	case sPanic:
		if _, err := r.Stream.Recv(); err != nil {
			return nil, err
		}
		panic("broken on purpose")
	case sUntil:
		if err := r.Stream.Send([]byte("first")); err != nil {
			return nil, err
		}
		<-r.Stream.Draining()
		return []byte("bye"), r.Stream.Send([]byte("last"))
	case sIgnore:
		return r.Payload, nil
	case sSilent:
		_, err := r.Stream.Recv()
		return nil, err
	}
	return f.handle(ctx, r)
}

func numbers(n ...uint64) (b []byte) {
	for _, v := range n {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func open(t testing.TB, c *Conn, method uint32, in, out bool) *Stream {
	t.Helper()
	return openWith(t, context.Background(), c, Call{Method: method}, in, out)
}

func openWith(t testing.TB, ctx context.Context, c *Conn, call Call, in, out bool) *Stream {
	t.Helper()
	s, err := c.Open(ctx, call, in, out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// noLeaks fails when goroutines of this test are left after its cleanup; it must be called before anything else.
func noLeaks(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		now := 0
		for range 500 {
			if now = runtime.NumGoroutine(); now <= before {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines, before the test %d\n%s", now, before, stacks[:runtime.Stack(stacks, true)])
	})
}

// cut breaks the connections.
func (f *streams) cut() {
	for _, c := range f.snapshot() {
		c.nc.Close()
	}
}

// settled waits until no call runs, and checks that nothing is held.
func (f *streams) settled(t *testing.T) {
	t.Helper()
	waitFor(func() bool { _, busy := f.Idle(); return !busy })
	// What a call held is given back a moment after it has ended.
	for end := time.Now().Add(30 * time.Second); f.held.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("%d bytes are still held", f.held.Load())
			return
		}
	}
}
