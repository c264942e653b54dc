package stub

import (
	"context"
	"runtime"
	"testing"

	"github.com/cell-network/cell/sdk/wire"
)

func echo(_ context.Context, r wire.Request) ([]byte, error) { return r.Payload, nil }

// BenchmarkCall calls through a client as generated code does, with one replica and with three.
func BenchmarkCall(b *testing.B) {
	b.Run("callers=1", func(b *testing.B) {
		c := connected(b, echo)
		request := make([]byte, 32)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Call(b.Context(), c, 1, "Echo", request); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("callers=64", func(b *testing.B) {
		c := connected(b, echo)
		request := make([]byte, 32)
		b.ReportAllocs()
		b.SetParallelism(64 / runtime.GOMAXPROCS(0))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := Call(b.Context(), c, 1, "Echo", request); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}
