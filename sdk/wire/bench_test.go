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

// BenchmarkSend sends the items of one stream.
func BenchmarkSend(b *testing.B) {
	for _, size := range []int{32, 4096, 64 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			f := serveStreams(b, nil)
			s := open(b, f.dial(b), sSum, true, false)
			item := make([]byte, size)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := s.Send(item); err != nil {
					b.Fatal(err)
				}
			}
			s.CloseSend()
			if _, err := s.Result(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkDialogue sends an item and waits for its echo.
func BenchmarkDialogue(b *testing.B) {
	f := serveStreams(b, nil)
	s := open(b, f.dial(b), sEcho, true, true)
	item := make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Send(item); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Recv(); err != nil {
			b.Fatal(err)
		}
	}
}
