package genome

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// row is a change of anything but the type of a place: two genomes, all that Compare tells, and proofs.
type row struct {
	rule     string
	old, new string
	want     string
	proofs   []proof
}

// proof sends values over the change, or makes a call of Go code that was compiled with the one order and the other.
type proof struct {
	at string // "M(": the request, "M)": the result, "E!": the error, "M": whether the method answers, "words": Go code
	onWire
}

func at(where string, w onWire) proof { return proof{where, w} }

const user = "type User struct Name string; Age int8"

var rows = []row{
	// Methods.
	{"method-added", "A()", "A()\nB()", "safe Users.B: added [method-added]", []proof{at("A", is(Safe, ""))}},
	{"method-added", "A()", "A()\ntopic B int", "safe Users.B: added [method-added]", []proof{at("A", is(Safe, ""))}},
	{"method-removed", "A()\nB()", "A()", "break Users.B: removed [method-removed]", []proof{at("B", is(Break, ""))}},
	{"method-removed", "A()\nB()", "A()\nC()", "break Users.B: removed [method-removed]\nsafe Users.C: added [method-added]", []proof{at("B", is(Break, ""))}},
	{"method-id", "A()", "A@5()", "break Users.A: another id [method-id]", []proof{at("A", is(Break, ""))}},
	{"id-reused", "A()\nB()", "A()\nC@2()", "break Users.B: removed [method-removed]\nbreak Users.C: added with a used id [id-reused]", []proof{at("B", is(Break, ""))}},
	{"id-reused", "A()\nX@4()", "A()\nX@4()\nC@2()", "break Users.C: added with a used id [id-reused]", nil},
	{"method-form", "A(n int)", "event A(n int)", "break Users.A: answered → one-way [method-form]", []proof{at("A", is(Break, ""))}},
	{"method-form", "event A(n int)", "A(n int)", "break Users.A: one-way → answered [method-form]", []proof{at("A", is(Break, ""))}},
	{"method-form", "A()", "A() out int", "break Users.A: answered → stream to the caller [method-form]", []proof{at("A", is(Break, ""))}},
	{"method-form", "A() out int", "A() int", "break Users.A: stream to the caller → answered [method-form]", []proof{at("A", is(Break, ""))}},
	{"method-form", "A() in int", "A()", "break Users.A: stream to the cell → answered [method-form]", []proof{at("A", is(Break, ""))}},
	{"method-form", "A() in int", "A() in int out int", "break Users.A: stream to the cell → stream both ways [method-form]", []proof{at("A", is(Break, ""))}},
	{"method-form", "topic A int", "A() out int", "break Users.A: topic → stream to the caller [method-form]", []proof{at("A", is(Break, ""))}},
	{"variadic-changed", "A(n int, m ...int)", "A(n int, m []int)", "source Users.A: ...T → []T [variadic-changed]", []proof{at("A(", is(Source, `{"n":1,"m":[2,3]}`))}},
	{"variadic-changed", "A(m []int)", "A(m ...int)", "source Users.A: []T → ...T [variadic-changed]", []proof{at("A(", is(Source, `{"m":[2,3]}`))}},
	{"repeatable-added", "A(n int)", "repeatable A(n int)", "safe Users.A: repeatable now [repeatable-added]", []proof{at("A(", is(Safe, `{"n":1}`))}},
	{"repeatable-removed", "repeatable A(n int)", "A(n int)", "break Users.A: no longer repeatable [repeatable-removed]", []proof{at("A(", means(`{"n":1}`))}},

	// Parameters and results.
	{"signature-added", "A(n int)", "A(n int, m string)", "source Users.A(m): added [signature-added]", []proof{at("A(", is(Source, `{"n":1}`))}},
	{"signature-added", "A()", "A() int", "source Users.A → result: added [signature-added]", []proof{at("A)", is(Source, `{"result":5}`))}},
	{"signature-added", "A() (a int)", "A() (a int, b User)\n" + user, "source Users.A → b: added [signature-added]", []proof{at("A)", is(Source, `{"a":5,"b":{"Age":1}}`))}},
	{"signature-removed", "A(n int, only bool)", "A(n int)", "break Users.A(only): removed [signature-removed]", []proof{at("A(", is(Break, `{"n":1,"only":true}`))}},
	{"signature-removed", "A() (a, b int)", "A() (a int)", "break Users.A → b: removed [signature-removed]", []proof{at("A)", is(Break, `{"a":1}`))}},
	{"signature-renamed", "A(id int, n int)", "A(key int, n int)", "safe Users.A(key): renamed from id [signature-renamed]", []proof{at("A(", is(Safe, `{"id":5,"n":6}`))}},
	{"signature-renamed", "A() (q int)", "A() (r int)", "safe Users.A → r: renamed from q [signature-renamed]", []proof{at("A)", is(Safe, `{"r":5}`))}},
	{
		"signature-removed", "A(id int)", "A(key string)", // another type: not the same parameter
		"break Users.A(id): removed [signature-removed]\nsource Users.A(key): added [signature-added]",
		[]proof{at("A(", is(Break, `{"id":5}`))},
	},
	{
		"signature-exchanged", "A(from, to int)", "A(to, from int)",
		"break Users.A: order of parameters changed: (from, to) → (to, from) [signature-exchanged]",
		[]proof{at("A(", means(`{"from":1,"to":2}`)), at("words", means("1 2"))},
	},
	{
		"signature-exchanged", "A(d duration, n int8)", "A(n int8, d duration)", // A(5, 3) compiles in both orders
		"break Users.A: order of parameters changed: (d, n) → (n, d) [signature-exchanged]",
		[]proof{at("A(", means(`{"d":"1s","n":2}`))},
	},
	{
		"signature-exchanged", "A(a bytes, b json)", "A(b json, a bytes)", // json.RawMessage takes a []byte
		"break Users.A: order of parameters changed: (a, b) → (b, a) [signature-exchanged]",
		[]proof{at("A(", means(`{"a":"AA==","b":1}`))},
	},
	{
		"signature-exchanged", "A(a string, n int, b Name)\ntype Name string", "A(b Name, n int, a string)\ntype Name string",
		"break Users.A: order of parameters changed: (a, n, b) → (b, n, a) [signature-exchanged]",
		[]proof{at("A(", means(`{"a":"x","b":"y","n":1}`)), at("words", means("x 5 y"))},
	},
	{
		"signature-exchanged", "A() (a, b User)\n" + user, "A() (b, a User)\n" + user,
		"break Users.A: order of results changed: (a, b) → (b, a) [signature-exchanged]",
		[]proof{at("A)", means(`{"a":{"Age":1},"b":{"Age":2}}`))},
	},
	{
		"signature-moved", "A(n int, s string)", "A(s string, n int)",
		"source Users.A: order of parameters changed: (n, s) → (s, n) [signature-moved]",
		[]proof{at("A(", is(Source, `{"n":1,"s":"x"}`)), at("words", is(Source, "1 x"))},
	},
	{
		"signature-moved", "A() (n int, s string)", "A() (s string, n int)",
		"source Users.A: order of results changed: (n, s) → (s, n) [signature-moved]",
		[]proof{at("A)", is(Source, `{"n":1,"s":"x"}`))},
	},
	{
		"signature-shifted", "A(n int, m ...int)", "A(n int, o int8, m ...int)",
		"break Users.A(o): added before ...int [signature-shifted]\nsource Users.A(o): added [signature-added]",
		[]proof{at("A(", means(`{"n":1,"m":[2,3]}`)), at("words", means("1 2 3"))},
	},
	{
		"signature-added", "A(n int, m ...int)", "A(n int, s string, m ...int)", "source Users.A(s): added [signature-added]",
		[]proof{at("A(", is(Source, `{"n":1,"m":[2,3]}`))},
	},
	{
		"signature-added", "A(data ...uint8)", "A(s string, data ...uint8)", "source Users.A(s): added [signature-added]",
		[]proof{at("A(", is(Source, `{"data":[1]}`))},
	},
	{
		"id-exchanged", "A(from, to int)", "A(from@2 int, to@1 int)",
		"break Users.A: order of parameters changed: (from, to) → (from, to) [signature-exchanged]\n" +
			"break Users.A(from): has the id that to had [id-exchanged]\nbreak Users.A(to): has the id that from had [id-exchanged]",
		[]proof{at("A(", means(`{"from":1,"to":2}`))},
	},
	{"id-reused", "A(n int, m@3 int)", "A(n int, m@3 int, o@2 int)", "break Users.A(o): added with a used id [id-reused]", nil},
	{"id-reused", "A() (n int, m@3 int)", "A() (n int, m@3 int, o@2 int)", "break Users.A → o: added with a used id [id-reused]", nil},

	// Fields.
	{
		"field-added", "A(u User) User\n" + user, "A(u User) User\n" + user + "; Mail string", "safe User.Mail: added [field-added]",
		[]proof{at("A(", is(Safe, `{"u":{"Name":"x"}}`)), at("A)", is(Safe, `{"result":{"Name":"x","Mail":"y"}}`))},
	},
	{"field-added", "error User\n" + user, "error User\n" + user + "; Mail string", "safe User.Mail: added [field-added]", []proof{at("User!", is(Safe, `{"Name":"x"}`))}},
	{"field-removed", "A(u User)\n" + user, "A(u User)\ntype User struct Name string", "break User.Age: removed [field-removed]", []proof{at("A(", is(Break, `{"u":{"Age":1}}`))}},
	{"field-removed", "A() User\n" + user, "A() User\ntype User struct Name string", "break User.Age: removed [field-removed]", []proof{at("A)", is(Break, `{"result":{}}`))}},
	{"field-renamed", "A(u User)\n" + user, "A(u User)\ntype User struct Title@1 string; Age int8", "source User.Title: renamed from Name [field-renamed]", []proof{at("A(", is(Source, `{"u":{"Name":"x"}}`))}},
	{"field-renamed", "A() User\n" + user, "A() User\ntype User struct Title@1 string; Age int8", "source User.Title: renamed from Name [field-renamed]", []proof{at("A)", is(Source, `{"result":{"Title":"x"}}`))}},
	{
		"id-exchanged", "A(p Pos) Pos\ntype Pos struct X int; Y int", "A(p Pos) Pos\ntype Pos struct X@2 int; Y@1 int",
		"break Pos.X: has the id that Y had [id-exchanged]\nbreak Pos.Y: has the id that X had [id-exchanged]",
		[]proof{at("A(", means(`{"p":{"X":1}}`)), at("A)", means(`{"result":{"X":1}}`))},
	},
	{"id-reused", "A(u User)\ntype User struct Name@3 string", "A(u User)\ntype User struct Name@3 string; Other@2 int", "break User.Other: added with a used id [id-reused]", nil},
	{
		"field-embedded", "A(u User) User\ntype User struct Base Base\ntype Base struct X int", "A(u User) User\ntype User struct &Base Base\ntype Base struct X int",
		"source User.Base: field → embedded [field-embedded]",
		[]proof{at("A(", is(Source, `{"u":{"Base":{"X":1}}}`)), at("A)", is(Source, `{"result":{"Base":{"X":1}}}`))},
	},
	{"", "A(u User)\n" + user, "A(u User)\ntype User struct Age int8; Name string", "", []proof{at("A(", is(Safe, `{"u":{"Age":1}}`))}},

	// Named types.
	{
		"integer-wider", "A(id ID) ID\ntype ID int32", "A(id ID) ID\ntype ID int64", "break ID: int32 → int64 [integer-wider]",
		[]proof{at("A(", is(Source, `{"id":5}`)), at("A)", is(Break, `{"result":4294967296}`))},
	},
	{"integer-wider", "A(id ID)\ntype ID int32", "A(id ID)\ntype ID int64", "source ID: int32 → int64 [integer-wider]", nil},
	{
		"type-named", "A(id int32)", "A(id ID)\ntype ID int64",
		"source Users.A(id): int32 → ID [integer-wider]\nsource Users.A(id): int32 → ID [type-named]",
		[]proof{at("A(", is(Source, `{"id":5}`))},
	},
	{
		"type-changed", "A(v V) V\ntype V struct W W\ntype W struct X int", "A(v V) V\ntype V sum W\ntype W struct X int",
		"break V: struct → sum [type-changed]",
		[]proof{at("A(", is(Break, `{"v":{"W":{"X":1}}}`))},
	},
	{
		"type-changed", "A(v V)\ntype V struct X int", "A(v V)\ntype V string",
		"break V: struct → string [type-changed]",
		[]proof{at("A(", is(Break, `{"v":{"X":1}}`))},
	},
	{
		"type-renamed", "A(v V)\ntype V struct X int; Next *V", "A(v W)\ntype W struct X int; Next *W; Y int",
		"source Users.A(v): V → W [type-renamed]\nsource V.Next: *V → *W [type-renamed]\nsafe W.Y: added [field-added]",
		[]proof{at("A(", is(Source, `{"v":{"X":1,"Next":{"X":2}}}`))},
	},
	{
		"type-replaced", "A(v V)\ntype V struct X int; Next *V", "A(v W)\ntype W struct X int; Next *[]W",
		"break Users.A(v): V → W [type-replaced]",
		[]proof{at("A(", is(Break, `{"v":{"Next":{"X":5,"Next":{"X":1}}}}`))},
	},
	{
		"type-replaced", "A(v V)\ntype V struct X int", "A(v W)\ntype W struct Y int", // it may be anything else
		"break Users.A(v): V → W [type-replaced]", []proof{at("A(", means(`{"v":{"X":1}}`))},
	},
	{
		"type-renamed", "A(v V)\ntype V struct U User\n" + user, "A(v W)\ntype W struct U User\ntype User struct Name string", // what breaks is User
		"break User.Age: removed [field-removed]\nsource Users.A(v): V → W [type-renamed]",
		[]proof{at("A(", is(Break, `{"v":{"U":{"Age":1}}}`))},
	},
	{
		"constant-added", "A(c C) C\ntype C int8 Red=0", "A(c C) C\ntype C int8 Red=0 Green=1", "safe C.Green: constant added [constant-added]",
		[]proof{at("A(", is(Safe, `{"c":"Red"}`)), at("A)", is(Safe, `{"result":"Green"}`))},
	},
	{
		"constant-removed", "A(c C) C\ntype C int8 Red=0 Green=1", "A(c C) C\ntype C int8 Red=0", "source C.Green: constant removed [constant-removed]",
		[]proof{at("A(", is(Source, `{"c":"Green"}`)), at("A)", is(Source, `{"result":1}`))},
	},
	{
		"constant-changed", "A(c C) C\ntype C int8 Red=0", "A(c C) C\ntype C int8 Red=1", "break C.Red: 0 → 1 [constant-changed]",
		[]proof{at("A(", means(`{"c":"Red"}`)), at("A)", means(`{"result":"Red"}`))},
	},
	{"constant-changed", "A(c C)\ntype C string Red=r", "A(c C)\ntype C string Red=R", "break C.Red: r → R [constant-changed]", nil},
	{"", "A(c C)\ntype C float64 Much=1000", "A(c C)\ntype C float64 Much=1e3", "", []proof{at("A(", is(Safe, `{"c":1}`))}},
	{"", "A(c C)\ntype C int Much=+7", "A(c C)\ntype C int Much=7", "", []proof{at("A(", is(Safe, `{"c":1}`))}},
	{
		"variant-added", "A(v V) V\ntype V sum X\ntype X struct", "A(v V) V\ntype V sum X; *Y\ntype X struct\ntype Y struct", "safe V.Y: added [variant-added]",
		[]proof{at("A(", is(Safe, `{"v":{"type":"X"}}`)), at("A)", is(Safe, `{"result":{"type":"Y"}}`))},
	},
	{
		"variant-removed", "A(v V)\ntype V sum X; *Y\ntype X struct\ntype Y struct", "A(v V)\ntype V sum X\ntype X struct", "break V.Y: removed [variant-removed]",
		[]proof{at("A(", is(Break, `{"v":{"type":"Y"}}`))},
	},
	{
		"variant-removed", "A() V\ntype V sum X; *Y\ntype X struct\ntype Y struct", "A() V\ntype V sum X\ntype X struct", "source V.Y: removed [variant-removed]",
		[]proof{at("A)", is(Source, `{"result":{"type":"X"}}`))},
	},
	{
		"variant-pointer", "A(v V) V\ntype V sum X\ntype X struct N int", "A(v V) V\ntype V sum *X\ntype X struct N int", "source V.X: X → *X [variant-pointer]",
		[]proof{at("A(", is(Source, `{"v":{"type":"X","N":1}}`)), at("A)", is(Source, `{"result":{"type":"X","N":1}}`))},
	},
	{
		"id-exchanged", "A(v V)\ntype V sum X; Y\ntype X struct\ntype Y struct", "A(v V)\ntype V sum X@2; Y@1\ntype X struct\ntype Y struct",
		"break V.X: has the id that Y had [id-exchanged]\nbreak V.Y: has the id that X had [id-exchanged]\n" +
			"source V.X: X → Y [type-renamed]\nsource V.Y: Y → X [type-renamed]",
		[]proof{at("A(", means(`{"v":{"type":"X"}}`))},
	},
	{
		"type-renamed", "A(v V)\ntype V sum X\ntype X struct N int", "A(v V)\ntype V sum Y@1\ntype Y struct N int", "source V.X: X → Y [type-renamed]",
		[]proof{at("A(", is(Source, `{"v":{"type":"X","N":1}}`))},
	},
	// What nothing leads to does not count.
	{"", "A()\n" + user, "A()\ntype User sum X\ntype X struct", "", []proof{at("A", is(Safe, ""))}},
	// Both directions.
	{
		"becomes-optional", "A(u User) User\n" + user, "A(u User) User\ntype User struct Name *string; Age int8", "break User.Name: string → *string [becomes-optional]",
		[]proof{at("A(", is(Source, `{"u":{"Name":"x"}}`)), at("A)", is(Break, `{"result":{"Name":null}}`))},
	},

	// Errors and the rest.
	{"error-added", "A()", "A()\nerror User\n" + user, "safe User: error added [error-added]", []proof{at("A", is(Safe, ""))}},
	{"error-removed", "A()\nerror User\n" + user, "A()\n" + user, "break User: error removed [error-removed]", []proof{at("User!", is(Break, `{"Name":"x"}`))}},
	{"error-pointer", "error User\n" + user, "error *User\n" + user, "source User: User → *User [error-pointer]", []proof{at("User!", is(Source, `{"Name":"x"}`))}},
	{"error-pointer", "error *User\n" + user, "error User\n" + user, "source User: *User → User [error-pointer]", []proof{at("User!", is(Source, `{"Name":"x"}`))}},
	{"serves-renamed", "A()", "serves Accounts\nA()", "source Users: Users → Accounts [serves-renamed]", []proof{at("A", is(Source, ""))}},
	{"doc", "A()", "doc Other.\nA()", "safe Users: comments changed [doc]", []proof{at("A", is(Safe, ""))}},
}

