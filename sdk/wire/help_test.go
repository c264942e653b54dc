package wire

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Methods of the test server.
const (
	mEcho = 1 + iota
	mWait // until ctx ends; answers its error
	mPanic
	mFail
	mGate // tells entered, then waits for a value from gate
	mBig  // answers as many bytes as the first 4 of the request say, little-endian
	mExit // ends the goroutine
	mNilError
)

type fixture struct {
	*Server
	path    string
	entered chan struct{}
	gate    chan struct{}
	served  chan error
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

func (f *fixture) handle(ctx context.Context, r Request) ([]byte, error) {
	switch r.Method {
	case mEcho:
		return r.Payload, nil
	case mWait:
		f.entered <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	case mPanic:
		panic("broken on purpose")
	case mFail:
		return nil, &Error{Code: CodeApplication, Name: "Overflow", Message: "does not fit", Payload: []byte{1, 2}}
	case mGate:
		f.entered <- struct{}{}
		<-f.gate
		return r.Payload, nil
	case mBig:
		return make([]byte, int(r.Payload[0])|int(r.Payload[1])<<8|int(r.Payload[2])<<16|int(r.Payload[3])<<24), nil
	case mExit:
		runtime.Goexit()
	case mNilError:
		var e *nilError
		return nil, e
	}
	return nil, &Error{Code: CodeNoSuchMethod, Message: "unknown"}
}

// serve starts a server on a Unix socket; change may set its limits.
func serve(t testing.TB, change func(*Server)) *fixture {
	t.Helper()
	dir, err := os.MkdirTemp("", "wire")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{
		path: filepath.Join(dir, "s"), entered: make(chan struct{}, 1000), gate: make(chan struct{}),
		served: make(chan error, 1),
	}
	f.Server = &Server{Handler: f.handle, Genome: []byte(`{"name":"test"}`), Hello: Hello{Name: "test", Version: "1.2", Hash: "abcd"}}
	if change != nil {
		change(f.Server)
	}
	l, err := net.Listen("unix", f.path)
	if err != nil {
		t.Fatal(err)
	}
	f.Server.init()
	go func() { f.served <- f.Serve(l) }()
	t.Cleanup(func() {
		f.Close()
		if err := <-f.served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		os.RemoveAll(dir)
	})
	return f
}

func (f *fixture) raw(t testing.TB) net.Conn {
	t.Helper()
	nc, err := net.Dial("unix", f.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

func (f *fixture) dial(t testing.TB) *Conn {
	c := NewConn(f.raw(t))
	t.Cleanup(func() { c.Close() })
	return c
}

func wantCode(t testing.TB, err error, code Code) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != code {
		t.Fatalf("error is %v (%T), want code %v", err, err, code)
	}
	return e
}

func wantNotSent(t testing.TB, err error) {
	t.Helper()
	if _, ok := errors.AsType[*NotSent](err); !ok {
		t.Fatalf("error is %v (%T), want *NotSent", err, err)
	}
}

// frame builds one frame by hand.
func frame(kind frameType, flags uint8, id uint64, payload []byte) []byte {
	return append(appendHeader(nil, header{length: uint32(len(payload)), kind: kind, flags: flags, id: id}), payload...)
}

func callFrame(id uint64, method uint32, request []byte) []byte {
	return frame(typeCall, 0, id, append(appendExtension(nil, &extension{method: method}), request...))
}

func helloFrame() []byte {
	return frame(typeHello, 0, 0, appendHello(nil, &Hello{Protocol: Version, MaxFrame: MaxFrame}))
}
