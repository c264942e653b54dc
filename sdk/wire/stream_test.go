package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// windowItems is how many items of itemSize bytes a sender gets rid of while nobody takes them.
const windowItems = (window + itemSize + itemCost - 1) / (itemSize + itemCost)

func wantAbandoned(t testing.TB, err, cause error) {
	t.Helper()
	if !isType[*Abandoned](err) || !errors.Is(err, cause) {
		t.Fatalf("error is %v (%T), want *Abandoned for %v", err, err, cause)
	}
}

func TestStreamOut(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	c := f.dial(t)
	const n = 20 * windowItems
	s := openWith(t, t.Context(), c, Call{Method: sCount, Request: numbers(n)}, false, true)
	for i := range uint64(n) {
		item, err := s.Recv()
		if err != nil || len(item) != itemSize || binary.LittleEndian.Uint64(item) != i {
			t.Fatalf("item %d: %d bytes, %v", i, len(item), err)
		}
	}
	if item, err := s.Recv(); err != io.EOF {
		t.Errorf("after the last: %d bytes, %v", len(item), err)
	}
	for range 2 {
		if got, err := s.Result(); err != nil || !bytes.Equal(got, numbers(n)) {
			t.Errorf("result: %v, %v", got, err)
		}
	}
	// Nobody reads these items, and the server gets rid of them all the same.
	s = openWith(t, t.Context(), c, Call{Method: sCount, Request: numbers(n)}, false, true)
	if got, err := s.Result(); err != nil || !bytes.Equal(got, numbers(n)) {
		t.Errorf("result without items: %v, %v", got, err)
	}
	f.settled(t)
}

func TestStreamIn(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	c := f.dial(t)
	s := open(t, c, sSum, true, false)
	const n = 20 * windowItems
	item := make([]byte, itemSize)
	for range n {
		if err := s.Send(item); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Send(item); err == nil || err == io.EOF {
		t.Errorf("send after the end: %v", err)
	}
	if got, err := s.Result(); err != nil || !bytes.Equal(got, numbers(n, n*itemSize)) {
		t.Errorf("result: %v, %v", got, err)
	}
	f.settled(t)
}

func TestStreamBoth(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	s := open(t, f.dial(t), sEcho, true, true)
	items := [][]byte{nil, []byte("a"), make([]byte, 2*window), make([]byte, 5<<20), []byte("b"), make([]byte, MaxFrame), nil}
	for range 2 * windowItems {
		items = append(items, make([]byte, itemSize))
	}
	sent := make(chan error, 1)
	go func() {
		for i, item := range items {
			item = bytes.Clone(item)
			fill(item, byte(i))
			if err := s.Send(item); err != nil {
				sent <- err
				return
			}
			fill(item, 0xff) // it is the sender's again
		}
		sent <- s.CloseSend()
	}()
	for i, item := range items {
		want := bytes.Clone(item)
		fill(want, byte(i))
		if got, err := s.Recv(); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("item %d: %d bytes, %v, want %d", i, len(got), err, len(want))
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if got, err := s.Result(); err != nil || !bytes.Equal(got, numbers(uint64(len(items)))) {
		t.Errorf("result: %v, %v", got, err)
	}
	f.settled(t)
}

func fill(b []byte, c byte) {
	for i := range b {
		b[i] = c
	}
}

func TestItemTooLarge(t *testing.T) {
	f := serveStreams(t, nil)
	s := open(t, f.dial(t), sEcho, true, true)
	wantCode(t, s.Send(make([]byte, MaxFrame+1)), CodeInvalidRequest)
	if err := s.Send([]byte("x")); err != nil {
		t.Error(err)
	}
	if item, err := s.Recv(); err != nil || string(item) != "x" {
		t.Errorf("the stream goes on: %q, %v", item, err)
	}
}

// The handler waits for different things when its client gives up.
func TestGiveUp(t *testing.T) {
	tests := map[string]struct {
		method  uint32
		in, out bool
		waits   func(*streams) bool
	}{
		"context": {sHold, true, true, func(f *streams) bool { return len(f.entered) == 1 }},
		"credit":  {sFlood, false, true, func(f *streams) bool { return f.sent.Load() == windowItems }},
		"item":    {sSum, true, false, func(f *streams) bool { return f.running.Load() == 1 }},
	}
	for name, test := range tests {
		for _, how := range []string{"close", "context"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				noLeaks(t)
				f := serveStreams(t, nil)
				c := f.dial(t)
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				s := openWith(t, ctx, c, Call{Method: test.method}, test.in, test.out)
				waitFor(func() bool { return test.waits(f) })
				cause := errStreamClosed
				if how == "close" {
					s.Close()
					s.Close()
				} else {
					cause = context.Canceled
					cancel() // nobody is within a method of the stream
				}
				if err := <-f.causes; err != context.Canceled {
					t.Errorf("cause: %v", err)
				}
				f.settled(t)
				if test.in {
					wantAbandoned(t, s.Send(nil), cause)
					wantAbandoned(t, s.CloseSend(), cause)
				}
				_, err := s.Recv()
				wantAbandoned(t, err, cause)
				_, err = s.Result()
				wantAbandoned(t, err, cause)
				if _, err := c.Call(t.Context(), mEcho, nil); err != nil {
					t.Errorf("the connection goes on: %v", err)
				}
			})
		}
	}
}