func TestCompareRows(t *testing.T) {
	for _, row := range rows {
		t.Run(row.rule+"/"+strings.ReplaceAll(row.old+" to "+row.new, "\n", "; "), func(t *testing.T) {
			old := lined(t, nil, row.old)
			now := lined(t, old, row.new)
			changes := Compare(old, now)
			wellFormed(t, changes)
			if got := strings.TrimSpace(told(changes)); got != row.want {
				t.Errorf("got\n%s\nwant\n%s", got, row.want)
			}
			if row.rule != "" && !strings.Contains(row.want, "["+row.rule+"]") {
				t.Errorf("the row is not about %s", row.rule)
			}
			for _, p := range row.proofs {
				p.check(t, old, now)
			}
		})
	}
}

func (p proof) check(t *testing.T, old, now *Genome) {
	t.Helper()
	name := strings.TrimRight(p.at, "()!")
	o, n := old.Method(name), now.Method(name)
	switch {
	case p.at == "words":
		p.recompile(t, old, now)
	case strings.HasSuffix(p.at, "("):
		p.sends(t, crossing{old, now, toProvider}, &o.Request, &n.Request)
	case strings.HasSuffix(p.at, ")"):
		p.sends(t, crossing{old, now, toCaller}, &o.Result, &n.Result)
	case strings.HasSuffix(p.at, "!"):
		data, err := encodeObject(now, now.Type(name).Struct, asValue(t, p.send))
		if err != nil {
			t.Fatal(err)
		}
		_, there := errorOf(now, name)
		if _, err := DecodeError(old, name, data); err != nil || there == (p.verdict == Break) {
			t.Errorf("%s: old callers get %v, the new genome has it: %v", p.verdict, err, there)
		}
	default:
		reached := n != nil && n.ID == o.ID && form(o) == form(n)
		if reached == (p.verdict == Break) {
			t.Errorf("%s, but %s is reached: %v", p.verdict, name, reached)
		}
	}
}

