package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestMalformedFromClient(t *testing.T) {
	long := frame(typeCall, 0, 1, nil)
	binary.LittleEndian.PutUint32(long, MaxFrame+1)
	reserved := callFrame(1, mEcho, nil)
	reserved[6] = 1
	tests := map[string]struct {
		send []byte
		say  string
	}{
		"no greeting":      {callFrame(1, mEcho, nil), "CALL before HELLO"},
		"http":             {[]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "reserved bytes"},
		"magic":            {frame(typeHello, 0, 0, []byte("SELL\x01\x00")), "does not speak"},
		"version 0":        {frame(typeHello, 0, 0, []byte("CELL\x00\x00")), "version 0"},
		"short greeting":   {frame(typeHello, 0, 0, []byte("CEL")), "HELLO of 3 bytes"},
		"broken greeting":  {frame(typeHello, 0, 0, []byte("CELL\x01\x00\x1a\x7f")), "malformed field 3"},
		"small limit":      {frame(typeHello, 0, 0, appendHello(nil, &Hello{Protocol: 1, MaxFrame: 9})), "frames of 9 bytes"},
		"second greeting":  {append(helloFrame(), helloFrame()...), "HELLO from a client"},
		"oversize":         {append(helloFrame(), long...), "allowed are 48 to 16777216"},
		"reserved":         {append(helloFrame(), reserved...), "reserved bytes"},
		"short call":       {append(helloFrame(), frame(typeCall, 0, 1, make([]byte, 47))...), "CALL of 47 bytes"},
		"call 0":           {append(helloFrame(), callFrame(0, mEcho, nil)...), "id 0"},
		"same id":          {append(append(helloFrame(), callFrame(5, 99, nil)...), callFrame(5, 99, nil)...), "id 5 after 5"},
		"unknown type":     {append(helloFrame(), frame(77, 0, 0, nil)...), "unknown type 77"},
		"wrong direction":  {append(helloFrame(), frame(typeResult, 0, 1, nil)...), "RESULT from a client"},
		"long ping":        {append(helloFrame(), frame(typePing, 0, 0, make([]byte, 65))...), "PING of 65 bytes"},
		"cancel with data": {append(helloFrame(), frame(typeCancel, 0, 1, []byte("x"))...), "CANCEL of 1 bytes"},
		"data, no call":    {append(helloFrame(), frame(typeData, 0, 1, []byte("x"))...), "DATA for call 1, which was not made"},
		"data, call 0":     {append(helloFrame(), frame(typeData, 0, 0, nil)...), "call 0, which was not made"},
		"end, no call":     {append(helloFrame(), frame(typeEnd, 0, 1, nil)...), "END for call 1, which was not made"},
		"end with data":    {append(helloFrame(), frame(typeEnd, 0, 1, []byte("x"))...), "END of 1 bytes"},
		"credit, no call":  {append(helloFrame(), frame(typeCredit, 0, 9, make([]byte, 4))...), "CREDIT for call 9, which was not made"},
		"short credit":     {append(helloFrame(), frame(typeCredit, 0, 1, make([]byte, 3))...), "CREDIT of 3 bytes"},
		"long credit":      {append(helloFrame(), frame(typeCredit, 0, 1, make([]byte, 5))...), "CREDIT of 5 bytes"},
		"data, plain call": {opened(0, frame(typeData, 0, 1, nil)), "DATA for call 1, which has no items"},
		"end, only out":    {opened(callItemsOut, frame(typeEnd, 0, 1, nil)), "END for call 1, which has no items"},
		"data, only out":   {opened(callItemsOut, frame(typeData, 0, 1, nil)), "DATA for call 1, which has no items"},
		"credit, only in":  {opened(callItemsIn, frame(typeCredit, 0, 1, make([]byte, 4))), "CREDIT for call 1, which has no items"},
		"end twice":        {opened(callItemsIn, frame(typeEnd, 0, 1, nil), frame(typeEnd, 0, 1, nil)), "a second END"},
		"data after end":   {opened(callItemsIn, frame(typeEnd, 0, 1, nil), frame(typeData, 0, 1, nil)), "DATA for call 1 after END"},
		"one-way items":    {opened(callOneWay | callItemsIn), "one-way and has items"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := serve(t, nil)
			nc := f.raw(t)
			nc.Write(test.send)
			r := newReader(nc)
			_, b := f.read(t, r, typeGoAway)
			if g, err := parseGoAway(b); err != nil || !strings.Contains(g.message, test.say) {
				t.Errorf("GOAWAY %+v, %v; want %q", g, err, test.say)
			}
			for err := error(nil); err == nil; { // hangs when the connection stays open
				var h header
				if h, err = r.next(); err == nil {
					err = r.skip(h)
				}
			}
		})
	}
}

