package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	token, short := write("token", "a-long-enough-token\n"), write("short", "x")
	c, err := parse([]string{"--token-file", token, "--host", "App.example", "--origin", "https://a.example", "--origin", "https://b.example", "--files", dir}, os.Stderr)
	if err != nil || c.Token != "a-long-enough-token" || len(c.Hosts) != 1 || c.Hosts[0] != "app.example" || len(c.Origins) != 2 || c.Files == nil {
		t.Errorf("%+v %v", c, err)
	}
	if c, err := parse([]string{"--anyone"}, os.Stderr); err != nil || c.Token != "" || c.Files != nil {
		t.Errorf("%+v %v", c, err)
	}
	for _, bad := range []struct{ args, want string }{
		{"", "who may call?"},
		{"--anyone --token-file " + token, "who may call?"},
		{"--token-file " + short, "can be guessed"},
		{"--token-file " + dir + "/none", "no such file"},
		{"--anyone --files " + dir + "/none", "no such file"},
		{"--anyone --max-body 0", "is not a size"},
		{"--anyone more", `"more"`},
		{"--nonsense", "not defined"},
	} {
		var out bytes.Buffer
		if _, err := parse(strings.Fields(bad.args), &out); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want %s", bad.args, err, bad.want)
		}
	}
}
