package manifest

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/quick"
)

func TestExpand(t *testing.T) {
	get := lookup(map[string]string{"A": "1", "B": "${A} $$"})
	for text, want := range map[string]string{
		"": "", "a": "a", "$": "$", "$$": "$", "$$$": "$$", "$$$$": "$$", "$A": "$A", "${A}": "1", "x${A}${A}y": "x11y", "$${A}": "${A}",
		"$$${A}": "$1", "${B}": "${A} $$", "$(A)": "$(A)", "100%": "100%", "%n $1": "%n $1", "é${A}€": "é1€",
	} {
		if got, err := Expand(text, get); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"${": `"${" does not begin`, "${A": `"${" does not begin`, "${}": `"${" does not begin`, "${A B}": `"${" does not begin`, "${a:-b}": `"${" does not begin`,
		"${C}": "no variable C",
	} {
		if got, err := Expand(text, get); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}

// Any text can be written.
func TestLiteral(t *testing.T) {
	same := func(s string) bool {
		got, err := Expand(Literal(s), lookup(nil))
		return err == nil && got == s
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
	dollars := func(parts []bool) bool { // more of them than chance makes
		var b strings.Builder
		for _, p := range parts {
			b.WriteString(map[bool]string{true: "$", false: "{A}"}[p])
		}
		return same(b.String())
	}
	if err := quick.Check(dollars, nil); err != nil {
		t.Error(err)
	}
}

func TestVariables(t *testing.T) {
	m, errs := Parse("/srv/web", File, []byte(`[cell]
exec = ["${A}", "--port", "${PORT}", "${A}", "$$PATH", "$HOME"]
env = { A = "${CELL_NAME} in ${CELL_DIR}", B = "$${A}" }
port = 80
speaks = "http"
`))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	args, err := m.Arguments("shop.web:2")
	if want := []string{"--port", "80", "shop.web:2 in /srv/web", "$PATH", "$HOME"}; err != nil || !slices.Equal(args, want) {
		t.Errorf("%q, %v", args, err)
	}
	env, err := m.Environ("shop.web:2")
	want := map[string]string{"CELL_NAME": "shop.web:2", "CELL_DIR": "/srv/web", "PORT": "80", "A": "shop.web:2 in /srv/web", "B": "${A}"}
	if err != nil || !maps.Equal(env, want) {
		t.Errorf("%q, %v", env, err)
	}
}
