package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/rpc"

	"connectrpc.com/connect"
	"github.com/cell-network/cell/sdk/wire"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcmux"
	"storj.io/drpc/drpcserver"
)

// transport carries calls whose answer is the request. Except for raw, bytes alone and net/rpc, the message is a
// protobuf BytesValue, which each side encodes and decodes.
type transport struct {
	name  string
	serve func(net.Listener) error
	dial  func(socket string) (client, error)
	solo  bool // a connection carries one call at a time
}

// client is a connection, or what takes its place.
type client struct {
	call  call
	close func()
}

// call makes one call; the answer is good until see returns.
type call = func(data []byte, see func(answer []byte)) error

// transports are all by the name of their servers; the two kinds of call that Cell makes go to the same one.
func transports() []transport {
	return []transport{
		{name: kindCell, serve: serveCell, dial: dialCell},
		{name: kindMessage, serve: serveMessage, dial: dialMessage},
		{name: kindRaw, serve: serveRaw, dial: dialRaw, solo: true},
		{name: kindGRPC, serve: serveGRPC, dial: dialGRPC},
		{name: kindTTRPC, serve: serveTTRPC, dial: dialTTRPC},
		{name: kindDRPC, serve: serveDRPC, dial: dialDRPC, solo: true},
		{name: kindConnect, serve: serveConnect, dial: dialConnect},
		{name: kindNetRPC, serve: serveNetRPC, dial: dialNetRPC},
	}
}

const (
	kindCell    = "cell"
	kindMessage = "cell, message"
	kindRaw     = "raw socket"
	kindGRPC    = "grpc-go"
	kindTTRPC   = "ttrpc"
	kindDRPC    = "drpc"
	kindConnect = "connect-go"
	kindNetRPC  = "net/rpc"
)

func named(kind string) (transport, bool) {
	for _, t := range transports() {
		if t.name == kind {
			return t, true
		}
	}
	return transport{}, false
}

// Cell: bytes as they are, and the items of a stream.

const (
	methodEcho  = 1
	methodItems = 2
)

func cellServer(echo func([]byte) ([]byte, error)) *wire.Server {
	return &wire.Server{
		MaxConns: 2 * idleConns, // the default is below the many connections whose memory is measured
		Recycle:  true,          // as package sdk has it
		Handler: func(_ context.Context, r wire.Request) ([]byte, error) {
			if r.Method == methodItems {
				return nil, sendItems(r)
			}
			return echo(r.Payload)
		},
	}
}

func sendItems(r wire.Request) error {
	item := message(itemSize)
	for range binary.LittleEndian.Uint32(r.Payload) {
		if err := r.Stream.Send(item); err != nil {
			return err
		}
	}
	return nil
}

func serveCell(l net.Listener) error {
	return cellServer(func(request []byte) ([]byte, error) { return request, nil }).Serve(l)
}

func dialCell(socket string) (client, error) {
	c, err := dialWire(socket)
	if err != nil {
		return client{}, err
	}
	call := func(data []byte, see func([]byte)) error {
		answer, err := c.Do(context.Background(), wire.Call{Method: methodEcho, Request: data})
		if err != nil {
			return err
		}
		see(answer)
		wire.Recycle(answer)
		return nil
	}
	return client{call, func() { c.Close() }}, nil
}

func dialWire(socket string) (*wire.Conn, error) {
	nc, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	return wire.NewConn(nc), nil
}

// Cell as its generated code does it: a message with one field, which is a BytesValue byte for byte.

func serveMessage(l net.Listener) error {
	var room wire.Room
	return cellServer(func(request []byte) ([]byte, error) {
		data, err := decode(request)
		if err != nil {
			return nil, err
		}
		wire.Recycle(request)
		return room.Done(wire.AppendBytes(room.Buffer(), 1, data)), nil
	}).Serve(l)
}

