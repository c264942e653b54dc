package celld

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/manifest"
	"github.com/cell-network/cell/sdk/stats"
)

// Instances to avoid are connected to only when no other one listens; the others take turns.
func TestAvoid(t *testing.T) {
	dir := t.TempDir()
	s := &Server{SocketDir: dir}
	n := &manifest.Node{Name: "work", Replicas: 3, Manifest: &manifest.Manifest{}}
	listeners := map[string]net.Listener{}
	for _, at := range unit.Instances(n) {
		path := unit.SocketPath(dir, at)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		listeners[at] = l
	}
	seen := func(name string, avoid ...string) (all []string) {
		t.Helper()
		for range 6 {
			to, err := s.connectAny(t.Context(), n, name, Wish{Avoid: avoid})
			if err != nil {
				t.Fatal(err)
			}
			to.File.Close()
			at, replicas := to.Instance, to.Replicas
			if want := len(unit.Instances(n)); name == n.Name && replicas != want || name != n.Name && replicas != 1 {
				t.Errorf("%s has %d replicas, not %d", name, replicas, want)
			}
			all = append(all, at)
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	for _, c := range []struct {
		name  string
		avoid []string
		want  []string
	}{
		{"work", nil, []string{"work", "work:2", "work:3"}},
		{"work", []string{"work", "other"}, []string{"work:2", "work:3"}},
		{"work", []string{"work:3", "work"}, []string{"work:2"}},
		{"work", []string{"work:3", "work", "work:2"}, []string{"work", "work:2", "work:3"}},
		{"work:2", []string{"work:2"}, []string{"work:2"}},
	} {
		if got := seen(c.name, c.avoid...); !slices.Equal(got, c.want) {
			t.Errorf("%s without %v: %v, want %v", c.name, c.avoid, got, c.want)
		}
	}
	s.unwell = map[string]bool{"work:3": true}
	if got := seen("work"); !slices.Equal(got, []string{"work", "work:2"}) {
		t.Errorf("with one that is unwell: %v", got)
	}
	s.unwell = nil
	listeners["work:2"].Close()
	if got := seen("work", "work", "work:3"); !slices.Equal(got, []string{"work", "work:3"}) {
		t.Errorf("with none but those to avoid: %v", got)
	}
}

// Of the two whose turn it is the one that counts faster calls is connected to.
func TestPreferFaster(t *testing.T) {
	s := &Server{}
	s.tables.of = map[string]*table{}
	known := func(instance string, took time.Duration, lately bool, inFlight int) {
		t.Helper()
		counts, err := stats.New([]string{"Do"})
		if err != nil {
			t.Fatal(err)
		}
		r, err := stats.Open(int(counts.File().Fd()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close(); counts.File().Close() })
		for range inFlight + 1 {
			counts.Row(0).Begin(1)
		}
		counts.Row(0).End(took, 0, 1)
		if lately {
			counts.Lately(time.Now(), took, 0)
		}
		s.tables.of[instance] = &table{reader: r}
	}
	known("slow", 10*time.Millisecond, true, 0)
	known("was slow", 10*time.Millisecond, false, 0)
	known("fast", time.Millisecond, true, 0)
	known("same", time.Millisecond, false, 0)
	known("busy", time.Millisecond, true, 20)
	for _, c := range []struct {
		order []string
		first string
	}{
		{[]string{"slow", "fast"}, "fast"},
		{[]string{"was slow", "fast"}, "fast"},
		{[]string{"fast", "slow"}, "fast"},
		{[]string{"busy", "fast", "slow"}, "fast"},
		{[]string{"same", "fast"}, "same"},
		{[]string{"slow", "asleep"}, "slow"},
		{[]string{"asleep", "fast"}, "asleep"},
		{[]string{"slow"}, "slow"},
	} {
		order := slices.Clone(c.order)
		if s.preferFaster(order); order[0] != c.first {
			t.Errorf("of %v the first is %s", c.order, order[0])
		}
	}
}
