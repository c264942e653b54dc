package celld

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cell-network/cell/membrane/spec"
)

// An upgrade is links: the new version, the one before for the way back, and nothing left when it is done.
func TestRelease(t *testing.T) {
	dir := t.TempDir()
	r := release{dir}
	link := func(name, target string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, "run"), 0o755); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(filepath.Join(dir, "run", name))
		if err := os.Symlink(target, filepath.Join(dir, "run", name)); err != nil {
			t.Fatal(err)
		}
	}
	is := func(name, want string) {
		t.Helper()
		if got, _ := os.Readlink(filepath.Join(dir, "run", name)); got != want {
			t.Errorf("run/%s → %q, want %q", name, got, want)
		}
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(r.switchOver()) // nothing staged: nothing to do
	is("exec", "")
	link("staged", "versions/1")
	if !r.pending() {
		t.Error("a staged version is not seen")
	}
	ok(r.switchOver())
	is("exec", "versions/1")
	is("previous", "") // there was no version before
	link("staged", "versions/2")
	ok(r.switchOver())
	is("exec", "versions/2")
	is("previous", "versions/1")
	ok(r.switchOver()) // again, as after a crash
	is("previous", "versions/1")
	if !r.upgrading() || !r.pending() {
		t.Error("an upgrade that was cut off is not seen")
	}
	was, err := r.back()
	ok(err)
	is("exec", "versions/1")
	is("previous", "")
	if !was || r.upgrading() || !r.pending() {
		t.Error("after the way back the staged version must still be pending")
	}
	if was, err := r.back(); was || err != nil {
		t.Errorf("a second way back: %v, %v", was, err)
	}
	ok(r.switchOver())
	ok(r.done())
	is("exec", "versions/2")
	is("previous", "")
	if r.pending() {
		t.Error("nothing is pending")
	}
}

// A link that leads out of the cell's directory is not followed: celld may be root.
func TestReleaseStaysInside(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "run")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("versions/1", filepath.Join(outside, "staged")); err != nil {
		t.Fatal(err)
	}
	r := release{dir}
	if err := r.switchOver(); err == nil {
		t.Error("followed a link out of the cell's directory")
	}
	if err := r.prepare("x", "/run/cell"); err == nil {
		t.Error("prepared directories outside of the cell")
	}
	if left, _ := os.ReadDir(outside); len(left) != 1 {
		t.Errorf("made %v outside", left)
	}
}

// The list of cells below is written where it changed, goes with the last of them, and is written beneath the directory alone.
func TestChildren(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	r, file := release{dir}, filepath.Join(dir, spec.Children)
	check := func(want string, dirs ...string) {
		t.Helper()
		if err := r.children(dirs); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if string(text) != want || (want == "") != errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q: %q, %v, want %q", dirs, text, err, want)
		}
	}
	check("")
	check("web\n", "web")
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	check("web\n", "web")
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was written again: %v", err)
	}
	check("web\nback/end\n", "web", "back/end")
	check("")
	// A link in its place is replaced, and one in place of the directory is not followed.
	if err := os.Symlink(filepath.Join(outside, "x"), file); err != nil {
		t.Fatal(err)
	}
	if err := r.children([]string{"web"}); err == nil {
		check("web\n", "web")
	}
	if err := os.RemoveAll(filepath.Join(dir, "run")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "run")); err != nil {
		t.Fatal(err)
	}
	if err := r.children([]string{"web"}); err == nil {
		t.Error("it was written through a link")
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("written outside: %v %v", left, err)
	}
}
