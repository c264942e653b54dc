package celld

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/manifest"
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
			c, at, replicas, err := s.connectAny(t.Context(), n, name, avoid)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
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
	listeners["work:2"].Close()
	if got := seen("work", "work", "work:3"); !slices.Equal(got, []string{"work", "work:3"}) {
		t.Errorf("with none but those to avoid: %v", got)
	}
}