func errorOf(g *Genome, name string) (Error, bool) {
	for _, e := range g.Errors {
		if e.Name == name {
			return e, true
		}
	}
	return Error{}, false
}

// sends is as prove, for one value that may have blanks.
func (p proof) sends(t *testing.T, x crossing, o, n *Message) {
	t.Helper()
	lost := x.send(o, n, asValue(t, p.send))
	if lost != nil && strings.HasPrefix(lost.Error(), "the sender's") {
		t.Fatal(lost)
	}
	if (lost != nil) != (p.verdict == Break && !p.meaning) {
		t.Errorf("%s, in meaning: %v, and sending shows %v", p.verdict, p.meaning, lost)
	}
}

// recompile makes a call whose arguments stay in their order with the new genome: either it is refused, as by a compiler,
// or, when values are exchanged, other bytes come out.
func (p proof) recompile(t *testing.T, old, now *Genome) {
	t.Helper()
	words := strings.Fields(p.send)
	was, err := EncodeWords(old, &old.Methods[0], words)
	if err != nil {
		t.Fatal(err)
	}
	is, err := EncodeWords(now, &now.Methods[0], words)
	if p.verdict == Break && (err != nil || bytes.Equal(was, is)) {
		t.Errorf("the values are not exchanged: %x %v", is, err)
	}
	if p.verdict != Break && err == nil {
		t.Errorf("it compiles: %x", is)
	}
}

