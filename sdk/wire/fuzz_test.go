package wire

import (
	"bytes"
	"context"
	"io"
	"net"
	"reflect"
	"testing"
)

func FuzzFrame(f *testing.F) {
	f.Add(callFrame(1, 2, []byte("x")))
	f.Add(helloFrame())
	f.Add(frame(77, flagIgnorable, 1, nil))
	f.Add(append(spanFrame(1, 5), callFrame(1, 2, nil)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newReader(bufferConn{Reader: bytes.NewReader(data)})
		for {
			h, err := r.next()
			if err != nil {
				return
			}
			if !h.kind.known() {
				t.Fatalf("unknown %v was not skipped", h.kind)
			}
			b, err := r.payload(h)
			if err != nil {
				return
			}
			again := appendHeader(nil, h)
			if got, err := parseHeader((*[headerSize]byte)(again)); err != nil || got != h || len(b) != int(h.length) {
				t.Fatalf("%+v became %+v, %v", h, got, err)
			}
			if h.kind == typeCall {
				e := parseExtension(b)
				if !bytes.Equal(appendExtension(nil, &e), b[:extensionSize]) {
					t.Fatalf("extension %+v differs", e)
				}
			}
		}
	})
}

type bufferConn struct {
	io.Reader
	net.Conn
}

func (c bufferConn) Read(b []byte) (int, error) { return c.Reader.Read(b) }

func FuzzError(f *testing.F) {
	f.Add(appendError(nil, &Error{Code: CodeApplication, Name: "N", Message: "m", Payload: []byte{1}}, MaxFrame))
	f.Add([]byte{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x12, 0x01, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := parseError(data)
		if err != nil {
			return
		}
		_ = e.Error()
		for _, most := range []int{leastFrame, MaxFrame} {
			b := appendError(nil, e, most)
			if len(b) > most {
				t.Fatalf("%d bytes, allowed are %d", len(b), most)
			}
			again, err := parseError(b)
			if err != nil {
				t.Fatal(err)
			}
			if len(e.Name) <= maxName && len(data) < leastFrame/4 && !reflect.DeepEqual(again, e) && len(e.Payload) > 0 {
				t.Fatalf("%+v became %+v", e, again)
			}
		}
	})
}

