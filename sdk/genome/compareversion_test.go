package genome

import "testing"

func TestBump(t *testing.T) {
	var (
		nothing  = []Change{}
		docs     = []Change{{ID: "doc"}}
		renamed  = []Change{{Verdict: Safe, ID: "signature-renamed"}}
		added    = []Change{{Verdict: Safe, Additive: true}, {ID: "doc"}}
		edit     = []Change{{Verdict: Source}}
		breaking = []Change{{Verdict: Break}, {Verdict: Source}, {Additive: true}}
	)
	tests := []struct {
		version string
		changes []Change
		want    string
	}{
		{"1.2.3", nothing, "1.2.3"},
		{"1.2.3", nil, "1.2.3"},
		{"1.2.3", docs, "1.2.4"},
		{"1.2.3", renamed, "1.2.4"},
		{"1.2.3", added, "1.3.0"},
		{"1.2.3", edit, "1.3.0"},
		{"1.2.3", breaking, "2.0.0"},
		{"0.0.0", nothing, "0.0.0"},
		{"0.2.3", docs, "0.2.4"},
		{"0.2.3", added, "0.3.0"},
		{"0.2.3", breaking, "0.3.0"},
		{"00.2.3", breaking, "0.3.0"},
		{"9.9.9", breaking, "10.0.0"},
		{"1.99.0", edit, "1.100.0"},
		{"999999999.0.0", breaking, "1000000000.0.0"},
		{"1.2.3+build.5", docs, "1.2.4"},
		{"1.2.3+build.5", nothing, "1.2.3+build.5"},
		{"2.0.0-rc.1", docs, "2.0.0"},
		{"2.0.0-rc.1", breaking, "2.0.0"},
		{"2.1.0-rc.1", added, "2.1.0"},
		{"2.1.0-rc.1", breaking, "3.0.0"},
		{"2.1.1-rc.1+x", edit, "2.2.0"},
		{"0.1.0-rc.1", breaking, "0.1.0"},
		{"", breaking, ""},
		{"1.2", breaking, "1.2"},
		{"v1.2.3", breaking, "v1.2.3"},
		{"next", added, "next"},
	}
	for _, tt := range tests {
		if got := Bump(tt.version, tt.changes); got != tt.want {
			t.Errorf("%q after %s: %q, want %q", tt.version, Worst(tt.changes), got, tt.want)
		}
		if CompareVersions(tt.version, Bump(tt.version, tt.changes)) > 0 {
			t.Errorf("%q after %s comes before", tt.version, Worst(tt.changes))
		}
	}
}

func TestWorst(t *testing.T) {
	for want, changes := range map[Verdict][]Change{
		Safe: nil, Source: {{Verdict: Safe}, {Verdict: Source}}, Break: {{Verdict: Break}, {Verdict: Source}},
	} {
		if got := Worst(changes); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if s := Verdict(9).String(); s != "unknown" {
		t.Error(s)
	}
}

// TestCompareVersions has versions in their order, those of one line equal.
func TestCompareVersions(t *testing.T) {
	order := [][]string{
		{""},
		{"1"},
		{"1.0"},
		{"v1.0.0"},
		{"0.0.0", "0.0.0+a"},
		{"0.0.1"},
		{"0.9.0"},
		{"0.10.0"},
		{"1.0.0-0"},
		{"1.0.0-2"},
		{"1.0.0-10"},
		{"1.0.0-99999999999999999999"},
		{"1.0.0-100000000000000000000"},
		{"1.0.0--"},
		{"1.0.0-alpha", "1.0.0-alpha+001"},
		{"1.0.0-alpha.1"},
		{"1.0.0-alpha.beta"},
		{"1.0.0-beta"},
		{"1.0.0-beta.2"},
		{"1.0.0-beta.11"},
		{"1.0.0-rc.1"},
		{"1.0.0", "1.0.0+x-y.z", "01.00.0"},
		{"2.0.0"},
		{"2.1.0"},
		{"2.1.1"},
		{"999999999.0.0"},
		{"1000000000.0.0"},
		{"99999999999999999999.0.0"},
	}
	for i, as := range order {
		for j, bs := range order {
			for _, a := range as {
				for _, b := range bs {
					got := CompareVersions(a, b)
					if got < 0 != (i < j) || got > 0 != (i > j) {
						t.Errorf("%q and %q: %d", a, b, got)
					}
				}
			}
		}
	}
}
