package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCall(t *testing.T) {
	f := serve(t, nil)
	c := f.dial(t)
	ctx := t.Context()
	for _, n := range []int{0, 1, copyBelow - 1, copyBelow, 100_000, 5 << 20, MaxRequest} {
		request := bytes.Repeat([]byte("x"), n)
		if got, err := c.Call(ctx, mEcho, request); err != nil || !bytes.Equal(got, request) {
			t.Fatalf("echo of %d bytes: %d bytes, %v", n, len(got), err)
		}
	}
	if got, err := c.Call(ctx, 0, nil); err != nil || string(got) != `{"name":"test"}` {
		t.Errorf("method 0: %q, %v", got, err)
	}
	peer, err := c.Peer(ctx)
	if err != nil || peer.Name != "test" || peer.Version != "1.2" || peer.Hash != "abcd" || peer.MaxFrame != MaxFrame ||
		peer.MaxCalls != DefaultMaxConnCalls || peer.Protocol != Version {
		t.Errorf("peer: %+v, %v", peer, err)
	}
	if err := c.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
}

func TestManyCallers(t *testing.T) {
	f := serve(t, nil)
	conns := []*Conn{f.dial(t), f.dial(t), f.dial(t)}
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			for j := range 50 {
				request := bytes.Repeat([]byte{byte(i)}, (i*j*37)%30_000)
				got, err := conns[i%len(conns)].Call(t.Context(), mEcho, request)
				if err != nil || !bytes.Equal(got, request) {
					t.Errorf("caller %d, call %d: %d bytes, %v", i, j, len(got), err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestErrors(t *testing.T) {
	var mu sync.Mutex
	var logged strings.Builder
	f := serve(t, func(s *Server) {
		s.Log = func(message string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(&logged, append([]any{message}, args...)...)
		}
	})
	c := f.dial(t)
	_, err := c.Call(t.Context(), mFail, nil)
	if e := wantCode(t, err, CodeApplication); e.Name != "Overflow" || e.Message != "does not fit" || string(e.Payload) != "\x01\x02" {
		t.Errorf("application error: %+v", e)
	}
	_, err = c.Call(t.Context(), 99, nil)
	wantCode(t, err, CodeNoSuchMethod)
	for _, method := range []uint32{mPanic, mExit, mNilError} {
		_, err = c.Call(t.Context(), method, nil)
		wantCode(t, err, CodeRemote)
	}
	if _, err := c.Call(t.Context(), mEcho, nil); err != nil {
		t.Errorf("call after panics: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(logged.String(), "broken on purpose") || !strings.Contains(logged.String(), "help_test.go") {
		t.Errorf("the panic is not in the log: %s", &logged)
	}
}

func TestCancel(t *testing.T) {
	f := serve(t, nil)
	c := f.dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-f.entered
		cancel()
	}()
	if _, err := c.Call(ctx, mWait, nil); !errors.Is(err, context.Canceled) || !isType[*Abandoned](err) {
		t.Errorf("canceled call: %v", err)
	}
	for { // the handler ends only when it is told
		if _, busy := f.Idle(); !busy {
			break
		}
		if err := c.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Call(ctx, mEcho, nil); !errors.Is(err, context.Canceled) || !isType[*NotSent](err) {
		t.Errorf("call with an ended context: %v", err)
	}
}

// The server must end the call by the relative timeout alone: this client never cancels.
func TestTimeoutAtServer(t *testing.T) {
	f := serve(t, nil)
	nc := f.raw(t)
	ext := appendExtension(nil, &extension{method: mWait, timeout: uint64(time.Millisecond)})
	nc.Write(append(helloFrame(), frame(typeCall, 0, 1, ext)...))
	r := newReader(nc)
	for {
		h, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		b, _ := r.payload(h)
		if h.kind == typeError {
			e, err := parseError(b)
			if err != nil || e.Code != CodeDeadlineExceeded || !errors.Is(e, context.DeadlineExceeded) {
				t.Errorf("error: %+v, %v", e, err)
			}
			return
		}
	}
}

func TestTimeout(t *testing.T) {
	f := serve(t, nil)
	c := f.dial(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := c.Call(ctx, mWait, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("call: %v", err)
	}
}

func TestConnectionEndCancelsCalls(t *testing.T) {
	ended := make(chan error, 1)
	f := serve(t, func(s *Server) {
		s.Handler = func(ctx context.Context, r Request) ([]byte, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		}
	})
	nc := f.raw(t)
	nc.Write(append(helloFrame(), callFrame(1, 1, nil)...))
	nc.Close()
	if err := <-ended; err != context.Canceled {
		t.Errorf("context: %v", err)
	}
}

func TestTooLarge(t *testing.T) {
	f := serve(t, nil)
	c := f.dial(t)
	_, err := c.Call(t.Context(), mEcho, make([]byte, MaxRequest+1))
	if e := wantCode(t, err, CodeInvalidRequest); !e.NotExecuted {
		t.Error("an oversize request counts as executed")
	}
	for n, ok := range map[uint32]bool{MaxFrame: true, MaxFrame + 1: false} {
		got, err := c.Call(t.Context(), mBig, binary.LittleEndian.AppendUint32(nil, n))
		if ok && (err != nil || len(got) != int(n)) {
			t.Errorf("result of %d bytes: %d bytes, %v", n, len(got), err)
		}
		if !ok {
			wantCode(t, err, CodeRemote)
		}
	}
}

func TestOverload(t *testing.T) {
	tests := map[string]func(*Server){
		"connection": func(s *Server) { s.MaxConnCalls = 2 },
		"server":     func(s *Server) { s.MaxCalls = 2 },
		"bytes":      func(s *Server) { s.MaxHeld = 2 * (extensionSize + 100) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			f := serve(t, change)
			c := f.dial(t)
			var running sync.WaitGroup
			for range 2 {
				running.Go(func() {
					if _, err := c.Call(t.Context(), mGate, make([]byte, 100)); err != nil {
						t.Error(err)
					}
				})
				<-f.entered
			}
			_, err := c.Call(t.Context(), mEcho, []byte("x"))
			if e := wantCode(t, err, CodeOverloaded); !e.NotExecuted {
				t.Error("an overloaded call counts as executed")
			}
			close(f.gate)
			running.Wait()
			if _, err := c.Call(t.Context(), mEcho, []byte("x")); err != nil {
				t.Errorf("after the overload: %v", err)
			}
			if held := f.held.Load(); held != 0 {
				t.Errorf("%d bytes are still held", held)
			}
		})
	}
}

func TestTooManyConnections(t *testing.T) {
	f := serve(t, func(s *Server) { s.MaxConns = 1 })
	first := f.dial(t)
	if _, err := first.Call(t.Context(), mEcho, nil); err != nil {
		t.Fatal(err)
	}
	_, err := f.dial(t).Call(t.Context(), mEcho, nil)
	wantNotSent(t, err)
	if !strings.Contains(err.Error(), "too many connections") {
		t.Errorf("error: %v", err)
	}
}

func isType[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
