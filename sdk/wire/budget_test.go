package wire

import "testing"

// Two bytes stand for an empty struct of any size: such a message must not fill the memory.
func TestBudget(t *testing.T) {
	type large struct{ _ [1 << 16]byte }
	var message []byte
	for range 10_000 { // 20 kB, for 640 MB
		message = append(message, 0x0a, 0)
	}
	tests := map[string]func(f *Fields){
		"list": func(f *Fields) {
			var s []large
			for f.Next() {
				f.Leave(f.Enter(), "s")
				Add(f, &s)
			}
			if cap(s)<<16 > leastBudget+budgetPerByte*len(message) {
				t.Errorf("%d elements, room for %d", len(s), cap(s))
			}
		},
		"map": func(f *Fields) {
			var m map[int]large
			for k := 0; f.Next(); k++ {
				f.Leave(f.Enter(), "m")
				Put(f, &m, k, large{})
			}
			if len(m)<<16 > leastBudget+budgetPerByte*len(message) {
				t.Errorf("%d entries", len(m))
			}
		},
		"optionals": func(f *Fields) {
			n := 0
			for f.Next() {
				f.Leave(f.Enter(), "o")
				_ = New[large](f)
				n++
			}
			if n<<16 > leastBudget+budgetPerByte*len(message)+1<<16 {
				t.Errorf("%d values", n)
			}
		},
	}
	for name, read := range tests {
		f := NewFields(message)
		if read(f); f.OK() || f.Err().Reason != "it needs too much memory" {
			t.Errorf("%s: %v", name, f.Err())
		}
	}
	// Ordinary values are far from it.
	f := NewFields(message)
	var s []int64
	for f.Next() {
		*Add(f, &s) = 1
	}
	if !f.OK() || len(s) != 10_000 {
		t.Errorf("%d %v", len(s), f.Err())
	}
}
