package wire

import (
	"math/bits"
	"sync"
	"unsafe"
)

// Memory for long payloads is used again when its owner says so: otherwise to clear and to collect it costs more than to send it.
const (
	leastKept = 8 << 10
	mostKept  = 512 << 10
	keptSteps = 4 // sizes for each doubling: at most a quarter of one is unused
)

// kept has the memory of each size: pointers to its first byte.
var kept [keptSteps * 6]sync.Pool

// keptSize is the size that n bytes get, and its place in kept.
func keptSize(n int) (size, place int) {
	top := bits.Len(uint(n-1)) - 1 // 2^top < n ≤ 2^(top+1)
	step := 1 << top / keptSteps
	size = (n + step - 1) / step * step
	return size, (top-bits.Len(leastKept-1))*keptSteps + (size-1<<top)/step - 1
}

// allocate returns n bytes, of any value when they were used before.
func allocate(n int) []byte {
	if n <= leastKept || n > mostKept {
		return make([]byte, n)
	}
	size, place := keptSize(n)
	if p, ok := kept[place].Get().(*byte); ok {
		return unsafe.Slice(p, size)[:n]
	}
	return make([]byte, n, size)
}

// Recycle gives back a request, a result or an item as this package, or a Room, returned it: all of it, from its first byte on, and
// nobody may use it any more. Other memory must not be given. It is never needed, and of use for long ones.
func Recycle(b []byte) {
	if n := cap(b); n > leastKept && n <= mostKept {
		if size, place := keptSize(n); size == n {
			kept[place].Put(unsafe.SliceData(b))
		}
	}
}
