package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// whims makes the method of a whimServer quick.
func whims(t *testing.T, call func([]byte) error) {
	t.Helper()
	for range 100 {
		if err := call([]byte("quick")); err != nil {
			t.Fatal(err)
		}
	}
}

// whimServer has one method, which does what the request says.
func whimServer(t *testing.T, entered, gate chan struct{}) *fixture {
	return serve(t, func(s *Server) {
		s.Handler = func(ctx context.Context, r Request) ([]byte, error) {
			switch string(r.Payload) {
			case "wait":
				entered <- struct{}{}
				select {
				case <-gate:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			case "exit":
				runtime.Goexit()
			case "panic":
				panic("broken on purpose")
			}
			return r.Payload, nil
		}
	})
}

// A method that was always quick may wait this time: the connection's other calls must not wait with it.
func TestQuickMethodWaits(t *testing.T) {
	entered, gate := make(chan struct{}, 10), make(chan struct{})
	f := whimServer(t, entered, gate)
	c := f.dial(t)
	call := func(data []byte) error {
		answer, err := c.Call(t.Context(), mEcho, data)
		if err == nil && !bytes.Equal(answer, data) {
			err = fmt.Errorf("answer %q", answer)
		}
		return err
	}
	for range 3 { // it becomes quick again, and waits again
		whims(t, call)
		if took := f.pace.of(mEcho); took >= quickAlone {
			t.Skipf("the machine takes %v for a call that does nothing: it would not be run by who reads", took)
		}
		waits := make(chan error)
		go func() { waits <- call([]byte("wait")) }()
		<-entered
		for range 20 {
			if err := call([]byte("quick")); err != nil {
				t.Fatal(err)
			}
		}
		canceled, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := c.Call(canceled, mEcho, []byte("wait"))
			ended <- err
		}()
		<-entered
		cancel()
		if err := <-ended; !isType[*Abandoned](err) {
			t.Errorf("canceled call: %v", err)
		}
		gate <- struct{}{}
		if err := <-waits; err != nil {
			t.Error(err)
		}
	}
	if err := f.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

// The one call of a connection is canceled while the goroutine that reads runs it.
func TestCancelQuickMethod(t *testing.T) {
	entered := make(chan struct{}, 1)
	f := whimServer(t, entered, nil)
	c := f.dial(t)
	whims(t, func(b []byte) error { _, err := c.Call(t.Context(), mEcho, b); return err })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if _, err := c.Call(ctx, mEcho, []byte("wait")); !isType[*Abandoned](err) {
		t.Errorf("canceled call: %v", err)
	}
	if err := f.Drain(t.Context()); err != nil { // its method was told, too
		t.Error(err)
	}
}

func TestQuickMethodFails(t *testing.T) {
	f := whimServer(t, nil, nil)
	c := f.dial(t)
	for _, whim := range []string{"exit", "panic", "exit"} {
		whims(t, func(b []byte) error { _, err := c.Call(t.Context(), mEcho, b); return err })
		_, err := c.Call(t.Context(), mEcho, []byte(whim))
		wantCode(t, err, CodeRemote)
	}
}

// Answers that wait for others must all go out, in whatever portions the calls come.
func TestAnswersTogether(t *testing.T) {
	f := serve(t, nil)
	nc := f.raw(t)
	var stream []byte
	const calls = 3000
	for id := range uint64(calls) {
		stream = append(stream, callFrame(id+1, mEcho, bytes.Repeat([]byte{byte(id)}, int(id)%50))...)
	}
	go func() {
		_, _ = nc.Write(helloFrame())
		for part := 1; len(stream) > 0; part = part*7%2003 + 1 {
			part = min(part, len(stream))
			_, _ = nc.Write(stream[:part])
			stream = stream[part:]
			if part%5 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	r := newReader(nc)
	_ = nc.SetReadDeadline(time.Now().Add(30 * time.Second))
	seen := map[uint64]bool{}
	for len(seen) < calls {
		h, err := r.next()
		if err != nil {
			t.Fatalf("after %d answers: %v", len(seen), err)
		}
		b, err := r.payload(h)
		if err != nil {
			t.Fatal(err)
		}
		if h.kind == typeHelloAck {
			continue
		}
		if want := bytes.Repeat([]byte{byte(h.id - 1)}, int(h.id-1)%50); h.kind != typeResult || seen[h.id] || !bytes.Equal(b, want) {
			t.Fatalf("%v for call %d: %x", h.kind, h.id, b)
		}
		seen[h.id] = true
	}
}

// A client that does not read must not hold up who reads what it sends, nor the server's memory.
func TestQuickMethodsUnread(t *testing.T) {
	f := serve(t, func(s *Server) { s.Stall = 200 * time.Millisecond; s.MaxConnCalls = 1 << 20; s.MaxCalls = 1 << 20 })
	nc := f.raw(t)
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	_, err := nc.Write(helloFrame())
	request := make([]byte, 4<<10)
	for id := uint64(1); err == nil; id++ {
		_, err = nc.Write(callFrame(id, mEcho, request))
	}
	if isTimeout(err) {
		t.Errorf("the connection goes on: %v", err)
	}
}

func TestCallContext(t *testing.T) {
	ctx := &callContext{}
	if ctx.Err() != nil {
		t.Error(ctx.Err())
	}
	child, cancelChild := context.WithCancel(context.WithValue(ctx, nilError{}, 1))
	defer cancelChild()
	timed, cancelTimed := context.WithTimeout(ctx, time.Hour)
	cancelTimed()
	ran := make(chan struct{})
	context.AfterFunc(ctx, func() { close(ran) })
	stopped := context.AfterFunc(ctx, func() { t.Error("it was stopped") })
	if !stopped() || stopped() {
		t.Error("stopped once, and only once")
	}
	before := runtime.NumGoroutine()
	done := ctx.Done()
	ctx.end()
	ctx.end()
	<-done
	<-ran
	if child.Err() != context.Canceled || ctx.Err() != context.Canceled || timed.Err() != context.Canceled {
		t.Error(child.Err(), ctx.Err(), timed.Err())
	}
	<-ctx.Done()
	ended := &callContext{}
	ended.end()
	if <-ended.Done(); ended.Err() != context.Canceled || ended.Value("key") != nil {
		t.Error("asked after its end:", ended.Err())
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, there were %d", n, before)
	}

	late := &callContext{deadline: time.Now().Add(20 * time.Millisecond)}
	child, cancel := context.WithCancel(late)
	defer cancel()
	<-child.Done()
	if late.Err() != context.DeadlineExceeded || child.Err() != context.DeadlineExceeded {
		t.Error(late.Err(), child.Err())
	}
	unwatched := &callContext{deadline: time.Now().Add(-1)}
	if d, ok := unwatched.Deadline(); !ok || d.IsZero() || unwatched.Err() != context.DeadlineExceeded {
		t.Error("nobody waits for it")
	}
	<-unwatched.Done()
}

// Callers, one, some or many, in all changes from one to the other.
func TestLeadsInTurn(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	f := serve(t, nil)
	c := f.dial(t)
	one := func(data string) {
		if answer, err := c.Call(t.Context(), mEcho, []byte(data)); err != nil || string(answer) != data {
			t.Errorf("%q: %q, %v", data, answer, err)
		}
	}
	for round := range 200 {
		for i := range 3 * streakLeads {
			one(fmt.Sprint(round, i))
		}
		// The goroutine that read the last answer may not have come to see yet that it is to leave.
		for limit := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			c.mu.Lock()
			stays := c.lead.reader == readsOwn && c.lead.streak >= streakLeads
			c.mu.Unlock()
			if !stays {
				break
			}
			if time.Now().After(limit) {
				t.Fatal("a caller that is alone does not read")
			}
		}
		switch round % 5 {
		case 0:
			var all sync.WaitGroup
			for i := range 20 {
				all.Go(func() { one(strings.Repeat("x", i*100)) })
			}
			all.Wait()
		case 1:
			if err := c.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
		case 2:
			s, err := c.Start(t.Context(), Call{Method: mEcho, Request: []byte("later")})
			if err != nil {
				t.Fatal(err)
			}
			one("meanwhile")
			<-s.Done()
			if answer, err := s.Result(); string(answer) != "later" {
				t.Fatal(answer, err)
			}
		case 3:
			waits := make(chan error)
			go func() { _, err := c.Call(t.Context(), mGate, nil); waits <- err }()
			<-f.entered
			one("beside one that waits")
			f.gate <- struct{}{}
			if err := <-waits; err != nil {
				t.Fatal(err)
			}
		case 4:
			time.Sleep(time.Duration(round) * tick / 20)
		}
	}
}

// led makes a connection that nobody reads: a caller did, and may call again.
func led(t *testing.T, f *fixture) *Conn {
	t.Helper()
	c := f.dial(t)
	for range 1000 {
		if _, err := c.Call(t.Context(), mEcho, nil); err != nil {
			t.Fatal(err)
		}
		c.mu.Lock()
		reader := c.lead.reader
		c.mu.Unlock()
		if reader == readsNobody {
			return c
		}
	}
	t.Fatal("callers that are alone never read")
	return nil
}

// What comes while nobody reads is noticed all the same.
func TestNobodyReads(t *testing.T) {
	for what, happens := range map[string]func(*fixture, *Conn){
		"server gone":   func(f *fixture, c *Conn) { f.Close() },
		"drained":       func(f *fixture, c *Conn) { _ = f.Drain(t.Context()) },
		"client closes": func(f *fixture, c *Conn) { c.Close() },
		"client fails":  func(f *fixture, c *Conn) { c.Fail(errors.New("no more")) },
	} {
		f := serve(t, nil)
		c := led(t, f)
		happens(f, c)
		select {
		case <-c.Done():
		case <-time.After(20 * time.Second):
			t.Errorf("%s: the connection does not end", what)
		}
		_, err := c.Call(t.Context(), mEcho, nil)
		wantNotSent(t, err)
	}
}

// The caller that reads gives up, fails with the connection, or is told by the server.
func TestCallerReads(t *testing.T) {
	f := serve(t, nil)
	c := led(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-f.entered; cancel() }()
	if _, err := c.Call(ctx, mWait, nil); !isType[*Abandoned](err) {
		t.Errorf("canceled: %v", err)
	}
	c = led(t, f)
	ctx, cancel = context.WithTimeout(t.Context(), 3*tick)
	defer cancel()
	if _, err := c.Call(ctx, mWait, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("late: %v", err)
	}
	<-f.entered
	c = led(t, f)
	go func() { <-f.entered; c.Close() }()
	if _, err := c.Call(t.Context(), mWait, nil); !isType[*Lost](err) {
		t.Errorf("closed: %v", err)
	}
	c = led(t, f)
	go func() { <-f.entered; f.Close() }()
	if _, err := c.Call(t.Context(), mGate, nil); !isType[*Lost](err) {
		t.Errorf("server gone: %v", err)
	}
}

// A long answer comes in parts while the caller that reads is told to leave that to another goroutine: none may be lost.
func TestLeadTakenWithinFrame(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	ours, theirs := pair(t)
	go func() {
		r := newReader(theirs)
		for {
			h, err := r.next()
			if err != nil {
				return
			}
			if _, err := r.payload(h); err != nil {
				return
			}
			if h.kind != typeCall {
				_, _ = theirs.Write(frame(typeHelloAck, 0, 0, appendHello(nil, &Hello{Protocol: Version})))
				continue
			}
			answer := frame(typeResult, 0, h.id, bytes.Repeat([]byte{byte(h.id)}, int(h.id)*1000))
			if h.id <= 2*streakLeads {
				_, _ = theirs.Write(answer)
				continue
			}
			for part := 1; len(answer) > 0; part = part*3 + 1 {
				part = min(part, len(answer))
				_, _ = theirs.Write(answer[:part])
				answer = answer[part:]
				time.Sleep(tick / 2)
			}
		}
	}()
	c := NewConn(ours)
	defer c.Close()
	for id := 1; id < 4*streakLeads; id++ {
		answer, err := c.Call(t.Context(), mEcho, nil)
		if err != nil || !bytes.Equal(answer, bytes.Repeat([]byte{byte(id)}, id*1000)) {
			t.Fatalf("call %d: %d bytes, %v", id, len(answer), err)
		}
	}
}

// pair are the two ends of a Unix socket.
func pair(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

// The pacer stops when there is nothing to look at.
func TestPacerStops(t *testing.T) {
	f := serve(t, nil)
	c := led(t, f)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(tick) {
		pacer.mu.Lock()
		n := len(pacer.conns)
		pacer.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections are still looked at", n)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lead.reader != readsOwn {
		t.Error("nobody reads for ever")
	}
}
