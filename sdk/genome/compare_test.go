package genome

import (
	"slices"
	"strings"
	"testing"
)

// typeRow is a change of a type, tried at every place where a type may be.
type typeRow struct {
	rule            string
	old, new        string
	request, result onWire
	also            string // another rule that the change falls under
	decl            string // types that both genomes have
}

// onWire is what a change does on one side: the verdict, and values whose sending proves it. After a break at least one of
// them must be refused or lost, otherwise none; but where the break is in what a value means all arrive.
type onWire struct {
	verdict Verdict
	send    string // JSON values between blanks
	meaning bool
}

func is(v Verdict, send string) onWire { return onWire{verdict: v, send: send} }
func means(send string) onWire         { return onWire{verdict: Break, send: send, meaning: true} }

var typeRows = []typeRow{
	{rule: "becomes-optional", old: "string", new: "*string", request: is(Source, `"" "x"`), result: is(Break, `"x" null`)},
	{rule: "becomes-optional", old: "[2]int8", new: "*[2]int8", request: is(Source, `[1,2]`), result: is(Break, `null`)},
	{rule: "becomes-optional", old: "P", new: "*P", decl: "type P struct A int; B string", request: is(Source, `{"A":0,"B":""}`), result: is(Break, `null`)},
	{rule: "becomes-optional", old: "U", new: "*U", decl: "type U sum V\ntype V struct A int", request: is(Source, `{"type":"V","A":0} null`), result: means(`null`)},
	{rule: "becomes-optional", old: "json", new: "*json", request: is(Source, `null {"a":1}`), result: means(`null 5`)},
	{rule: "becomes-required", old: "*string", new: "string", request: is(Break, `"x" null`), result: is(Source, `"" "x"`)},
	{rule: "becomes-required", old: "*time", new: "time", request: is(Break, `null`), result: is(Source, `"2026-01-02T15:04:05Z"`)},
	{rule: "optional-wrapped", old: "[]int", new: "*[]int", request: is(Break, `[1]`), result: is(Break, `[1] null`)},
	{rule: "optional-wrapped", old: "L", new: "*L", decl: "type L map[string]int", request: is(Break, `{"a":1}`), result: is(Break, `{"a":1}`)},
	{rule: "optional-wrapped", old: "*[]string", new: "[]string", request: is(Break, `["a"]`), result: is(Break, `["a"]`)},
	{rule: "optional-wrapped", old: "[]string", new: "[]*string", request: is(Break, `["a"]`), result: is(Break, `["a"]`)},
	{rule: "optional-wrapped", old: "[2]*int", new: "[2]int", request: is(Break, `[1,2]`), result: is(Break, `[1,2]`)},
	{rule: "optional-wrapped", old: "map[string]P", new: "map[string]*P", decl: "type P struct A int", request: is(Break, `{"k":{"A":1}}`), result: is(Break, `{"k":{"A":1}}`)},
	{rule: "integer-wider", old: "int8", new: "int16", request: is(Source, `-128 0 127`), result: is(Break, `5 300`)},
	{rule: "integer-wider", old: "int32", new: "int64", request: is(Source, `-2147483648 2147483647`), result: is(Break, `2147483648`)},
	{rule: "integer-wider", old: "uint32", new: "uint", request: is(Source, `0 4294967295`), result: is(Break, `4294967296`)},
	{rule: "integer-wider", old: "[]int32", new: "[]int", request: is(Source, `[] [1,-1]`), result: is(Break, `[2147483648]`)},
	{rule: "integer-wider", old: "[3]int8", new: "[3]int16", request: is(Source, `[1,-1,0]`), result: is(Break, `[300,0,0]`)},
	{rule: "integer-wider", old: "*int8", new: "*int16", request: is(Source, `null -1`), result: is(Break, `300`)},
	{rule: "integer-wider", old: "map[uint8]string", new: "map[uint16]string", request: is(Source, `{"255":"a"}`), result: is(Break, `{"256":"a"}`)},
	{rule: "integer-wider", old: "map[string][]*uint8", new: "map[string][]*uint16", request: is(Source, `{"a":[null,255]}`), result: is(Break, `{"a":[256]}`)},
	{rule: "integer-wider", old: "int8", new: "*int16", also: "becomes-optional", request: is(Source, `-128`), result: is(Break, `300`)},
	{rule: "integer-narrower", old: "int16", new: "int8", request: is(Break, `128`), result: is(Source, `-128 127`)},
	{rule: "integer-narrower", old: "uint", new: "uint8", request: is(Break, `256`), result: is(Source, `0 255`)},
	{rule: "integer-narrower", old: "[][]int64", new: "[][]int32", request: is(Break, `[[2147483648]]`), result: is(Source, `[[1],[]]`)},
	{rule: "integer-word", old: "int", new: "int64", request: is(Source, `-9223372036854775808 9223372036854775807`), result: is(Source, `-9223372036854775808 9223372036854775807`)},
	{rule: "integer-word", old: "uint64", new: "uint", request: is(Source, `18446744073709551615`), result: is(Source, `18446744073709551615`)},
	{rule: "integer-sign", old: "int64", new: "uint64", request: is(Break, `1`), result: is(Break, `1`)},
	{rule: "integer-sign", old: "uint8", new: "int32", request: is(Break, `1`), result: is(Break, `1`)},
	{rule: "float-width", old: "float32", new: "float64", request: is(Break, `1.5`), result: is(Break, `1.5`)},
	{rule: "float-width", old: "[]float64", new: "[]float32", request: is(Break, `[1.5]`), result: is(Break, `[1.5]`)},
	{rule: "text-bytes", old: "string", new: "bytes", request: is(Break, `"abcd"`), result: is(Break, `"/w=="`)},
	{rule: "text-bytes", old: "json", new: "bytes", request: is(Break, `{"a":1}`), result: is(Break, `"AAAA"`)},
	{rule: "text-bytes", old: "string", new: "json", request: is(Break, `"x"`), result: is(Break, `{"a":1}`)},
	{rule: "duration-number", old: "duration", new: "int64", request: is(Break, `"1s"`), result: is(Break, `1000`)},
	{rule: "duration-number", old: "int", new: "duration", request: is(Break, `1`), result: is(Break, `"1s"`)},
	{rule: "duration-number", old: "uint32", new: "duration", request: is(Break, `1`), result: is(Break, `"1s"`)},
	{rule: "type-changed", old: "string", new: "int", request: is(Break, `"x"`), result: is(Break, `1`)},
	{rule: "type-changed", old: "bool", new: "uint8", request: is(Break, `true`), result: is(Break, `2`)},
	{rule: "type-changed", old: "float64", new: "int", request: is(Break, `1.5`), result: is(Break, `1`)},
	{rule: "type-changed", old: "time", new: "string", request: is(Break, `"2026-01-02T15:04:05Z"`), result: is(Break, `"x"`)},
	{rule: "type-changed", old: "int", new: "[]int", request: is(Break, `1`), result: is(Break, `[1,2]`)},
	{rule: "type-changed", old: "[]int", new: "[2]int", request: is(Break, `[1]`), result: is(Break, `[0,0]`)},
	{rule: "type-changed", old: "[]string", new: "map[string]string", request: is(Break, `["a"]`), result: is(Break, `{"a":"b"}`)},
	{rule: "type-changed", old: "[4]uint8", new: "[4]uint16", request: is(Break, `"AQIDBA=="`), result: is(Break, `[1,2,3,4]`)},
	{rule: "type-changed", old: "bytes", new: "[4]uint8", request: is(Break, `"AQID"`), result: means(`"AQIDBA=="`)},
	{rule: "type-replaced", old: "P", new: "U", decl: "type P struct A int\ntype U sum V\ntype V struct A int", request: is(Break, `{"A":1}`), result: is(Break, `{"type":"V","A":1}`)},
	{rule: "type-changed", old: "P", new: "int", decl: "type P struct A int", request: is(Break, `{"A":1}`), result: is(Break, `1`)},
	{rule: "type-changed", old: "[]P", new: "[]string", decl: "type P struct A int", request: is(Break, `[{"A":1}]`), result: is(Break, `["x"]`)},
	{rule: "array-length", old: "[2]int", new: "[3]int", request: is(Break, `[1,2]`), result: is(Break, `[1,2,3]`)},
	{rule: "array-length", old: "[2]uint8", new: "[3]uint8", request: is(Break, `"AAA="`), result: is(Break, `"AAAA"`)},
	{rule: "array-length", old: "[][2]string", new: "[][1]string", request: is(Break, `[["a","b"]]`), result: is(Break, `[["a"]]`)},
	{rule: "type-named", old: "int64", new: "ID", decl: "type ID int64", request: is(Source, `-5`), result: is(Source, `-5`)},
	{rule: "type-named", old: "IDs", new: "[]uint64", decl: "type IDs []uint64", request: is(Source, `[] [1,2]`), result: is(Source, `[] [1,2]`)},
	{rule: "type-named", old: "[]string", new: "[]Name", decl: "type Name string", request: is(Source, `["a"]`), result: is(Source, `["a"]`)},
	{rule: "type-named", old: "map[string]int", new: "map[Name]int", decl: "type Name string", request: is(Source, `{"a":1}`), result: is(Source, `{"a":1}`)},
	{rule: "type-named", old: "*ID", new: "*int64", decl: "type ID int64", request: is(Source, `null 1`), result: is(Source, `null 1`)},
	{rule: "type-named", old: "Hash", new: "[4]uint8", decl: "type Hash [4]uint8", request: is(Source, `"AAECAw=="`), result: is(Source, `"AAECAw=="`)},
	{rule: "type-changed", old: "string", new: "ID", decl: "type ID int64", request: is(Break, `"x"`), result: is(Break, `-5`)},
	{rule: "type-changed", old: "[4]uint8", new: "[4]Octet", decl: "type Octet uint8", request: is(Break, `"AQIDBA=="`), result: is(Break, `[1,2,3,4]`)},
	{rule: "type-renamed", old: "A", new: "B", decl: "type A int32\ntype B int32", request: is(Source, `1`), result: is(Source, `1`)},
	{rule: "type-renamed", old: "A", new: "B", decl: "type A struct X int\ntype B struct X int", request: is(Source, `{"X":1}`), result: is(Source, `{"X":1}`)},
	{rule: "type-renamed", old: "[]*A", new: "[]*B", decl: "type A struct X int\ntype B struct X int", request: is(Source, `[null,{"X":1}]`), result: is(Source, `[null,{"X":1}]`)},
	{rule: "type-replaced", old: "A", new: "B", decl: "type A struct X int\ntype B struct X string", request: is(Break, `{"X":1}`), result: is(Break, `{"X":"a"}`)},
	{rule: "type-replaced", old: "A", new: "B", decl: "type A struct From int; To int\ntype B struct To int; From int", request: means(`{"From":1,"To":2}`), result: means(`{"From":1,"To":2}`)},
	{rule: "type-replaced", old: "A", new: "B", decl: "type A string\ntype B int", request: is(Break, `"x"`), result: is(Break, `1`)},
	{rule: "type-replaced", old: "A", new: "B", decl: "type A int32 On=1\ntype B int32 On=2", request: means(`"On"`), result: means(`"On"`)},
	{rule: "type-replaced", old: "A", new: "B", decl: "type A struct C C\ntype B struct C D\ntype C struct X int8\ntype D struct X string", request: is(Break, `{"C":{"X":1}}`), result: is(Break, `{"C":{"X":"a"}}`)},
}

