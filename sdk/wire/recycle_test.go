package wire

import (
	"bytes"
	"sync"
	"testing"
)

func TestKeptSize(t *testing.T) {
	places := map[int]int{}
	for n := leastKept + 1; n <= mostKept; n++ {
		size, place := keptSize(n)
		if size < n || size > n+n/4+1 || place < 0 || place >= len(kept) {
			t.Fatalf("%d bytes: %d, at %d", n, size, place)
		}
		if other, ok := places[place]; ok && other != size {
			t.Fatalf("place %d: %d and %d bytes", place, other, size)
		}
		places[place] = size
		if again, same := keptSize(size); again != size || same != place {
			t.Fatalf("%d bytes: %d at %d, and these: %d at %d", n, size, place, again, same)
		}
	}
	for _, n := range []int{0, 1, leastKept, leastKept + 1, 9000, 64<<10 + 3, mostKept, mostKept + 1} {
		b := allocate(n)
		if len(b) != n {
			t.Errorf("%d bytes: %d", n, len(b))
		}
		Recycle(b)
		Recycle(b[:0:0])
	}
}

// What is used again must not be what somebody still uses: many callers, each of whom gives back what it got.
func TestRecycle(t *testing.T) {
	f := serve(t, func(s *Server) { s.Recycle = true })
	c := f.dial(t)
	var all sync.WaitGroup
	for caller := range 8 {
		all.Go(func() {
			for i := range 150 {
				want := bytes.Repeat([]byte{byte(caller), byte(i)}, (caller*5000+i*400)%(100<<10))
				got, err := c.Call(t.Context(), mEcho, want)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("caller %d, call %d: %d bytes of %d, or others: %v", caller, i, len(got), len(want), err)
					return
				}
				Recycle(got)
			}
		})
	}
	all.Wait()
}