func dialMessage(socket string) (client, error) {
	c, err := dialWire(socket)
	if err != nil {
		return client{}, err
	}
	var room wire.Room
	call := func(data []byte, see func([]byte)) error {
		request := room.Done(wire.AppendBytes(room.Buffer(), 1, data))
		answer, err := c.Do(context.Background(), wire.Call{Method: methodEcho, Request: request})
		wire.Recycle(request)
		if err != nil {
			return err
		}
		result, err := decode(answer)
		if err != nil {
			return err
		}
		wire.Recycle(answer)
		see(result)
		return nil
	}
	return client{call, func() { c.Close() }}, nil
}

func decode(message []byte) (data []byte, err error) {
	f := wire.NewFields(message)
	for f.Next() {
		if f.ID == 1 {
			data = wire.GetBytes[[]byte](f, "Value")
		}
	}
	if !f.OK() {
		return nil, f.Err()
	}
	return data, nil
}

// The raw socket: a length of 4 bytes and the data. It is what a call costs when there is nothing to it.

// framed reads and writes with as few system calls as there can be.
type framed struct {
	net.Conn
	in, out []byte
}

// read is good until the next one.
func (f *framed) read() ([]byte, error) {
	for have := 0; ; {
		if have == len(f.in) {
			f.in = append(f.in, make([]byte, max(4096, len(f.in)))...)
		}
		n, err := f.Read(f.in[have:])
		if err != nil {
			return nil, err
		}
		if have += n; have < 4 {
			continue
		}
		all := 4 + int(binary.LittleEndian.Uint32(f.in))
		if have >= all {
			return f.in[4:all], nil
		}
		if len(f.in) < all {
			f.in = append(f.in, make([]byte, all-len(f.in))...)
		}
	}
}

func (f *framed) write(data []byte) error {
	f.out = binary.LittleEndian.AppendUint32(f.out[:0], uint32(len(data)))
	f.out = append(f.out, data...)
	_, err := f.Write(f.out)
	return err
}

func serveRaw(l net.Listener) error {
	return each(l, func(nc net.Conn) error {
		for f := (&framed{Conn: nc}); ; {
			data, err := f.read()
			if err != nil {
				return err
			}
			if err := f.write(data); err != nil {
				return err
			}
		}
	})
}

// each serves every connection until it fails.
func each(l net.Listener, serve func(net.Conn) error) error {
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			_ = serve(nc) // the client has gone, or will see that the connection has
		}()
	}
}

func dialRaw(socket string) (client, error) {
	nc, err := net.Dial("unix", socket)
	if err != nil {
		return client{}, err
	}
	f := &framed{Conn: nc}
	call := func(data []byte, see func([]byte)) error {
		if err := f.write(data); err != nil {
			return err
		}
		answer, err := f.read()
		if err == nil {
			see(answer)
		}
		return err
	}
	return client{call, func() { nc.Close() }}, nil
}

// grpc-go.

const procedure = "/bench.Echo/Echo"

func serveGRPC(l net.Listener) error {
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Echo",
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				var in wrapperspb.BytesValue
				if err := decode(&in); err != nil {
					return nil, err
				}
				return wrapperspb.Bytes(in.Value), nil
			},
		}},
	}, nil)
	return s.Serve(l)
}

func dialGRPC(socket string) (client, error) {
	c, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return client{}, err
	}
	call := func(data []byte, see func([]byte)) error {
		var out wrapperspb.BytesValue
		err := c.Invoke(context.Background(), procedure, wrapperspb.Bytes(data), &out)
		see(out.Value)
		return err
	}
	return client{call, func() { c.Close() }}, nil
}

// ttrpc.

func serveTTRPC(l net.Listener) error {
	s, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	s.Register("bench.Echo", map[string]ttrpc.Method{
		"Echo": func(_ context.Context, decode func(any) error) (any, error) {
			var in wrapperspb.BytesValue
			if err := decode(&in); err != nil {
				return nil, err
			}
			return wrapperspb.Bytes(in.Value), nil
		},
	})
	return s.Serve(context.Background(), l)
}

func dialTTRPC(socket string) (client, error) {
	nc, err := net.Dial("unix", socket)
	if err != nil {
		return client{}, err
	}
	c := ttrpc.NewClient(nc)
	call := func(data []byte, see func([]byte)) error {
		var out wrapperspb.BytesValue
		err := c.Call(context.Background(), "bench.Echo", "Echo", wrapperspb.Bytes(data), &out)
		see(out.Value)
		return err
	}
	return client{call, func() { c.Close() }}, nil
}

