package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/sdk/manifest"
)

// TestTexts gives a program arguments and variables of any text, and compares what arrives.
func TestTexts(t *testing.T) {
	needManager(t)
	dir, state := filepath.Join(t.TempDir(), "shows"), t.TempDir()
	texts := []string{"$$ x", "$", "${HOME}", "$HOME", "%n %% %h", `\x41 \n \\`, `"quoted" 'too'`, "a\nb\tc", " ", "#;|&<>()*?[]~!", "-", "é€😀", strings.Repeat("$", 99)}
	r := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("$${}%%\\\"' \n\taAbPORT1é€\x01\x7f")
	for range 60 {
		text := []rune{}
		for range 1 + r.IntN(30) {
			text = append(text, alphabet[r.IntN(len(alphabet))])
		}
		texts = append(texts, string(text))
	}
	args, env := []string{}, map[string]string{}
	for i, text := range texts {
		args = append(args, tomlText(manifest.Literal(text)))
		env[fmt.Sprintf("V%d", i)] = text
	}
	var vars []string
	for name, text := range env {
		vars = append(vars, name+" = "+tomlText(manifest.Literal(text)))
	}
	for name, text := range map[string]string{
		"show.py": "import json, os, sys, time\n" +
			"with open('data/new', 'w') as f: json.dump({'args': sys.argv[1:], 'env': dict(os.environ)}, f)\n" +
			"os.rename('data/new', 'data/shown')\ntime.sleep(1000)\n",
		manifest.File: "[cell]\nexec = [\"/usr/bin/python3\", \"show.py\", \"${V0}\", \"${CELL_NAME}\", " + strings.Join(args, ", ") + "]\n" +
			"env = { " + strings.Join(vars, ", ") + " }\nspeaks = \"http\"\n",
	} {
		write(t, filepath.Join(dir, name), text)
	}
	t.Cleanup(func() { down(t, state) })
	want := append([]string{texts[0], "shows"}, texts...)
	cell := func(words ...string) {
		t.Helper()
		c := exec.Command(filepath.Join(programs, "cell"), words...)
		c.Env = append(os.Environ(), "XDG_STATE_HOME="+state, "CELL_MANAGER=embedded")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("cell %s: %v\n%s", strings.Join(words, " "), err, out)
		}
	}
	cell("mitosis", dir)
	arrives(t, dir, want, env)
	// Also when systemd has read the unit's file again, which it has written itself.
	cell("systemctl", "daemon-reload")
	if err := os.Remove(filepath.Join(dir, "data/shown")); err != nil {
		t.Fatal(err)
	}
	cell("systemctl", "restart", "cell@shows.service")
	arrives(t, dir, want, env)
}

// arrives waits until the program has shown what it got.
func arrives(t *testing.T, dir string, want []string, env map[string]string) {
	t.Helper()
	var shown struct {
		Args []string
		Env  map[string]string
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		data, err := os.ReadFile(filepath.Join(dir, "data/shown"))
		if err == nil {
			if err := json.Unmarshal(data, &shown); err != nil {
				t.Fatal(err)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatal("the program never showed what it got")
		}
	}
	if len(shown.Args) != len(want) {
		t.Fatalf("%d arguments, want %d: %q", len(shown.Args), len(want), shown.Args)
	}
	for i := range want {
		if shown.Args[i] != want[i] {
			t.Errorf("argument %d: %q, want %q", i, shown.Args[i], want[i])
		}
	}
	for name, text := range env {
		if shown.Env[name] != text {
			t.Errorf("variable %s: %q, want %q", name, shown.Env[name], text)
		}
	}
}

// tomlText is a TOML basic string.
func tomlText(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}

func write(t testing.TB, path, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
