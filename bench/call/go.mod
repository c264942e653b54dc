module github.com/cell-network/cell/bench/call

go 1.26.0

replace github.com/cell-network/cell => ../..

require (
	connectrpc.com/connect v1.21.1
	github.com/cell-network/cell v0.0.0-00010101000000-000000000000
	github.com/containerd/ttrpc v1.2.10
	google.golang.org/grpc v1.85.0
	google.golang.org/protobuf v1.36.12
	storj.io/drpc v1.0.0
)

require (
	github.com/containerd/log v0.1.0 // indirect
	github.com/sirupsen/logrus v1.9.4 // indirect
	github.com/zeebo/errs v1.2.2 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260817212433-ac3dfec99bb1 // indirect
)
