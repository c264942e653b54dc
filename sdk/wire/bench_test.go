package wire

import (
	"fmt"
	"runtime"
	"testing"
)

func BenchmarkCall(b *testing.B) {
	for _, callers := range []int{1, 64} {
		for _, size := range []int{32, 4096, 64 << 10} {
			b.Run(fmt.Sprintf("callers=%d/size=%d", callers, size), func(b *testing.B) {
				c := serve(b, nil).dial(b)
				request := make([]byte, size)
				b.ReportAllocs()
				if callers == 1 {
					for b.Loop() {
						if _, err := c.Call(b.Context(), mEcho, request); err != nil {
							b.Fatal(err)
						}
					}
					return
				}
				b.SetParallelism((callers + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := c.Call(b.Context(), mEcho, request); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}