// spots are the places where a type T may be: lines of a genome, where the change is then told, and the message that
// carries a value V.
var spots = []struct {
	name, lines, where, carry string
	dir                       direction
	message                   func(g *Genome) *Message
}{
	{"parameter", "M(v T)", "Users.M(v)", `{"v":V}`, toProvider, request},
	{"in", "M() in T", "Users.M(items)", `{"item":V}`, toProvider, func(g *Genome) *Message { return g.Methods[0].In }},
	{"field of a parameter", "M(s S)\ntype S struct F T", "S.F", `{"s":{"F":V}}`, toProvider, request},
	{"base of a name", "M(s S)\ntype S []T", "S", `{"s":[V]}`, toProvider, request},
	{"element of a parameter", "M(v []T)", "Users.M(v)", `{"v":[V]}`, toProvider, request},
	{"result", "M() T", "Users.M → result", `{"result":V}`, toCaller, result},
	{"results", "M() (a int, b T)", "Users.M → b", `{"a":1,"b":V}`, toCaller, result},
	{"out", "M() out T", "Users.M → items", `{"item":V}`, toCaller, out},
	{"topic", "topic M T", "Users.M → items", `{"item":V}`, toCaller, out},
	{"field of a result", "M() S\ntype S struct F T", "S.F", `{"result":{"F":V}}`, toCaller, result},
	{"field of an error", "error E\ntype E struct F T", "E.F", `{"F":V}`, toCaller, func(g *Genome) *Message { return g.Type("E").Struct }},
	{"variant", "M() S\ntype S sum Y\ntype Y struct F T", "Y.F", `{"result":{"type":"Y","F":V}}`, toCaller, result},
	{"both ways", "M(s S) S\ntype S struct F T", "S.F", "", toProvider, request},
}

