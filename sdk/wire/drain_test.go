package wire

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func waitFor(what func() bool) {
	for !what() {
		runtime.Gosched()
	}
}

// read returns the next frame of one of the types; others are skipped.
func (f *fixture) read(t *testing.T, r *reader, kind frameType) (header, []byte) {
	t.Helper()
	for {
		h, err := r.next()
		if err != nil {
			t.Fatalf("wait for %v: %v", kind, err)
		}
		b, err := r.payload(h)
		if err != nil {
			t.Fatal(err)
		}
		if h.kind == kind {
			return h, b
		}
	}
}

func TestDrainWithCallsInFlight(t *testing.T) {
	f := serve(t, nil)
	const calls = 50
	conns := []*Conn{f.dial(t), f.dial(t), f.dial(t)}
	idle := f.dial(t)
	if err := idle.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	byHand := f.raw(t)
	r := newReader(byHand)
	byHand.Write(append(helloFrame(), callFrame(7, mGate, []byte("by hand"))...))
	var running sync.WaitGroup
	for i := range calls {
		running.Go(func() {
			if got, err := conns[i%3].Call(t.Context(), mGate, []byte{byte(i)}); err != nil || len(got) != 1 || got[0] != byte(i) {
				t.Errorf("call in flight: %v, %v", got, err)
			}
		})
	}
	for range calls + 1 {
		<-f.entered
	}
	drained := make(chan error)
	go func() { drained <- f.Drain(t.Context()) }()
	for _, c := range conns {
		waitFor(func() bool { return !c.Usable() })
		_, err := c.Call(t.Context(), mEcho, nil)
		wantNotSent(t, err)
	}
	<-idle.Done()
	_, b := f.read(t, r, typeGoAway)
	if g, err := parseGoAway(b); err != nil || g.last != 7 {
		t.Errorf("GOAWAY: %+v, %v", g, err)
	}
	byHand.Write(callFrame(8, mEcho, nil))
	if h, _ := f.read(t, r, typeError); h.id != 8 || h.flags&flagNotExecuted == 0 {
		t.Errorf("refused call: %+v", h)
	}
	select {
	case err := <-drained:
		t.Fatalf("drained with calls running: %v", err)
	default:
	}
	close(f.gate)
	running.Wait()
	if h, b := f.read(t, r, typeResult); h.id != 7 || string(b) != "by hand" {
		t.Errorf("result: %+v, %q", h, b)
	}
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
	for _, c := range conns {
		<-c.Done()
	}
}

func TestDrainLimit(t *testing.T) {
	f := serve(t, nil)
	c := f.dial(t)
	failed := make(chan error)
	go func() {
		_, err := c.Call(t.Context(), mWait, nil)
		failed <- err
	}()
	<-f.entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("drain: %v", err)
	}
	if err := <-failed; !isLost(err) {
		t.Errorf("call: %v", err)
	}
}

func isLost(err error) bool {
	_, ok := errors.AsType[*Lost](err)
	return ok
}

func isNotSent(err error) bool {
	_, ok := errors.AsType[*NotSent](err)
	return ok
}

// Under load, every call that a draining server ran has its result delivered, and no other call counts as run.
func TestDrainUnderLoad(t *testing.T) {
	for range 30 {
		var ran, answered atomic.Int64
		f := serve(t, func(s *Server) {
			s.Handler = func(ctx context.Context, r Request) ([]byte, error) {
				ran.Add(1)
				return r.Payload, nil
			}
		})
		var callers sync.WaitGroup
		for range 4 {
			c := f.dial(t)
			// Nobody else holds this socket: what is still in its backlog is lost.
			if _, err := c.Peer(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range 8 {
				callers.Go(func() {
					for {
						_, err := c.Call(t.Context(), mEcho, make([]byte, 1000))
						if isNotSent(err) {
							return
						}
						if err != nil {
							t.Errorf("call: %v", err)
							return
						}
						answered.Add(1)
					}
				})
			}
		}
		waitFor(func() bool { return ran.Load() > 200 })
		if err := f.Drain(t.Context()); err != nil {
			t.Errorf("drain: %v", err)
		}
		callers.Wait()
		if ran.Load() != answered.Load() {
			t.Errorf("%d calls ran, %d were answered", ran.Load(), answered.Load())
		}
	}
}

// A socket that outlives its servers: each stops as soon as it is idle, and the next one finds the callers in the backlog.
func TestDrainIdleRace(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	path := filepath.Join(t.TempDir(), "s")
	first, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	file, err := first.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	defer file.Close()

	var ran, answered atomic.Int64
	stop := make(chan struct{})
	generations := make(chan int)
	go func() {
		n := 0
		defer func() { generations <- n }()
		for {
			l, err := net.FileListener(file)
			if err != nil {
				t.Error(err)
				return
			}
			s := &Server{Handler: func(ctx context.Context, r Request) ([]byte, error) {
				ran.Add(1)
				return r.Payload, nil
			}}
			s.init()
			served := make(chan error)
			go func() { served <- s.Serve(l) }()
			waitFor(s.Serving)
			for {
				if done, err := s.DrainIdle(context.Background(), time.Millisecond); err != nil {
					t.Errorf("drain: %v", err)
				} else if done {
					break
				}
				runtime.Gosched()
			}
			if err := <-served; err != nil {
				t.Errorf("serve: %v", err)
			}
			n++
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	var callers sync.WaitGroup
	for range 2 {
		callers.Go(func() {
			for i := 0; i < 500; {
				nc, err := net.Dial("unix", path)
				if err != nil {
					t.Errorf("dial: %v", err)
					return
				}
				c := NewConn(nc)
				for range 3 {
					if _, err = c.Call(context.Background(), mEcho, []byte("x")); err != nil {
						break
					}
					answered.Add(1)
					i++
					if i%2 == 0 {
						time.Sleep(time.Duration(i%9) * 300 * time.Microsecond) // lets servers become idle
					}
				}
				if err != nil && !isNotSent(err) {
					t.Errorf("call: %v", err)
				}
				c.Close()
			}
		})
	}
	callers.Wait()
	close(stop)
	n := <-generations
	t.Logf("%d servers, %d calls", n, ran.Load())
	if n < 3 {
		t.Error("no server found itself idle")
	}
	if ran.Load() != answered.Load() {
		t.Errorf("%d calls ran, %d were answered", ran.Load(), answered.Load())
	}
	os.Remove(path)
}

// A call that comes while the server finds itself idle is served, and the server goes on.
func TestDrainIdleServesWhatSlipsIn(t *testing.T) {
	f := serve(t, nil)
	nc := f.raw(t)
	r := newReader(nc)
	nc.Write(helloFrame())
	f.read(t, r, typeHelloAck)
	result := make(chan bool)
	go func() {
		done, err := f.DrainIdle(context.Background(), 0)
		if err != nil {
			t.Error(err)
		}
		result <- done
	}()
	_, b := f.read(t, r, typeGoAway)
	if g, err := parseGoAway(b); err != nil || g.last != allCalls {
		t.Errorf("GOAWAY: %+v, %v", g, err)
	}
	_, b = f.read(t, r, typePing)
	nc.Write(append(callFrame(1, mEcho, []byte("late")), frame(typePong, 0, 0, b)...))
	if _, b := f.read(t, r, typeResult); string(b) != "late" {
		t.Errorf("result: %q", b)
	}
	if <-result {
		t.Fatal("the server stopped")
	}
	if _, err := f.dial(t).Call(t.Context(), mEcho, nil); err != nil {
		t.Errorf("call after it: %v", err)
	}
}
