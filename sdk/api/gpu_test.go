package api

import "testing"

func FuzzParseGPUGrant(f *testing.F) {
	f.Add("GPU-1||0|0")
	f.Add("GPU-1|MIG-2|5|1000|share")
	f.Fuzz(func(t *testing.T, s string) {
		g, err := ParseGPUGrant(s)
		if err != nil {
			return
		}
		if back, err := ParseGPUGrant(g.String()); err != nil || back.String() != g.String() {
			t.Errorf("%q → %+v → %q: %v", s, g, g.String(), err)
		}
	})
}
