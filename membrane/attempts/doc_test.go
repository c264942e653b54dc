package attempts

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cell-network/cell/membrane/spec"
)

var update = flag.Bool("update", false, "write the table into docs/membrane.md")

// The table of docs/membrane.md is that of the attempts.
func TestDoc(t *testing.T) {
	const file, begin, end = "../../docs/membrane.md", "<!-- attempts -->\n", "<!-- end -->"
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), begin)
	_, tail, found := strings.Cut(rest, end)
	if !ok || !found {
		t.Fatalf("%s has no place for the table", file)
	}
	var b strings.Builder
	b.WriteString("| rule | attempt | refused by |\n|---|---|---|\n")
	for _, a := range All {
		if !slices.Contains(spec.Rules, a.Rule) {
			t.Errorf("%s: no rule is called %q", a.What, a.Rule)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", a.Rule, a.What, a.By)
	}
	text := head + begin + b.String() + end + tail
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if text != string(raw) {
		t.Errorf("%s is not what the attempts are: go test ./membrane/attempts -update", file)
	}
}
