package reconcile

import (
	"slices"
	"strings"
	"testing"
)

func TestPlan(t *testing.T) {
	w := Wanted{Name: "shop.auth", Hash: "h1"}
	seen := func(s ...Seen) map[string]Seen {
		m := map[string]Seen{}
		for _, x := range s {
			m[x.Name] = x
		}
		return m
	}
	up := Seen{Name: "shop.auth", Hash: "h1", Socket: true, Active: true}
	asleep, other, closed := up, up, up
	asleep.Active, other.Hash, closed.Socket = false, "h0", false
	changed, sleepy, limited := w, w, w
	changed.Changed, sleepy.Asleep, limited.Limits = true, true, true
	for _, c := range []struct {
		name   string
		wanted []Wanted
		seen   map[string]Seen
		want   []Step
	}{
		{"absent", []Wanted{w}, nil, []Step{{Open, "shop.auth", "not running"}}},
		{"same", []Wanted{w}, seen(up), []Step{{Keep, "shop.auth", "unchanged"}}},
		{"new version", []Wanted{changed}, seen(up), []Step{{Restart, "shop.auth", "new version; socket stays open"}}},
		{"new version of a sleeper", []Wanted{changed}, seen(asleep), []Step{{Restart, "shop.auth", "new version; it sleeps"}}},
		{"new definition", []Wanted{w}, seen(other), []Step{{Replace, "shop.auth", "definition changed"}}},
		{"socket closed", []Wanted{w}, seen(closed), []Step{{Replace, "shop.auth", "its socket is closed"}}},
		{"asleep", []Wanted{w}, seen(asleep), []Step{{Wake, "shop.auth", "asleep"}}},
		{"new limits", []Wanted{limited}, seen(asleep), []Step{{Limit, "shop.auth", "limits changed; set in place"}}},
		{"may sleep", []Wanted{sleepy}, seen(asleep), []Step{{Keep, "shop.auth", "unchanged"}}},
		{"left the tree", nil, seen(up), []Step{{Stop, "shop.auth", "no longer in the tree"}}},
		{"of another tree", nil, seen(Seen{Name: "shopping", Socket: true}), nil},
	} {
		got := Plan(c.wanted, c.seen, func(n string) bool { return n == "shop" || strings.HasPrefix(n, "shop.") })
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
