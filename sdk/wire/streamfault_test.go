package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
)

func openFrame(id uint64, method, flags uint32) []byte {
	return frame(typeCall, 0, id, appendExtension(nil, &extension{method: method, flags: flags}))
}

func frames(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// A client that sends without credit loses the stream, and nothing else.
func TestOverrunByClient(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	nc := f.raw(t)
	nc.Write(frames(helloFrame(), openFrame(1, sHold, callItemsIn|callItemsOut)))
	<-f.entered
	nc.Write(frame(typeData, 0, 1, make([]byte, window+5000))) // one may be larger than the credit
	go nc.Write(frames(
		frame(typeData, 0, 1, []byte("too much")), frame(typeData, 0, 1, make([]byte, window)),
		frame(typeEnd, 0, 1, nil), frame(typeCredit, 0, 1, make([]byte, 4)), frame(typeCancel, 0, 1, nil),
		callFrame(2, mEcho, []byte("x")),
	))
	r := newReader(nc)
	var fault *Error
	result := ""
	for fault == nil || result == "" {
		h, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.payload(h)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case h.kind == typeError && h.id == 1:
			if fault, err = parseError(b); err != nil {
				t.Fatal(err)
			}
		case h.kind == typeResult && h.id == 2:
			result = string(b)
		}
	}
	if fault.Code != CodeInvalidRequest || result != "x" {
		t.Errorf("stream ended with %v, result of the call %q", fault, result)
	}
	if err := <-f.causes; err != context.Canceled {
		t.Errorf("cause: %v", err)
	}
	f.settled(t)
}

// rawServer is the far side of a client, which it greets.
func rawServer(t *testing.T) (*Conn, net.Conn, *reader) {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := NewConn(near)
	t.Cleanup(func() {
		c.Close()
		far.Close()
	})
	far.Write(frame(typeHelloAck, 0, 0, appendHello(nil, &Hello{Protocol: Version})))
	return c, far, newReader(far)
}

func readFrame(t *testing.T, r *reader, kind frameType) (header, []byte) {
	t.Helper()
	return (*fixture)(nil).read(t, r, kind)
}

func TestOverrunByServer(t *testing.T) {
	noLeaks(t)
	c, far, r := rawServer(t)
	s := open(t, c, 1, true, true)
	readFrame(t, r, typeCall)
	far.Write(frames(
		frame(typeData, 0, 1, make([]byte, window)), frame(typeData, 0, 1, []byte("too much")),
		frame(typeData, 0, 1, []byte("ignored")), frame(typeCredit, 0, 1, make([]byte, 4)), frame(typeResult, 0, 1, nil),
	))
	if h, _ := readFrame(t, r, typeCancel); h.id != 1 {
		t.Errorf("CANCEL of call %d", h.id)
	}
	_, err := s.Recv()
	wantAbandoned(t, err, errOverrun)
	wantAbandoned(t, s.Send(nil), errOverrun)
	go func() {
		readFrame(t, r, typeCall)
		far.Write(frame(typeResult, 0, 2, []byte("x")))
	}()
	if got, err := c.Call(t.Context(), mEcho, nil); err != nil || string(got) != "x" {
		t.Errorf("the connection goes on: %q, %v", got, err)
	}
}

// Items that came whole are delivered before the loss is told.
func TestItemsBeforeLoss(t *testing.T) {
	noLeaks(t)
	c, far, r := rawServer(t)
	s := open(t, c, 1, true, true)
	readFrame(t, r, typeCall)
	far.Write(frames(frame(typeData, 0, 1, []byte("a")), frame(typeData, 0, 1, nil), frame(typeData, 0, 1, []byte("half"))[:18]))
	far.Close()
	<-c.Done()
	for _, want := range []string{"a", ""} {
		if item, err := s.Recv(); err != nil || string(item) != want {
			t.Errorf("%q, %v, want %q", item, err, want)
		}
	}
	if _, err := s.Recv(); !isLost(err) || !strings.Contains(err.Error(), "within DATA") {
		t.Errorf("error %v", err)
	}
}

func TestHalfItemFromClient(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	nc := f.raw(t)
	half := frame(typeData, 0, 1, make([]byte, 1000))[:500]
	nc.Write(frames(helloFrame(), openFrame(1, sHold, callItemsIn), frame(typeData, 0, 1, make([]byte, 1000)), half))
	<-f.entered
	nc.Close()
	if err := <-f.causes; err != context.Canceled {
		t.Errorf("cause: %v", err)
	}
	f.settled(t)
}

