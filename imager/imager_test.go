package imager

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cell-network/cell/imager/tree"
	"github.com/cell-network/cell/internal/spdx"
)

func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// What cannot become an image is refused before minutes are spent.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	here := put(t, dir+"/here", "")
	there := put(t, dir+"/there.img", "")
	for _, c := range []struct {
		want string
		spec Spec
	}{
		{"ends with .img", Spec{Tree: tree.Spec{Package: here}, Outputs: []string{dir + "/donor.vhd"}}},
		{"is there already", Spec{Tree: tree.Spec{Package: here}, Outputs: []string{there}}},
		{"cell.deb: no such file", Spec{Tree: tree.Spec{Package: dir + "/cell.deb"}, Outputs: []string{dir + "/donor.img"}}},
		{"cell.toml: no such file", Spec{Tree: tree.Spec{Package: here}, Trees: []string{dir}, Outputs: []string{dir + "/donor.img"}}},
		{"no.pem: no such file", Spec{Tree: tree.Spec{Package: here}, SecureBoot: Pair{here, dir + "/no.pem"}, Outputs: []string{dir + "/donor.img"}}},
	} {
		if err := Build(context.Background(), c.spec, func(step string) { t.Errorf("%s: %s was begun", c.want, step) }); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// Nothing of this machine goes into an image with a tree: neither data nor logs.
func TestForget(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"cell.toml", "data/secret", "run/x", "log/x", "src/data/kept", "web/cell.toml", "web/data/secret", "web/cache/x", "web/bin/web"} {
		put(t, filepath.Join(dir, f), "")
	}
	if err := forget(dir); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			got = append(got, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if want := "cell.toml src/data/kept web/bin/web web/cell.toml"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestBill(t *testing.T) {
	base := t.TempDir()
	put(t, filepath.Join(base, inside), "systemd 252.39-1 amd64\ncell 0.1.0 amd64\nlibc6 2.36 amd64\n")
	cell, err := json.Marshal(spdx.Document{
		Packages:      []spdx.Package{{Name: "cell", SPDXID: "SPDXRef-cell"}, {Name: "golang.org/x/sys", SPDXID: "SPDXRef-golang.org-x-sys"}},
		Relationships: []spdx.Relationship{{Element: spdx.Self, Type: "DESCRIBES", Related: "SPDXRef-cell"}, {Element: "SPDXRef-cell", Type: "DEPENDS_ON", Related: "SPDXRef-golang.org-x-sys"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(base, insideCell), string(cell))
	text, err := bill(7, base, put(t, base+"/image", "the image"))
	if err != nil {
		t.Fatal(err)
	}
	var doc spdx.Document
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{spdx.Self: true}
	for _, p := range doc.Packages {
		if ids[p.SPDXID] {
			t.Errorf("%s is there twice", p.SPDXID)
		}
		ids[p.SPDXID] = true
	}
	if len(doc.Packages) != 5 { // the image, two of Debian's, Cell and its module
		t.Errorf("%+v", doc.Packages)
	}
	described := 0
	for _, r := range doc.Relationships {
		if !ids[r.Element] || !ids[r.Related] {
			t.Errorf("%+v is about what is not there", r)
		}
		if r.Type == "DESCRIBES" {
			described++
		}
	}
	if described != 1 {
		t.Errorf("the document describes %d packages", described)
	}
}
