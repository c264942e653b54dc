package sdk

import "testing"

func TestErrorTexts(t *testing.T) {
	for want, err := range map[string]error{
		"invalid request: a: too long":             &InvalidRequest{Field: "a", Reason: "too long"},
		"invalid request: nothing could be read":   &InvalidRequest{Reason: "nothing could be read"},
		"call cell calc: denied":                   &Denied{Cell: "calc"},
		"listen to T of cell calc: missed 3 items": &Missed{"calc", "T", 3},
		"call cell calc: built against its version 1.2.0 (genome 01234567), but version 1.1.0 (genome 89abcdef) runs, which does not serve that one: " +
			"run cell sync and build the caller anew, or start the older version beside it": &Incompatible{"calc", "1.2.0", "0123456789", "1.1.0", "89abcdef01"},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