func TestHarmlessFromClient(t *testing.T) {
	f := serve(t, nil)
	nc := f.raw(t)
	send := helloFrame()
	send = append(send, frame(77, flagIgnorable, 0, make([]byte, 100_000))...)
	send = append(send, frame(typeCancel, 0, 3, nil)...)
	send = append(send, frame(typePong, 0, 0, []byte(probe))...)
	send = append(send, callFrame(4, mEcho, []byte("x"))...)
	go nc.Write(send)
	if h, b := f.read(t, newReader(nc), typeResult); h.id != 4 || string(b) != "x" {
		t.Errorf("result %+v %q", h, b)
	}
}

// opened is a call that waits and is followed by frames.
func opened(flags uint32, frames ...[]byte) []byte {
	ext := appendExtension(nil, &extension{method: mWait, flags: flags})
	b := append(helloFrame(), frame(typeCall, 0, 1, ext)...)
	for _, f := range frames {
		b = append(b, f...)
	}
	return b
}

// answerWith is a server that takes one call and answers bytes.
func answerWith(t *testing.T, answer []byte) *Conn {
	ours, theirs := net.Pipe()
	go func() {
		r := newReader(theirs)
		for {
			h, err := r.next()
			if err != nil {
				return
			}
			r.payload(h)
			if h.kind == typeCall {
				break
			}
		}
		go io.Copy(io.Discard, theirs)
		theirs.Write(answer)
		theirs.Close()
	}()
	c := NewConn(ours)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestMalformedFromServer(t *testing.T) {
	tests := map[string]struct {
		answer []byte
		say    string
	}{
		"nothing":         {nil, "EOF"},
		"half":            {frame(typeResult, 0, 1, []byte("xyz"))[:18], "within RESULT"},
		"other call":      {frame(typeResult, 0, 2, nil), "call 2, which was not made"},
		"call 0":          {frame(typeError, 0, 0, nil), "call 0"},
		"broken error":    {frame(typeError, 0, 1, []byte{0x0a, 9}), "malformed field 1"},
		"direction":       {callFrame(1, 1, nil), "CALL from a server"},
		"future version":  {frame(typeHelloAck, 0, 0, []byte("CELL\x02\x00")), "version 2"},
		"short going":     {frame(typeGoAway, 0, 0, []byte("short")), "GOAWAY of 5 bytes"},
		"broken going":    {frame(typeGoAway, 0, 0, []byte("12345678\xff")), "read going away"},
		"unknown":         {frame(99, 0, 0, nil), "unknown type 99"},
		"greeting twice":  {bytes.Repeat(frame(typeHelloAck, 0, 0, []byte("CELL\x01\x00")), 2), "second HELLO_ACK"},
		"no cell at all":  {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), "reserved bytes"},
		"data, no call":   {frame(typeData, 0, 2, nil), "DATA for call 2, which was not made"},
		"data, plain":     {frame(typeData, 0, 1, []byte("x")), "DATA for call 1, which has no items"},
		"credit, plain":   {frame(typeCredit, 0, 1, make([]byte, 4)), "CREDIT for call 1, which has no items"},
		"credit, size":    {frame(typeCredit, 0, 1, nil), "CREDIT of 0 bytes"},
		"end":             {frame(typeEnd, 0, 1, nil), "END from a server"},
		"greeting, limit": {frame(typeHelloAck, 0, 0, appendHello(nil, &Hello{Protocol: 1, MaxFrame: 1})), "frames of 1 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := answerWith(t, test.answer).Call(t.Context(), mEcho, nil)
			if !isLost(err) || !strings.Contains(err.Error(), test.say) {
				t.Errorf("error %v, want lost with %q", err, test.say)
			}
		})
	}
}

func TestGoAwayTellsWhatRan(t *testing.T) {
	away := func(last uint64) []byte {
		return frame(typeGoAway, 0, 0, appendGoAway(nil, &goAway{last: last, message: "bye"}))
	}
	_, err := answerWith(t, away(0)).Call(t.Context(), mEcho, nil)
	wantNotSent(t, err)
	if _, err := answerWith(t, away(1)).Call(t.Context(), mEcho, nil); !isLost(err) {
		t.Errorf("call that was taken: %v", err)
	}
	got, err := answerWith(t, append(away(1), frame(typeResult, 0, 1, []byte("x"))...)).Call(t.Context(), mEcho, nil)
	if err != nil || string(got) != "x" {
		t.Errorf("call that was taken: %q, %v", got, err)
	}
}

