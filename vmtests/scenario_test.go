package vmtests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// kind is what a scenario begins with.
type kind struct {
	release string
	memory  string // MiB
}

var (
	oneGuest = kind{"bookworm", "512"}
	newGuest = kind{"trixie", "512"}
	bigGuest = kind{"bookworm", "2048"}
)

type entry struct {
	name string
	kind kind
	run  func(*testing.T, *guest)
}

var scenarios []entry

func scenario(name string, k kind, run func(*testing.T, *guest)) {
	scenarios = append(scenarios, entry{name, k, run})
}

// TestScenarios runs each on a guest of its own.
func TestScenarios(t *testing.T) {
	if err := lacks(); err != nil {
		t.Skip(err)
	}
	all := scenarios
	if os.Getenv("CELL_TEST_VM") == "smoke" { // what make test has time for
		all = slices.DeleteFunc(slices.Clone(scenarios), func(s entry) bool { return s.name != "install" })
	}
	bases := map[kind]*guest{}
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			base := bases[s.kind]
			if base == nil {
				dir, err := os.MkdirTemp("", "cell-guest-")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { // a base that did not come up is tried anew by the next scenario
					if bases[s.kind] == nil {
						_ = os.RemoveAll(dir)
					}
				})
				base = fresh(t, dir, s.kind.release, deb(t), s.kind.memory)
				base.cut()
				bases[s.kind] = base
			}
			s.run(t, base.from(t, "installed"))
		})
	}
	for _, b := range bases {
		_ = os.RemoveAll(b.dir)
	}
}

var made = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "cell-packages-")
	if err != nil {
		return "", err
	}
	c := exec.Command("packaging/packages.sh", dir, "amd64")
	c.Dir = ".."
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make the package: %w\n%s", err, out)
	}
	return dir, nil
})

// deb is the package of this commit.
func deb(t *testing.T) string {
	t.Helper()
	dir, err := made()
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v %v", found, err)
	}
	return found[0]
}