// What crosses the answer of a stream is ignored.
func TestFramesForEndedCalls(t *testing.T) {
	f := serveStreams(t, nil)
	nc := f.raw(t)
	r := newReader(nc)
	nc.Write(frames(helloFrame(), openFrame(3, sIgnore, callItemsIn|callItemsOut)))
	readFrame(t, r, typeResult)
	for _, id := range []uint64{1, 3} { // 1 was left out by the client
		nc.Write(frames(
			frame(typeData, 0, id, make([]byte, 2*window)), frame(typeData, 0, id, nil), frame(typeEnd, 0, id, nil),
			frame(typeEnd, 0, id, nil), frame(typeCredit, 0, id, make([]byte, 4)), frame(typeCancel, 0, id, nil),
		))
	}
	nc.Write(callFrame(4, mEcho, []byte("x")))
	if h, b := readFrame(t, r, typeResult); h.id != 4 || string(b) != "x" {
		t.Errorf("result %+v %q", h, b)
	}

	c, far, r := rawServer(t)
	s := open(t, c, 1, true, true)
	readFrame(t, r, typeCall)
	far.Write(frames(
		frame(typeResult, 0, 1, nil), frame(typeResult, 0, 1, nil), frame(typeData, 0, 1, make([]byte, 2*window)),
		frame(typeCredit, 0, 1, make([]byte, 4)), frame(typePing, 0, 0, nil),
	))
	readFrame(t, r, typePong)
	if _, err := s.Recv(); err != io.EOF {
		t.Errorf("receive: %v", err)
	}
	if !c.Usable() {
		t.Error("the connection ended")
	}
}

func TestCreditFrames(t *testing.T) {
	f := serveStreams(t, nil)
	nc := f.raw(t)
	nc.Write(frames(helloFrame(), openFrame(1, sFlood, callItemsOut)))
	waitFor(func() bool { return f.sent.Load() == windowItems })
	// The last item has overdrawn the credit: this much brings it to 0, one byte more is for one item.
	const used = windowItems * (itemSize + itemCost)
	nc.Write(frame(typeCredit, 0, 1, binary.LittleEndian.AppendUint32(nil, used-window)))
	nc.Write(frame(typePing, 0, 0, []byte("p")))
	r := newReader(nc)
	readFrame(t, r, typePong)
	if n := f.sent.Load(); n != windowItems {
		t.Errorf("%d items for no credit", n-windowItems)
	}
	nc.Write(frame(typeCredit, 0, 1, []byte{1, 0, 0, 0}))
	waitFor(func() bool { return f.sent.Load() == windowItems+1 })
	nc.Write(frame(typeCancel, 0, 1, nil))
	if err := <-f.causes; err != context.Canceled {
		t.Errorf("cause: %v", err)
	}
	f.settled(t)

	s := newStream(t.Context(), nil, true, true)
	for range 10_000 {
		if err := s.addCredit(header{}, binary.LittleEndian.AppendUint32(nil, math.MaxUint32)); err != nil {
			t.Fatal(err)
		}
	}
	if s.credit != maxCredit {
		t.Errorf("credit %d", s.credit)
	}
}

// Items that nobody takes count in what the server holds.
func TestItemsOverload(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, func(s *Server) { s.MaxHeld = 100_000 })
	c := f.dial(t)
	s := open(t, c, sHold, true, false)
	var err error
	for err == nil {
		err = s.Send(make([]byte, 10_000))
	}
	if err != io.EOF {
		t.Errorf("send: %v", err)
	}
	_, err = s.Result()
	if e := wantCode(t, err, CodeOverloaded); e.NotExecuted || !strings.Contains(e.Message, "items") {
		t.Errorf("error: %+v", e)
	}
	<-f.causes
	f.settled(t)
	if _, err := c.Call(t.Context(), mEcho, make([]byte, 90_000)); err != nil {
		t.Errorf("after the overload: %v", err)
	}
}

