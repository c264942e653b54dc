package gen

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// module makes a copy of what generated code needs, with packages sdk and stub that only stand in: generated code is compiled
// against the true helpers, whatever else package sdk is made of. The cell under test is in its folder t.
func module(t testing.TB) (dir string) {
	t.Helper()
	root := t.TempDir()
	for from, to := range map[string]string{
		"../../go.mod": "go.mod", "../../go.sum": "go.sum", "testdata/sdk/sdk.go.txt": "sdk/main.go",
		"../internal/generated/generated.go": "sdk/internal/generated/generated.go", "testdata/sdk/stub.go.txt": "sdk/stub/stub.go",
		"../wire/codec.go": "sdk/wire/codec.go", "../wire/recycle.go": "sdk/wire/recycle.go", "../wire/fields.go": "sdk/wire/fields.go", "../wire/array.go": "sdk/wire/array.go",
	} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		put(t, root, to, string(data))
	}
	put(t, root, "sdk/wire/stream.go", "package wire\n\ntype Stream struct{ Item []byte }\n")
	return filepath.Join(root, "t")
}

func put(t testing.TB, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// unpack writes files that are marked in text by lines "-- name --"; what comes before the first is main.go.
func unpack(t testing.TB, dir, text string) {
	t.Helper()
	name := "main.go"
	var lines []string
	flush := func() {
		if len(lines) > 0 {
			put(t, dir, name, strings.Join(lines, ""))
		}
		lines = nil
	}
	for line := range strings.Lines(text) {
		if next, ok := strings.CutPrefix(strings.TrimSpace(line), "-- "); ok && strings.HasSuffix(next, " --") {
			flush()
			name = strings.TrimSuffix(next, " --")
			continue
		}
		lines = append(lines, line)
	}
	flush()
}

// goTool runs the go command in dir.
func goTool(t testing.TB, dir string, args ...string) (string, error) {
	t.Helper()
	c := exec.Command("go", args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off", "GOPROXY=off")
	out, err := c.CombinedOutput()
	return string(out), err
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
