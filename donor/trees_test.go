package donor

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPlace(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "tree")
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write(from+"/cell.toml", "[cell]\n", 0o644)
	write(from+"/bin/program", "one", 0o755)
	if err := os.Symlink("program", from+"/bin/link"); err != nil {
		t.Fatal(err)
	}
	write(to+"/data/kept", "kept", 0o600)
	check := func(program string) os.FileInfo {
		t.Helper()
		if err := place(from, to); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"cell.toml": "[cell]\n", "bin/program": program, "bin/link": program, "data/kept": "kept"} {
			if b, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(b) != want {
				t.Errorf("%s has %q %v, want %q", name, b, err, want)
			}
		}
		st, err := os.Stat(to + "/bin/program")
		if err != nil || st.Mode() != 0o755 {
			t.Fatalf("%v %v", st.Mode(), err)
		}
		return st
	}
	write(to+"/bin/program.new", "left by a power cut", 0o600)
	first := check("one")
	if !os.SameFile(first, check("one")) {
		t.Error("what was the same was written again")
	}
	write(from+"/bin/program", "two", 0o755) // of the same size
	if os.SameFile(first, check("two")) {
		t.Error("the file was written into, which may run")
	}
	// A file that cannot be replaced is as it was.
	write(from+"/bin/program", "three", 0o755)
	write(to+"/bin/program.new/x", "", 0o600)
	if err := place(from, to); err == nil {
		t.Error("a directory in the way was no error")
	}
	if b, _ := os.ReadFile(to + "/bin/program"); string(b) != "two" {
		t.Errorf("the program is %q now", b)
	}
}