func TestCloseTellsWhatWasSent(t *testing.T) {
	ours, theirs := net.Pipe() // nothing is read: nothing is sent
	c := NewConn(ours)
	failed := make(chan error)
	go func() {
		_, err := c.Call(context.Background(), mEcho, make([]byte, 100_000))
		failed <- err
	}()
	waitFor(func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.calls) == 1 })
	theirs.Close()
	wantNotSent(t, <-failed)
	_, err := c.Call(context.Background(), mEcho, nil)
	wantNotSent(t, err)

	f := serve(t, nil)
	c = f.dial(t)
	go func() {
		_, err := c.Call(context.Background(), mWait, nil)
		failed <- err
	}()
	<-f.entered
	c.Close()
	if err := <-failed; !isLost(err) {
		t.Errorf("error %v, want lost", err)
	}
}

// A client that asks and never reads ends its connection, by bytes or by time, and others are served meanwhile.
func TestSlowReader(t *testing.T) {
	f := serve(t, func(s *Server) { s.Stall = time.Hour })
	nc := f.raw(t)
	nc.Write(helloFrame())
	pings := bytes.Repeat(frame(typePing, 0, 0, make([]byte, maxPing)), 100)
	for {
		if _, err := nc.Write(pings); err != nil {
			break
		}
	}
	if err := f.dial(t).Ping(t.Context()); err != nil {
		t.Errorf("another client: %v", err)
	}

	f = serve(t, func(s *Server) { s.Stall = 20 * time.Millisecond })
	nc = f.raw(t)
	send := helloFrame()
	for id := range uint64(100) {
		send = append(send, callFrame(id+1, mBig, binary.LittleEndian.AppendUint32(nil, 1<<20))...)
	}
	nc.Write(send)
	waitFor(func() bool { return f.started.Load() == 100 })
	for _, c := range f.snapshot() {
		c.w.mu.Lock()
		if c.w.pending > softQueue+2<<20 {
			t.Errorf("%d bytes are queued", c.w.pending)
		}
		c.w.mu.Unlock()
	}
	waitFor(func() bool { _, busy := f.Idle(); return !busy && len(f.snapshot()) == 0 })
}

// A client that takes its time, with its greeting or within a frame, does not hold what it was given for ever; one that has
// nothing to say is left alone.
func TestSlowSender(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	f := serve(t, func(s *Server) { s.Stall = 50 * time.Millisecond })
	for name, send := range map[string][]byte{
		"nothing":           nil,
		"half a greeting":   helloFrame()[:20],
		"half a header":     append(helloFrame(), callFrame(1, mEcho, nil)[:9]...),
		"half an extension": append(helloFrame(), callFrame(1, mEcho, nil)[:30]...),
		"half a request":    append(helloFrame(), callFrame(1, mEcho, make([]byte, 4000))[:3000]...),
		"half an unknown":   append(helloFrame(), frame(77, flagIgnorable, 0, make([]byte, 50))[:40]...),
	} {
		nc := f.raw(t)
		nc.Write(send)
		r := newReader(nc)
		for {
			h, err := r.next()
			if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
			b, _ := r.payload(h)
			if h.kind == typeGoAway {
				if !strings.Contains(string(b), "did not arrive in time") {
					t.Errorf("%s: %s", name, b)
				}
				break
			}
		}
	}
	waitFor(func() bool { return len(f.snapshot()) == 0 && f.held.Load() == 0 })
	idle := f.dial(t)
	if err := idle.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	time.Sleep(3 * f.Stall) // nothing may happen in this time
	if err := idle.Ping(t.Context()); err != nil {
		t.Errorf("a client that has nothing to say was given up: %v", err)
	}
}

// A caller does not wait for longer than it wants when the server reads nothing.
func TestFullQueueObeysContext(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := NewConn(ours)
	defer c.Close()
	go c.Call(context.Background(), mEcho, make([]byte, softQueue))
	waitFor(func() bool { c.w.mu.Lock(); defer c.w.mu.Unlock(); return c.w.pending > softQueue })
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := c.Call(ctx, mEcho, nil); !errors.Is(err, context.DeadlineExceeded) || !isType[*NotSent](err) {
		t.Errorf("error %v", err)
	}
	if c.last != 1 {
		t.Error("the call was queued nevertheless")
	}
}

// What a socket does not take at once goes out later, whole and in order.
func TestLateReader(t *testing.T) {
	f := serve(t, nil)
	nc := f.raw(t)
	nc.Write(helloFrame())
	const pings = 15_000
	for i := range uint64(pings) {
		nc.Write(frame(typePing, 0, 0, append(binary.LittleEndian.AppendUint64(nil, i), make([]byte, maxPing-8)...)))
	}
	r := newReader(nc)
	for i := range uint64(pings) {
		if _, b := f.read(t, r, typePong); binary.LittleEndian.Uint64(b) != i {
			t.Fatalf("PONG %d came as %d", binary.LittleEndian.Uint64(b), i)
		}
	}
}
