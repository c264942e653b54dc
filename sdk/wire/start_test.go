package wire

import (
	"context"
	"errors"
	"net"
	"testing"
)

// A call in two halves is the same as one that is waited for; given up, the server is told.
func TestStart(t *testing.T) {
	f := serve(t, nil)
	c := f.dial(t)
	a, err := c.Start(t.Context(), Call{Method: mGate, Request: []byte("first")})
	if err != nil {
		t.Fatal(err)
	}
	<-f.entered
	b, err := c.Start(t.Context(), Call{Method: mEcho, Request: []byte("second")})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-b.Done():
	case <-a.Done():
		t.Fatal("the first one cannot have ended")
	}
	if r, err := b.Result(); string(r) != "second" || err != nil {
		t.Errorf("%q %v", r, err)
	}
	f.gate <- struct{}{}
	<-a.Done()
	if r, err := a.Result(); string(r) != "first" || err != nil {
		t.Errorf("%q %v", r, err)
	}
	// Given up before and after the answer.
	w, err := c.Start(t.Context(), Call{Method: mWait})
	if err != nil {
		t.Fatal(err)
	}
	<-f.entered
	w.Abandon()
	for { // the server has ended it
		if _, busy := f.Idle(); !busy {
			break
		}
	}
	e, err := c.Start(t.Context(), Call{Method: mEcho, Request: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.Abandon()
	if r, err := c.Call(t.Context(), mEcho, []byte("y")); string(r) != "y" || err != nil {
		t.Errorf("after that: %q %v", r, err)
	}
	if _, err := c.Start(t.Context(), Call{Method: mEcho, OneWay: true}); err == nil {
		t.Error("a one-way call was started")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Start(ended, Call{Method: mEcho})
	wantNotSent(t, err)
	if (Started{}).Done() != nil {
		t.Error("no call has an end")
	}
}

// Who ends a connection says why.
func TestFail(t *testing.T) {
	f := serve(t, nil)
	c := f.dial(t)
	s, err := c.Start(t.Context(), Call{Method: mWait})
	if err != nil {
		t.Fatal(err)
	}
	<-f.entered
	why := errors.New("it hangs")
	c.Fail(why)
	<-s.Done()
	if _, err := s.Result(); !errors.Is(err, why) || !errors.As(err, new(*Lost)) {
		t.Errorf("%v (%T)", err, err)
	}
}

// Choices are told on Unix sockets, and only where the server has some.
func TestMethodRaces(t *testing.T) {
	races := func(Request) ([]byte, error) { return []byte("[]"), nil }
	with := serve(t, func(s *Server) { s.Races = races })
	if r, err := with.dial(t).Call(t.Context(), MethodRaces, nil); string(r) != "[]" || err != nil {
		t.Errorf("%q %v", r, err)
	}
	_, err := serve(t, nil).dial(t).Call(t.Context(), MethodRaces, nil)
	wantCode(t, err, CodeNoSuchMethod)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = with.Serve(l) }()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := NewConn(nc)
	defer c.Close()
	_, err = c.Call(t.Context(), MethodRaces, nil)
	wantCode(t, err, CodeNoSuchMethod)
}