// The end of its context frees a client that waits.
func TestContextFreesClient(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	c := f.dial(t)
	for _, wait := range []func(*Stream) error{
		func(s *Stream) error { _, err := s.Recv(); return err },
		func(s *Stream) error { _, err := s.Result(); return err },
		func(s *Stream) error {
			for {
				if err := s.Send(make([]byte, itemSize)); err != nil {
					return err
				}
			}
		},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		s := openWith(t, ctx, c, Call{Method: sHold}, true, true)
		<-f.entered
		ended := make(chan error)
		go func() { ended <- wait(s) }()
		waitFor(func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.granted != nil || s.arrived != nil })
		cancel()
		wantAbandoned(t, <-ended, context.Canceled)
		<-f.causes
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.Open(ended, Call{Method: sHold}, true, true)
	if wantNotSent(t, err); !errors.Is(err, context.Canceled) {
		t.Errorf("open: %v", err)
	}
	f.settled(t)
}

// What nobody takes stops its sender, and nothing else on the connection.
func TestBackPressure(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	c := f.dial(t)
	s := open(t, c, sFlood, false, true)
	waitFor(func() bool { return f.sent.Load() == windowItems })
	for range 100 {
		if _, err := c.Call(t.Context(), mEcho, make([]byte, 10_000)); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.sent.Load(); n != windowItems {
		t.Errorf("%d items were sent while none was taken, %d fit", n, windowItems)
	}
	const taken = 5 * windowItems
	for range taken {
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.sent.Load(); n > taken+windowItems*mostWindow/window {
		t.Errorf("%d items were sent while %d were taken", n, taken)
	}
	s.Close()
	<-f.causes
	f.settled(t)
}

func TestSlowHandler(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	c := f.dial(t)
	s := open(t, c, sLate, true, false)
	<-f.entered
	const n = 3 * windowItems
	sent := make(chan error)
	go func() {
		for range n {
			if err := s.Send(make([]byte, itemSize)); err != nil {
				sent <- err
				return
			}
			f.sent.Add(1)
		}
		sent <- s.CloseSend()
	}()
	waitFor(func() bool { return f.sent.Load() == windowItems })
	for range 100 {
		if _, err := c.Call(t.Context(), mEcho, make([]byte, 10_000)); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.sent.Load(); n != windowItems {
		t.Errorf("%d items were sent while none was taken, %d fit", n, windowItems)
	}
	if held := f.held.Load(); held != extensionSize+windowItems*(itemSize+itemCost) {
		t.Errorf("%d bytes are held", held)
	}
	close(f.gate)
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if got, err := s.Result(); err != nil || !bytes.Equal(got, numbers(n, n*itemSize)) {
		t.Errorf("result: %v, %v", got, err)
	}
	f.settled(t)
}

// A handler may answer while the client still sends.
func TestEarlyAnswer(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	c := f.dial(t)
	s := openWith(t, t.Context(), c, Call{Method: sIgnore, Request: []byte("no more")}, true, false)
	var err error
	for err == nil {
		err = s.Send(make([]byte, itemSize))
	}
	if err != io.EOF {
		t.Errorf("send: %v", err)
	}
	if err := s.CloseSend(); err != nil {
		t.Errorf("end: %v", err)
	}
	if got, err := s.Result(); err != nil || string(got) != "no more" {
		t.Errorf("result: %q, %v", got, err)
	}
	s.Close()
	if got, err := s.Result(); err != nil || string(got) != "no more" {
		t.Errorf("result after close: %q, %v", got, err)
	}
	s = open(t, c, 99, true, true)
	for err = nil; err == nil; err = s.Send(nil) {
	}
	if err != io.EOF {
		t.Errorf("send: %v", err)
	}
	_, err = s.Recv()
	wantCode(t, err, CodeNoSuchMethod)
	f.settled(t)
}

// Items that a closed stream had not read are not passed over in silence.
func TestCloseBeforeReading(t *testing.T) {
	f := serveStreams(t, nil)
	s := openWith(t, t.Context(), f.dial(t), Call{Method: sCount, Request: numbers(3)}, false, true)
	waitFor(func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.over })
	s.Close()
	_, err := s.Recv()
	wantAbandoned(t, err, errStreamClosed)
}

func TestDirections(t *testing.T) {
	got := make(chan []error, 1)
	f := serveStreams(t, func(s *Server) {
		s.Handler = func(ctx context.Context, r Request) ([]byte, error) {
			if r.Stream == nil {
				got <- nil
				return nil, nil
			}
			_, recv := r.Stream.Recv()
			_, result := r.Stream.Result()
			closeSend := r.Stream.CloseSend()
			r.Stream.Close()
			got <- []error{recv, r.Stream.Send(nil), result, closeSend}
			return nil, nil
		}
	})
	c := f.dial(t)
	s := open(t, c, 1, false, true)
	if e := <-got; e[0] != io.EOF || e[1] != nil || e[2] != errClientOnly || e[3] != errClientOnly {
		t.Errorf("items out only: %v", e)
	}
	if err := s.Send(nil); err != errOneDirection {
		t.Errorf("send: %v", err)
	}
	if err := s.CloseSend(); err != nil {
		t.Errorf("end of no items: %v", err)
	}
	s = open(t, c, 1, true, false)
	s.CloseSend()
	if e := <-got; e[0] != io.EOF || e[1] != errOneDirection {
		t.Errorf("items in only: %v", e)
	}
	if _, err := s.Recv(); err != io.EOF {
		t.Errorf("receive: %v", err)
	}
	s = open(t, c, 1, false, false)
	if e := <-got; e != nil {
		t.Errorf("no items: %v", e)
	}
	if _, err := s.Result(); err != nil {
		t.Errorf("no items: %v", err)
	}
	if _, err := c.Open(t.Context(), Call{OneWay: true}, true, true); err == nil {
		t.Error("a one-way call was opened")
	}
}

func TestPanicInStream(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	c := f.dial(t)
	other := open(t, c, sEcho, true, true)
	s := open(t, c, sPanic, true, true)
	if err := s.Send(nil); err != nil {
		t.Fatal(err)
	}
	_, err := s.Recv()
	if e := wantCode(t, err, CodeRemote); strings.Contains(e.Message, "broken on purpose") {
		t.Errorf("error: %v", e)
	}
	if err := other.Send([]byte("x")); err != nil {
		t.Error(err)
	}
	if item, err := other.Recv(); err != nil || string(item) != "x" {
		t.Errorf("another stream: %q, %v", item, err)
	}
	other.Close()
	f.settled(t)
}

func TestStreamLost(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	c := f.dial(t)
	s := open(t, c, sHold, true, true)
	<-f.entered
	waiting := make(chan error)
	go func() {
		for {
			if err := s.Send(make([]byte, itemSize)); err != nil {
				waiting <- err
				return
			}
		}
	}()
	go func() {
		_, err := s.Recv()
		waiting <- err
	}()
	waitFor(func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.granted != nil && s.arrived != nil })
	f.cut()
	for range 2 {
		if err := <-waiting; !isLost(err) {
			t.Errorf("error %v, want lost", err)
		}
	}
	if _, err := s.Result(); !isLost(err) {
		t.Errorf("result: %v", err)
	}
	if err := s.Send(nil); !isLost(err) {
		t.Errorf("send: %v", err)
	}
	s.Close()
	if err := <-f.causes; err != context.Canceled {
		t.Errorf("cause: %v", err)
	}
	f.settled(t)
}

// The end of the connection at this side ends streams too.
func TestConnCloseEndsStreams(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	c := f.dial(t)
	s := open(t, c, sHold, true, true)
	<-f.entered
	c.Close()
	if _, err := s.Recv(); !isLost(err) || !errors.Is(err, ErrClosed) {
		t.Errorf("receive: %v", err)
	}
	<-f.causes
	f.settled(t)
}

// Streams of all kinds at once, many of them broken off.
func TestManyKinds(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	go func() { // nobody looks at the causes here
		for range f.causes {
		}
	}()
	t.Cleanup(func() { close(f.causes) })
	conns := []*Conn{f.dial(t), f.dial(t)}
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for range 30 {
				ctx, cancel := context.WithCancel(t.Context())
				s, err := conns[i%2].Open(ctx, Call{Method: sEcho}, true, true)
				if err != nil {
					t.Error(err)
					cancel()
					return
				}
				n := random.IntN(40)
				how := random.IntN(3)
				var sender sync.WaitGroup
				sender.Go(func() {
					for j := range n {
						if err := s.Send(make([]byte, j*(i+1)*20)); err != nil {
							if how == 0 {
								t.Errorf("send: %v", err)
							}
							return
						}
					}
					switch how {
					case 0:
						if err := s.CloseSend(); err != nil {
							t.Error(err)
						}
					case 1:
						s.Close()
					case 2:
						cancel()
					}
				})
				for j := 0; ; j++ {
					item, err := s.Recv()
					if err == nil && len(item) != j*(i+1)*20 {
						t.Errorf("item %d has %d bytes", j, len(item))
					}
					if err != nil {
						if how == 0 && (err != io.EOF || j != n) {
							t.Errorf("after %d of %d items: %v", j, n, err)
						}
						break
					}
				}
				sender.Wait()
				s.Close()
				cancel()
			}
		})
	}
	all.Wait()
	f.settled(t)
	for _, c := range conns {
		c.mu.Lock()
		if len(c.calls) != 0 {
			t.Errorf("%d calls are left", len(c.calls))
		}
		c.mu.Unlock()
	}
}

