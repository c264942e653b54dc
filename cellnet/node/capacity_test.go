package node

import "testing"

func TestCapacity(t *testing.T) {
	for _, c := range []struct {
		info string
		mhz  uint64
		ops  uint64
	}{
		{"processor\t: 0\ncpu MHz\t\t: 2499.998\nflags\t\t: fpu sse2 avx fma avx2 avx512f\n\nprocessor : 1\ncpu MHz : 1.0\n", 2499, 32},
		{"cpu MHz : 3000\nflags : sse2 avx fma\n", 3000, 16},
		{"cpu MHz : 3000\nflags : fpu sse2\n", 3000, 4},
		{"processor : 0\nFeatures : fp asimd crc32\n", 0, 8},
		{"", 0, 1},
	} {
		if mhz, ops := clock([]byte(c.info)), vectors([]byte(c.info)); mhz != c.mhz || ops != c.ops {
			t.Errorf("%q: %d MHz, %d a cycle", c.info, mhz, ops)
		}
	}
}