func request(g *Genome) *Message { return &g.Methods[0].Request }
func result(g *Genome) *Message  { return &g.Methods[0].Result }
func out(g *Genome) *Message     { return g.Methods[0].Out }

func TestCompareTypes(t *testing.T) {
	for _, row := range typeRows {
		for _, at := range spots {
			element := strings.Contains(at.lines, "[]T")
			if element && (strings.HasPrefix(row.rule, "becomes-") || row.also == "becomes-optional" || row.rule == "optional-wrapped") {
				continue // another rule within a list, with rows of its own
			}
			t.Run(row.rule+"/"+row.old+" to "+row.new+"/"+at.name, func(t *testing.T) {
				old := lined(t, nil, strings.ReplaceAll(at.lines, "T", row.old), row.decl)
				now := lined(t, old, strings.ReplaceAll(at.lines, "T", row.new), row.decl)
				want := row.request
				if at.dir == toCaller {
					want = row.result
				}
				if at.name == "both ways" {
					want = onWire{verdict: max(row.request.verdict, row.result.verdict)}
				}
				changes := Compare(old, now)
				wellFormed(t, changes)
				ids := []string{row.rule}
				if row.also != "" {
					ids = append(ids, row.also)
				}
				what := ref(t, row.old).goString() + " → " + ref(t, row.new).goString()
				var got []string
				for _, c := range changes {
					got = append(got, c.ID)
					if c.Where != at.where || !strings.Contains(c.What, what) && !element {
						t.Errorf("it is told as %s: %s, not as %s: %s", c.Where, c.What, at.where, what)
					}
				}
				slices.Sort(ids)
				slices.Sort(got)
				if !slices.Equal(got, ids) || Worst(changes) != want.verdict {
					t.Errorf("want %s of %v, got\n%s", want.verdict, ids, told(changes))
				}
				if at.carry != "" {
					prove(t, crossing{old, now, at.dir}, at.message(old), at.message(now), at.carry, want)
				}
			})
		}
	}
}

// prove sends values over the change.
func prove(t *testing.T, x crossing, o, n *Message, carry string, want onWire) {
	t.Helper()
	var lost error
	for v := range strings.FieldsSeq(want.send) {
		err := x.send(o, n, asValue(t, strings.Replace(carry, "V", v, 1)))
		if err != nil && strings.HasPrefix(err.Error(), "the sender's") {
			t.Fatalf("%s: %v", v, err)
		}
		if want.verdict != Break && err != nil {
			t.Errorf("%s, but %s: %v", want.verdict, v, err)
		}
		if err != nil {
			lost = err
		}
	}
	if want.verdict == Break && (lost != nil) == want.meaning {
		t.Errorf("a break in meaning: %v, and sending shows %v", want.meaning, lost)
	}
}