// drpc.

// encoding and description are what its generator writes.
type encoding struct{}

func (encoding) Marshal(m drpc.Message) ([]byte, error) { return proto.Marshal(m.(proto.Message)) }

func (encoding) Unmarshal(data []byte, m drpc.Message) error {
	return proto.Unmarshal(data, m.(proto.Message))
}

type echo struct{}

func (*echo) Echo(_ context.Context, in *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	return wrapperspb.Bytes(in.Value), nil
}

type description struct{}

func (description) NumMethods() int { return 1 }

func (description) Method(n int) (string, drpc.Encoding, drpc.Receiver, any, bool) {
	receive := func(server any, ctx context.Context, in, _ any) (drpc.Message, error) {
		return server.(*echo).Echo(ctx, in.(*wrapperspb.BytesValue))
	}
	return procedure, encoding{}, receive, (*echo).Echo, n == 0
}

func serveDRPC(l net.Listener) error {
	mux := drpcmux.New()
	if err := mux.Register(&echo{}, description{}); err != nil {
		return err
	}
	return drpcserver.New(mux).Serve(context.Background(), l)
}

func dialDRPC(socket string) (client, error) {
	nc, err := net.Dial("unix", socket)
	if err != nil {
		return client{}, err
	}
	c := drpcconn.New(nc)
	call := func(data []byte, see func([]byte)) error {
		var out wrapperspb.BytesValue
		err := c.Invoke(context.Background(), procedure, encoding{}, wrapperspb.Bytes(data), &out)
		see(out.Value)
		return err
	}
	return client{call, func() { c.Close() }}, nil
}

// connect-go over HTTP 1.

func serveConnect(l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle(procedure, connect.NewUnaryHandler(procedure,
		func(_ context.Context, r *connect.Request[wrapperspb.BytesValue]) (*connect.Response[wrapperspb.BytesValue], error) {
			return connect.NewResponse(wrapperspb.Bytes(r.Msg.Value)), nil
		}, connect.WithCompression("gzip", nil, nil)))
	return (&http.Server{Handler: mux}).Serve(l)
}

func dialConnect(socket string) (client, error) {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: manyCallers, // with the default of 2, most of many callers would connect anew for each call
		DisableCompression:  true,
	}
	c := connect.NewClient[wrapperspb.BytesValue, wrapperspb.BytesValue](&http.Client{Transport: transport},
		"http://bench"+procedure, connect.WithAcceptCompression("gzip", nil, nil))
	call := func(data []byte, see func([]byte)) error {
		out, err := c.CallUnary(context.Background(), connect.NewRequest(wrapperspb.Bytes(data)))
		if err == nil {
			see(out.Msg.Value)
		}
		return err
	}
	return client{call, transport.CloseIdleConnections}, nil
}

// net/rpc.

// Echo is what net/rpc serves.
type Echo struct{}

// Echo answers what it is asked.
func (Echo) Echo(in []byte, out *[]byte) error {
	*out = in
	return nil
}

func serveNetRPC(l net.Listener) error {
	s := rpc.NewServer()
	if err := s.Register(Echo{}); err != nil {
		return err
	}
	s.Accept(l)
	return errors.New("accept ended")
}

func dialNetRPC(socket string) (client, error) {
	c, err := rpc.Dial("unix", socket)
	if err != nil {
		return client{}, err
	}
	call := func(data []byte, see func([]byte)) error {
		var out []byte
		err := c.Call("Echo.Echo", data, &out)
		see(out)
		return err
	}
	return client{call, func() { c.Close() }}, nil
}

// copyItems is the raw socket's stream: as many writes as asked for, and nothing between them.
func copyItems(l net.Listener) error {
	item := message(itemSize)
	return each(l, func(nc net.Conn) error {
		var count [4]byte
		for {
			if _, err := io.ReadFull(nc, count[:]); err != nil {
				return err
			}
			for range binary.LittleEndian.Uint32(count[:]) {
				if _, err := nc.Write(item); err != nil {
					return err
				}
			}
		}
	})
}