func TestDrainWithStreams(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	c := f.dial(t)
	s := open(t, c, sUntil, true, true)
	if item, err := s.Recv(); err != nil || string(item) != "first" {
		t.Fatalf("%q, %v", item, err)
	}
	select {
	case <-s.Draining():
		t.Error("draining before its time")
	default:
	}
	drained := make(chan error)
	go func() { drained <- f.Drain(t.Context()) }()
	<-s.Draining()
	_, err := c.Open(t.Context(), Call{Method: sUntil}, true, true)
	wantNotSent(t, err)
	if item, err := s.Recv(); err != nil || string(item) != "last" {
		t.Errorf("%q, %v", item, err)
	}
	if got, err := s.Result(); err != nil || string(got) != "bye" {
		t.Errorf("result: %q, %v", got, err)
	}
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
	<-c.Done()
}

func TestDrainEndlessStream(t *testing.T) {
	noLeaks(t)
	f := serveStreams(t, nil)
	c := f.dial(t)
	s := open(t, c, sFlood, false, true)
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("drain: %v", err)
	}
	if _, err := s.Result(); !isLost(err) {
		t.Errorf("result: %v", err)
	}
	if err := <-f.causes; err != context.Canceled {
		t.Errorf("cause: %v", err)
	}
	f.settled(t)
}