// Open streams without traffic must be cheap.
func TestQuietStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	noLeaks(t)
	f := serveStreams(t, func(s *Server) { s.MaxCalls, s.MaxConnCalls = manyStreams, manyStreams })
	go func() {
		for range f.causes {
		}
	}()
	t.Cleanup(func() { close(f.causes) })
	c := f.dial(t)
	before := memory()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	all := make([]*Stream, manyStreams)
	for i := range all {
		var err error
		if all[i], err = c.Open(ctx, Call{Method: sSilent}, true, true); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(func() bool { return f.running.Load() == manyStreams })
	if _, err := c.Call(t.Context(), mEcho, nil); wantCode(t, err, CodeOverloaded) == nil {
		t.Error("one more call ran")
	}
	each := (memory() - before) / manyStreams
	t.Logf("%d bytes for each of %d streams, both sides together", each, manyStreams)
	if each > 16<<10 {
		t.Error("streams are too large")
	}
	f.cut()
	for _, s := range all {
		if _, err := s.Recv(); !isLost(err) {
			t.Fatalf("receive: %v", err)
		}
	}
	f.settled(t)
}

// memory is what the heap and the stacks have in use.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func TestTooManyStreams(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	c := f.dial(t)
	var taken []*Stream
	for range DefaultMaxConnCalls {
		taken = append(taken, open(t, c, sSilent, true, true))
	}
	for range 50 {
		s := open(t, c, sSilent, true, true)
		var err error
		for err == nil { // what is sent before the refusal comes does no harm
			err = s.Send([]byte("x"))
		}
		if err != io.EOF {
			t.Errorf("send: %v", err)
		}
		_, err = s.Result()
		if e := wantCode(t, err, CodeOverloaded); !e.NotExecuted {
			t.Error("a refused stream counts as executed")
		}
	}
	for _, s := range taken {
		if err := s.Send(nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Result(); err != nil {
			t.Fatal(err)
		}
	}
	f.settled(t)
}

func TestQueue(t *testing.T) {
	var q queue
	in, out := byte(0), byte(0)
	for range 10_000 { // never empty, and no longer for it
		for range 3 {
			q.push([]byte{in})
			in++
		}
		for range 3 - min(1, in&1) {
			if !q.empty() {
				if got := q.pop(); got[0] != out {
					t.Fatalf("%d, want %d", got[0], out)
				}
				out++
			}
		}
		for len(q.items)-q.head > 50 {
			if got := q.pop(); got[0] != out {
				t.Fatalf("%d, want %d", got[0], out)
			}
			out++
		}
	}
	if cap(q.items) > 1000 {
		t.Errorf("%d slots for %d items", cap(q.items), len(q.items)-q.head)
	}
	for !q.empty() {
		q.pop()
	}
	if q.cost != 0 || cap(q.items) > keepSlots {
		t.Errorf("empty: cost %d, %d slots", q.cost, cap(q.items))
	}
}
