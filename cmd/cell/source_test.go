package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cell-network/cell/sdk/manifest"
)

// A build is made anew when something changed that it reads, and only then.
func TestSourceHash(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("GOWORK", "")
	write := func(files ...string) {
		t.Helper()
		for i := 0; i < len(files); i += 2 {
			p := filepath.Join(dir, files[i])
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, []byte(files[i+1]), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(
		"go.work", "go 1.26\n\nuse (\n\t./app\n\t./lib\n)\n\nreplace example.org/far => ./far\n",
		"app/go.mod", "module example.org/app\n\ngo 1.26\n\nreplace example.org/near => ../near\n",
		"app/go.sum", "",
		"app/cell/cell.toml", "[cell]\nname = \"cell\"\n",
		"app/cell/main.go", "package main\n\nimport (\n\t_ \"example.org/app/inner\"\n\t_ \"example.org/lib/money\"\n\t_ \"example.org/near\"\n\t_ \"example.org/far/away\"\n\t_ \"example.org/kept\"\n\t_ \"fmt\"\n)\n",
		"app/cell/cells/x/client.go", "package x\n",
		"app/cell/child/cell.toml", "[cell]\n", "app/cell/child/main.go", "package main\n",
		"app/inner/inner.go", "package inner\n\nimport (\n\t_ \"embed\"\n\t_ \"example.org/lib\"\n)\n",
		"app/inner/inner_test.go", "package inner\n",
		"app/inner/data/text", "embedded\n",
		"app/other/other.go", "package other\n",
		"app/vendor/example.org/kept/kept.go", "package kept\n",
		"lib/go.mod", "module example.org/lib\n", "lib/lib.go", "package lib\n", "lib/money/money.go", "package money\n",
		"lib/unused/unused.go", "package unused\n",
		"near/go.mod", "module example.org/near\n", "near/near.go", "package near\n",
		"far/go.mod", "module example.org/far\n", "far/away/away.go", "package away\n",
	)
	hash := func() string {
		t.Helper()
		m, errs := manifest.Load(filepath.Join(dir, "app/cell"))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		h, err := sourceHash(m)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for file, matters := range map[string]bool{
		"go.work": true, "app/go.mod": true, "app/go.sum": true, "app/cell/main.go": true, "app/cell/cells/x/client.go": true,
		"app/inner/inner.go": true, "app/inner/data/text": true, "lib/go.mod": true, "lib/lib.go": true, "lib/money/money.go": true,
		"near/near.go": true, "near/go.mod": true, "far/away/away.go": true, "app/vendor/example.org/kept/kept.go": true,
		"app/cell/cell.toml": false, "app/cell/child/main.go": false, "app/other/other.go": false, "lib/unused/unused.go": false,
	} {
		before := hash()
		old, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		comment := "\n// changed\n"
		if strings.HasSuffix(file, ".toml") {
			comment = "\n# changed\n"
		}
		write(file, string(old)+comment)
		if got := hash() != before; got != matters {
			t.Errorf("%s changed: built anew %v, want %v", file, got, matters)
		}
		write(file, string(old))
		if hash() != before {
			t.Errorf("%s as before: the hash is another", file)
		}
	}
	// Without the workspace its modules are not at hand.
	with := hash()
	t.Setenv("GOWORK", "off")
	without := hash()
	write("lib/lib.go", "package lib // changed\n")
	if with == without || hash() != without {
		t.Error("GOWORK=off does not count")
	}
	if !strings.Contains(toolchain(), "go1.") {
		t.Errorf("the toolchain is not known: %q", toolchain())
	}
}