// A stream that crosses the GOAWAY is refused, with the items behind it.
func TestStreamAfterGoAway(t *testing.T) {
	f := serveStreams(t, nil)
	nc := f.raw(t)
	r := newReader(nc)
	nc.Write(frames(helloFrame(), callFrame(7, mGate, []byte("taken"))))
	<-f.entered
	drained := make(chan error)
	go func() { drained <- f.Drain(t.Context()) }()
	if _, b := readFrame(t, r, typeGoAway); binary.LittleEndian.Uint64(b) != 7 {
		t.Errorf("last call: %v", b)
	}
	nc.Write(frames(
		openFrame(8, sSum, callItemsIn), frame(typeData, 0, 8, []byte("x")), frame(typeEnd, 0, 8, nil),
		openFrame(9, sSum, callOneWay),
	))
	if h, _ := readFrame(t, r, typeError); h.id != 8 || h.flags&flagNotExecuted == 0 {
		t.Errorf("refused stream: %+v", h)
	}
	close(f.gate)
	if h, b := readFrame(t, r, typeResult); h.id != 7 || string(b) != "taken" {
		t.Errorf("result %+v %q", h, b)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// A stream that the server did not take was not sent.
func TestStreamNotTaken(t *testing.T) {
	c, far, r := rawServer(t)
	taken, not := open(t, c, 1, true, true), open(t, c, 1, true, true)
	readFrame(t, r, typeCall)
	readFrame(t, r, typeCall)
	far.Write(frame(typeGoAway, 0, 0, appendGoAway(nil, &goAway{last: 1, message: "bye"})))
	_, err := not.Recv()
	wantNotSent(t, err)
	wantNotSent(t, not.Send(nil))
	<-taken.Draining()
	if err := taken.Send([]byte("goes on")); err != nil {
		t.Error(err)
	}
	far.Write(frame(typeResult, 0, 1, []byte("x")))
	if got, err := taken.Result(); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	<-c.Done()
}

func TestOneWay(t *testing.T) {
	noLeaks(t)
	requests := make(chan Request, 1)
	logged := make(chan string, 10)
	f := serve(t, func(s *Server) {
		s.Log = func(message string, args ...any) {
			for i, arg := range args {
				if err, ok := arg.(error); ok {
					message += ": " + err.Error()
				}
				if i == 1 && message == "panic in a method" && arg != uint32(mPanic) {
					message += " (another)"
				}
			}
			logged <- message
		}
	})
	handle := f.Server.Handler
	f.Server.Handler = func(ctx context.Context, r Request) ([]byte, error) {
		if r.OneWay && r.Method == mEcho {
			requests <- r
		}
		return handle(ctx, r)
	}
	c := f.dial(t)
	call := Call{
		Method: mEcho, Request: []byte("x"), Schema: 7, Trace: [16]byte{1, 2}, Attempt: 3, Priority: 200, OneWay: true,
	}
	if got, err := c.Do(t.Context(), call); got != nil || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if r := <-requests; r.Schema != 7 || r.Trace != call.Trace || r.Attempt != 3 || r.Priority != 200 || !r.OneWay ||
		r.Stream != nil || string(r.Payload) != "x" {
		t.Errorf("request: %+v", r)
	}
	for method, want := range map[uint32]string{mFail: "one-way call: application error Overflow: does not fit", mPanic: "panic in a method"} {
		if _, err := c.Do(t.Context(), Call{Method: method, OneWay: true}); err != nil {
			t.Error(err)
		}
		if got := <-logged; got != want {
			t.Errorf("logged %q, want %q", got, want)
		}
	}
	waitFor(func() bool { _, busy := f.Idle(); return !busy })
	if len(logged) != 0 {
		t.Errorf("logged also: %q", <-logged)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Do(ctx, call)
	if wantNotSent(t, err); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	call.Request = make([]byte, MaxRequest+1)
	_, err = c.Do(t.Context(), call)
	wantCode(t, err, CodeInvalidRequest)
	c.Close()
	call.Request = nil
	_, err = c.Do(t.Context(), call)
	wantNotSent(t, err)
}

// Nothing is answered to a one-way call, however it ends; what it does not need is for others.
func TestOneWayIsNotAnswered(t *testing.T) {
	var mu sync.Mutex
	refused := 0
	f := serve(t, func(s *Server) {
		s.MaxConnCalls, s.MaxHeld = 2, 10_000
		s.Log = func(message string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			if strings.Contains(message, "refused") {
				refused++
			}
		}
	})
	nc := f.raw(t)
	r := newReader(nc)
	nc.Write(helloFrame())
	id := uint64(0)
	oneWay := func(method uint32, size int) {
		id++
		ext := appendExtension(nil, &extension{method: method, flags: callOneWay})
		nc.Write(frame(typeCall, 0, id, append(ext, make([]byte, size)...)))
	}
	for _, method := range []uint32{mEcho, mFail, mPanic, 99, 0} {
		oneWay(method, 10)
		waitFor(func() bool { _, busy := f.Idle(); return f.started.Load() == id && !busy })
	}
	oneWay(mEcho, 20_000) // too many bytes
	oneWay(mGate, 0)
	oneWay(mGate, 0)
	<-f.entered
	<-f.entered
	oneWay(mEcho, 0) // too many calls
	nc.Write(frame(typePing, 0, 0, []byte("all came")))
	for {
		h, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		b, _ := r.payload(h)
		if h.kind == typePong && string(b) == "all came" {
			break
		}
		if h.kind != typeHelloAck {
			t.Errorf("%v came", h.kind)
		}
	}
	close(f.gate)
	waitFor(func() bool { _, busy := f.Idle(); return !busy })
	nc.Write(callFrame(id+1, mEcho, []byte("x")))
	if h, err := r.next(); err != nil || h.kind != typeResult || h.id != id+1 {
		t.Errorf("%+v, %v", h, err)
	}
	if held := f.held.Load(); held > extensionSize+1 {
		t.Errorf("%d bytes are held", held)
	}
	mu.Lock()
	defer mu.Unlock()
	if refused != 1 {
		t.Errorf("%d refusals in the log, want the first", refused)
	}
}

func TestGreeting(t *testing.T) {
	old := strings.Repeat("a", maxAccepted)
	f := serve(t, func(s *Server) {
		s.Hello.Name = strings.Repeat("n", 300)
		s.Hello.Accepts = []string{"1234", old + "b"}
		for range 2 * maxAccepts {
			s.Hello.Accepts = append(s.Hello.Accepts, old)
		}
	})
	peer, err := f.dial(t).Peer(t.Context())
	if err != nil || len(peer.Accepts) != maxAccepts || peer.Accepts[0] != "1234" || peer.Accepts[1] != old {
		t.Errorf("%d: %q, %v", len(peer.Accepts), peer.Accepts, err)
	}
	for name, accepts := range map[string][]string{"long": {old + "b"}, "many": make([]string, maxAccepts+1)} {
		b := appendHello(nil, &Hello{Protocol: Version})
		for _, hash := range accepts {
			b = appendText(b, 6, hash)
		}
		if _, err := parseHello(b); err == nil || !strings.Contains(err.Error(), "field 6") {
			t.Errorf("%s: %v", name, err)
		}
	}

	ours, theirs := net.Pipe()
	defer theirs.Close()
	go Greet(ours, Hello{Name: "caller", Version: "3", Hash: "ef", Accepts: []string{"x"}, MaxFrame: 1, MaxCalls: 9})
	_, b := readFrame(t, newReader(theirs), typeHello)
	h, err := parseHello(b)
	if err != nil || h.Name != "caller" || h.Version != "3" || h.Hash != "ef" || h.Accepts != nil || h.MaxFrame != MaxFrame ||
		h.MaxCalls != 0 || h.Protocol != Version {
		t.Errorf("%+v, %v", h, err)
	}
}
