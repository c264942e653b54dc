package genome

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestCompatibilityDoc generates docs/compatibility.md from the table of rules.
func TestCompatibilityDoc(t *testing.T) {
	const file = "../../docs/compatibility.md"
	var b bytes.Buffer
	b.WriteString(compatibilityHead)
	for _, r := range rules {
		result := cell(r.result)
		if r.result == r.request {
			result = "the same"
		}
		change := r.change
		if r.additive {
			change += " (an addition)"
		}
		fmt.Fprintf(&b, "| %s<br>`%s` | %s | %s |\n", change, r.id, cell(r.request), result)
	}
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.Bytes()) {
		t.Errorf("%s is out of date: go test ./sdk/genome -run %s -update", file, t.Name())
	}
}

func cell(s side) string {
	if s.why == "" {
		return "–"
	}
	return "**" + s.verdict.String() + "**: " + strings.ReplaceAll(s.why, "|", `\|`)
}

const compatibilityHead = `# What a change does to callers

Generated from the table of rules (` + "`go test ./sdk/genome -run TestCompatibilityDoc -update`" + `). ` + "`cell genome diff OLD NEW`" + ` compares two
genomes by it, and ` + "`cell build`" + ` compares a new genome with those that callers hold.

A change has one of three verdicts, seen from callers that were built against the old genome:

| verdict | running callers | their Go source |
|---|---|---|
| **safe** | go on | builds as it is |
| **source** | go on | must be edited when they next generate |
| **break** | fail, or are served something else than they mean | |

Direction matters. Parameters and the items that a caller streams are written by old callers and read by the new provider: the
request side. Results, items of streams and topics, and errors are written by the new provider and read by old callers: the
result side. A request may accept more than before, a result may promise more; never less. A field of a type that goes both ways
has the stricter verdict of the two. A type that no method and no error leads to does not count.

**Ids.** Methods, parameters, results, fields and variants have ids, which alone are on the wire. ` + "`cell build`" + ` keeps them in
` + "`genome.json`" + ` by name, those of a parameter or result also by place and type, so that there a new name keeps its id. An id is never
given to anything else; what is removed and comes back gets a new one. A struct's field under a new name is therefore one removed
and one added, unless its id is kept by hand in ` + "`genome.json`" + `.

**Names.** The wire has no names of parameters, results and fields, but the HTTP door and named arguments in a shell have: for their
callers a rename is a break.

**Versions.** A break demands a new major version, an addition or an edit of Go callers a new minor one, anything else a patch.
Before 1.0.0 a break demands a new minor version. A version before its release, such as 2.0.0-rc.1, is followed by that release
when it covers the changes.

| change | request side | result side |
|---|---|---|
`
