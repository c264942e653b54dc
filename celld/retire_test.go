package celld

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Only a cell that retires makes celld look again by itself.
func TestRetireSleeps(t *testing.T) {
	r := newResolver(t)
	r.cell("shop", "[cells]\nweb = {}")
	r.cell("shop/web", "")
	r.want("shop", nobody)
	if next := r.retireOnce(t.Context()); next != 0 {
		t.Errorf("looks again after %v, for nobody", next)
	}
	r.cell("broken", "[cells")
	r.want("broken", nobody)
	if next := r.retireOnce(t.Context()); next != lookAgain {
		t.Errorf("looks at a broken tree after %v", next)
	}
	for _, c := range []struct {
		after string
		want  time.Duration
	}{{"30d", lookAgain}, {"40s", 10 * time.Second}, {"1ms", 250 * time.Millisecond}} {
		r.cell("old", "")
		if err := os.WriteFile(filepath.Join(r.dir, "old/cell.toml"), []byte("[life]\nretire_after = \""+c.after+"\"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		r.want("old", nobody)
		r.changed("old")
		if next := r.retireOnce(t.Context()); next != c.want {
			t.Errorf("retire_after %s: looks again after %v, want %v", c.after, next, c.want)
		}
	}
}