func FuzzHello(f *testing.F) {
	f.Add(appendHello(nil, &Hello{Protocol: 1, MaxFrame: MaxFrame, MaxCalls: 3, Name: "a", Version: "b", Hash: "c"}))
	f.Add(appendHello(nil, &Hello{Protocol: 1, Accepts: []string{"a", "", "b"}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parseHello(data)
		if err != nil {
			return
		}
		b := appendHello(nil, h)
		if len(b) > maxGreeting {
			t.Fatalf("%d bytes", len(b))
		}
		// A text that was not UTF-8 may have grown and be cut once.
		again, err := parseHello(b)
		if err != nil || again.Protocol != h.Protocol || again.MaxFrame != h.MaxFrame || again.MaxCalls != h.MaxCalls {
			t.Fatalf("%+v became %+v, %v", h, again, err)
		}
	})
}

func FuzzGoAway(f *testing.F) {
	f.Add(appendGoAway(nil, &goAway{last: 3, code: CodeOverloaded, message: "m"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 8 {
			return
		}
		if g, err := parseGoAway(data); err == nil && len(appendGoAway(nil, g)) > maxGoAway {
			t.Fatal("too long")
		}
	})
}

// FuzzServer feeds a server whatever comes. It must end the connection, or wait for more, and leave nothing behind.
func FuzzServer(f *testing.F) {
	f.Add(append(helloFrame(), callFrame(1, mEcho, []byte("x"))...), false)
	f.Add(append(callFrame(1, mPanic, nil), frame(typeCancel, 0, 1, nil)...), true)
	f.Add(append(callFrame(1, mEcho, nil), callFrame(1, mEcho, nil)...), true)
	f.Add(append(frame(typePing, 0, 0, []byte("p")), frame(200, flagIgnorable, 9, []byte("zzz"))...), true)
	const both = callItemsIn | callItemsOut
	data, end := frame(typeData, 0, 1, []byte("item")), frame(typeEnd, 0, 1, nil)
	credit := frame(typeCredit, 0, 1, []byte{0xff, 0xff, 0xff, 0xff})
	f.Add(frames(openFrame(1, sEcho, both), data, credit, data, end, data), true)
	f.Add(frames(openFrame(1, sSum, callItemsIn), data, data, frame(typeCancel, 0, 1, nil), data, end), true)
	f.Add(frames(openFrame(1, mWait, both), bytes.Repeat(frame(typeData, 0, 1, make([]byte, window/2)), 3), callFrame(2, mEcho, nil)), true)
	f.Add(frames(openFrame(1, mWait, callItemsIn), bytes.Repeat(frame(typeData, 0, 1, nil), 100), openFrame(2, sFlood, both), data), true)
	f.Add(frames(openFrame(1, mEcho, callOneWay), openFrame(2, mPanic, callOneWay), openFrame(3, 0, callOneWay|both)), true)
	f.Add(frames(openFrame(1, sSum, callItemsOut), data), true)
	f.Add(frames(spanFrame(1, 5), callFrame(1, mEcho, nil), spanFrame(9, 5), spanFrame(0, 0)), true)
	f.Fuzz(func(t *testing.T, data []byte, greet bool) {
		s := &Server{Handler: func(ctx context.Context, r Request) ([]byte, error) {
			switch r.Method {
			case mEcho:
				return r.Payload, nil
			case mWait:
				<-ctx.Done()
				return nil, ctx.Err()
			}
			if r.Stream == nil {
				panic("no such method")
			}
			for {
				var item []byte
				var err error
				if r.Method != sFlood {
					item, err = r.Stream.Recv()
				}
				if err == nil && r.Method != sSum {
					err = r.Stream.Send(item)
				}
				if err != nil {
					return nil, err
				}
			}
		}}
		s.init()
		ours, theirs := net.Pipe()
		c := s.register(newServerConn(s, theirs))
		// A queue takes what its credit allows and one item more.
		limit := int64(window + len(data) + itemCost)
		go io.Copy(io.Discard, ours)
		if greet {
			ours.Write(helloFrame())
		}
		ours.Write(data)
		c.mu.Lock()
		for id, call := range c.calls {
			if s := call.stream; s != nil {
				s.mu.Lock()
				if s.items.cost > limit || s.credit > maxCredit {
					t.Errorf("call %d: queue of %d bytes, credit %d", id, s.items.cost, s.credit)
				}
				s.mu.Unlock()
			}
		}
		c.mu.Unlock()
		ours.Close()
		<-c.done
		c.work.Wait()
		if _, busy := s.Idle(); busy || s.held.Load() != 0 || len(s.conns) != 0 {
			t.Fatalf("left behind: %v calls, %v bytes, %v connections", s.running.Load(), s.held.Load(), len(s.conns))
		}
	})
}

// FuzzClient feeds a client whatever comes as the answer to its call.
func FuzzClient(f *testing.F) {
	f.Add(frame(typeResult, 0, 1, []byte("x")))
	f.Add(frame(typeError, 0, 1, appendError(nil, &Error{Code: CodeRemote, Message: "m"}, MaxFrame)))
	f.Add(frame(typeGoAway, 0, 0, appendGoAway(nil, &goAway{last: 0})))
	f.Add(frames(frame(typeData, 0, 2, []byte("x")), frame(typeCredit, 0, 2, make([]byte, 4)), frame(typeResult, 0, 2, nil)))
	f.Add(frames(bytes.Repeat(frame(typeData, 0, 2, make([]byte, window/2)), 3), frame(typeError, 0, 2, nil)))
	f.Add(frames(frame(typeGoAway, 0, 0, appendGoAway(nil, &goAway{last: 2})), frame(typeData, 0, 2, nil), frame(typeEnd, 0, 2, nil)))
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		c := NewConn(ours)
		go io.Copy(io.Discard, theirs)
		called := make(chan struct{})
		go func() {
			c.Call(context.Background(), mEcho, []byte("request"))
			close(called)
		}()
		waitFor(func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.last == 1 })
		s, err := c.Open(context.Background(), Call{}, true, true)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			theirs.Write(data)
			theirs.Close()
		}()
		<-c.Done()
		<-called
		if s.items.cost > int64(window+len(data)+itemCost) || s.credit > maxCredit {
			t.Fatalf("queue of %d bytes, credit %d", s.items.cost, s.credit)
		}
		s.Send(make([]byte, 100))
		if _, err := s.Result(); err == nil && !s.over {
			t.Fatal("a result of nothing")
		}
		s.Close()
		if len(c.calls) != 0 || !s.items.empty() {
			t.Fatal("something is left")
		}
	})
}
