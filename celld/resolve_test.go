package celld

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/celld/store"
)

const nobody = 65534

// resolver is the machine's celld, without a manager, with trees in dir that belong to root or nobody.
type resolver struct {
	*Server
	t   *testing.T
	dir string
}

func newResolver(t *testing.T) *resolver {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root takes another user's rights")
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	wanted, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &resolver{&Server{Store: wanted, System: true}, t, dir}
}

func (r *resolver) cell(path, text string) {
	r.t.Helper()
	dir := filepath.Join(r.dir, path)
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "cell.toml"), []byte("[cell]\nspeaks = \"tcp\"\n"+text), 0o644)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *resolver) want(name string, owner int) {
	r.t.Helper()
	if err := r.Store.Update(func(m map[string]store.Root) {
		m[name] = store.Root{Dir: filepath.Join(r.dir, name), Owner: owner}
	}); err != nil {
		r.t.Fatal(err)
	}
}

// expect wants the name want to be found or, where want is no name, an error with that text.
func (r *resolver) expect(caller, target, want string) {
	r.t.Helper()
	got, err := r.Resolve(caller, target, "")
	if err == nil && got != want || err != nil && (!strings.Contains(want, " ") || !strings.Contains(err.Error(), want)) {
		r.t.Errorf("%s asks for %q: %q %v, want %s", caller, target, got, err, want)
	}
}

// A user's cell reaches his own cells alone, root's those of everybody.
func TestResolveOwners(t *testing.T) {
	r := newResolver(t)
	r.cell("users", "")
	r.cell("secrets", "")
	r.cell("shop", "[needs]\nusers = { path = \"../users\" }\nsecrets = { path = \"../secrets\" }\n")
	r.cell("admin", "[needs]\nusers = { path = \"../users\" }\n")
	r.cell("idle", "[needs]\nusers = { path = \"../users\" }\nlater = { path = \"../later\" }\n")
	r.cell("later", "")
	r.want("shop", nobody)
	r.want("users", nobody)
	r.want("secrets", 0)
	r.want("admin", 0)
	r.want("idle", nobody)
	r.expect("shop", "users", "users")
	r.expect("shop:2", "users", "users")
	r.expect("shop", "secrets", "secrets belongs to another user")
	r.expect("admin", "users", "users")
	r.expect("idle", "later", "was not started: cell mitosis")
	r.expect("nobody", "users", `no cell "nobody" is known here`)
	for _, tt := range []struct {
		uid  int
		cell string
		ok   bool
	}{{nobody, "users", true}, {nobody, "secrets", false}, {1, "users", false}, {0, "users", true}, {0, "secrets", true}, {nobody, "none", false}} {
		if err := r.MayManage(tt.uid, tt.cell); (err == nil) != tt.ok {
			t.Errorf("user %d and %s: %v", tt.uid, tt.cell, err)
		}
	}
}

// What somebody writes into cell.toml holds at once, and what does not parse changes nothing for who runs.
func TestResolveWhileEdited(t *testing.T) {
	r := newResolver(t)
	r.cell("users", "")
	r.cell("shop", "")
	r.want("shop", 0)
	r.want("users", 0)
	r.expect("shop", "users", "does not name \"users\" in [needs] or [cells] of "+filepath.Join(r.dir, "shop/cell.toml"))
	r.cell("shop", "[needs]\nusers = { path = \"../users\" }\n")
	r.expect("shop", "users", "users")
	r.cell("shop", "")
	if _, err := r.load(filepath.Join(r.dir, "shop"), 0); err != nil { // as when it is applied
		t.Fatal(err)
	}
	r.expect("shop", "users", "does not name")
	r.cell("shop", "[needs]\nusers = { path = \"../users\" }\n")
	r.expect("shop", "users", "users")
	r.cell("shop", "[needs\n")
	r.known.of("shop").begun = time.Time{}
	r.expect("shop", "users", "users")
	r.known.all = nil // a celld that starts now knows no other
	r.expect("shop", "users", "shop/cell.toml:3:7: expected")
}

// Callers of an older major version that is kept beside a cell are served when the cell itself was stopped for good.
func TestResolveOlder(t *testing.T) {
	r := newResolver(t)
	r.cell("users", "")
	r.cell("users-v1", "")
	r.cell("web", "[needs]\nusers = { path = \"../users\" }\n")
	r.want("users-v1", 0)
	r.want("web", 0)
	if name, err := r.Resolve("web", "users", "of version 1"); err != nil || name != "users-v1" {
		t.Errorf("%s %v", name, err)
	}
	if name, err := r.Resolve("web", "users", ""); err == nil {
		t.Errorf("who does not say what it was built with got %s", name)
	}
	r.want("users-v1", nobody)
	if name, err := r.Resolve("web", "users", "of version 1"); err == nil {
		t.Errorf("another user's %s was taken for the older version", name)
	}
}