func TestCompareUsesEveryRule(t *testing.T) {
	produced := map[string]bool{}
	note := func(old, now string) {
		was := lined(t, nil, old)
		for _, c := range Compare(was, lined(t, was, now)) {
			produced[c.ID] = true
		}
	}
	for _, r := range rows {
		note(r.old, r.new)
	}
	for _, r := range typeRows {
		note("M(v "+r.old+")\n"+r.decl, "M(v "+r.new+")\n"+r.decl)
	}
	for _, r := range rules {
		if !produced[r.id] {
			t.Errorf("no case of a table has the rule %s", r.id)
		}
		if r.request.why == "" && r.result.why == "" || r.change == "" {
			t.Errorf("the rule %s has no side", r.id)
		}
	}
	if len(ruleByID) != len(rules) {
		t.Error("two rules have one id")
	}
}

func TestCompareOfTheSame(t *testing.T) {
	g := sample(t)
	if c := Compare(g, g); len(c) > 0 {
		t.Errorf("a genome differs from itself:\n%s", told(c))
	}
	for _, r := range rows {
		g := lined(t, nil, r.old)
		if c := Compare(g, g); len(c) > 0 {
			t.Errorf("%s: it differs from itself:\n%s", r.old, told(c))
		}
	}
}

func TestCompareSeesComments(t *testing.T) {
	lines := "A(n int) (r int)\nB() in int out int\ntype C int Red=0\n" + user + "\ntype V sum User"
	for name, comment := range map[string]func(g *Genome) *string{
		"genome":    func(g *Genome) *string { return &g.Doc },
		"method":    func(g *Genome) *string { return &g.Methods[0].Doc },
		"parameter": func(g *Genome) *string { return &g.Methods[0].Request.Fields[0].Doc },
		"result":    func(g *Genome) *string { return &g.Methods[0].Result.Fields[0].Doc },
		"in":        func(g *Genome) *string { return &g.Methods[1].In.Fields[0].Doc },
		"out":       func(g *Genome) *string { return &g.Methods[1].Out.Fields[0].Doc },
		"type":      func(g *Genome) *string { return &g.Type("User").Doc },
		"field":     func(g *Genome) *string { return &g.Type("User").Struct.Fields[1].Doc },
		"variant":   func(g *Genome) *string { return &g.Type("V").Sum.Fields[0].Doc },
		"constant":  func(g *Genome) *string { return &g.Type("C").Values[0].Doc },
	} {
		old := lined(t, nil, lines)
		now := lined(t, old, lines)
		*comment(now) = "Other."
		if got := told(Compare(old, now)); got != "safe Users: comments changed [doc]\n" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestCompareNamesUses holds what tools look for in source.
func TestCompareNamesUses(t *testing.T) {
	old := lined(t, nil, "A(n int) (r int)\nB()\nerror E\ntype E struct X int\ntype C int Red=0\ntype V sum W\ntype W struct X int\nD(c C, v V)")
	now := lined(t, old, "A(n string) (r string)\nerror E\ntype E struct X string\ntype C int Red=1\ntype V sum *W\ntype W struct X int\nD(c C, v V)")
	want := map[string][3]string{
		"Users.A(n)": {"A", "", ""}, "Users.A → r": {"A", "", ""}, "Users.B": {"B", "", ""}, "E.X": {"", "E", "X"},
		"C.Red": {"", "C", ""}, "V.W": {"", "W", ""},
	}
	changes := Compare(old, now)
	for _, c := range changes {
		if got := [3]string{c.Method, c.Type, c.Field}; got != want[c.Where] {
			t.Errorf("%s: %q", c.Where, got)
		}
	}
	if len(changes) != len(want) {
		t.Errorf("%d changes:\n%s", len(changes), told(changes))
	}
}

// TestCompareEnds has two rings of types of lengths without a common factor, each of which replaces each.
func TestCompareEnds(t *testing.T) {
	ring := func(prefix string, n int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "A(v %s0)\n", prefix)
		for i := range n {
			fmt.Fprintf(&b, "type %s%d struct N *%s%d\n", prefix, i, prefix, (i+1)%n)
		}
		return b.String()
	}
	old := lined(t, nil, ring("P", 1000))
	if c := Compare(old, lined(t, nil, ring("Q", 1000))); Worst(c) != Source || len(c) != 1001 {
		t.Errorf("%d changes, %s", len(c), Worst(c))
	}
	if c := Compare(old, lined(t, nil, ring("Q", 1001))); Worst(c) != Break {
		t.Errorf("%d changes, %s: beyond what is looked at types count as different", len(c), Worst(c))
	}
}

func BenchmarkCompare(b *testing.B) {
	var text, more strings.Builder
	for i := range 50 {
		fmt.Fprintf(&text, "M%d(a int, u T%d, l []string) (ok bool, v T%d)\ntype T%d struct X int; Y string; Next *T%d; M map[string]T%d\n", i, i, (i+1)%50, i, (i+2)%50, (i+3)%50)
		fmt.Fprintf(&more, "M%d(a int, u T%d, l []string) (ok bool, v T%d)\ntype T%d struct X int; Y *string; Next *T%d; M map[string]T%d; Z%d int\n", i, i, (i+1)%50, i, (i+2)%50, (i+3)%50, i)
	}
	old := lined(b, nil, text.String())
	now := lined(b, old, more.String())
	for b.Loop() {
		Compare(old, now)
	}
}
