package gen

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cell-network/cell/sdk/genome"
)

// construct is a row of docs/types.md: source in which the served type S has a method F, and declarations besides.
type construct struct {
	f    string // of the method, what follows "F("; "" when it takes a v of the type typ
	typ  string
	more string // one declaration a line
	json string // a value of v
	bad  string // one that is refused
	note string
}

// carried are the types. Each value goes through the genome that the extractor makes, to bytes and back.
var carried = []construct{
	{typ: "bool", json: `true`, bad: `1`},
	{typ: "int", json: `-3`, bad: `1.5`, note: "64 bits everywhere"},
	{typ: "int8", json: `-128`, bad: `128`},
	{typ: "int16", json: `300`, bad: `32768`},
	{typ: "int32", json: `-1`, bad: `2147483648`, note: "also `rune`"},
	{typ: "int64", json: `9007199254740993`, bad: `9223372036854775808`, note: "a text such as `\"3\"` is taken for a whole number, since JavaScript's are exact to 2^53 only"},
	{typ: "uint", json: `3`, bad: `-1`, note: "64 bits everywhere"},
	{typ: "uint8", json: `255`, bad: `256`, note: "also `byte`"},
	{typ: "uint16", json: `65535`, bad: `65536`},
	{typ: "uint32", json: `1`, bad: `4294967296`},
	{typ: "uint64", json: `18446744073709551615`, bad: `18446744073709551616`},
	{typ: "float32", json: `1.5`, bad: `1e39`},
	{typ: "float64", json: `"NaN"`, bad: `"x"`, note: "`\"+Inf\"` and `\"-Inf\"` likewise"},
	{typ: "string", json: `"Ada"`, bad: `1`, note: "UTF-8; anything else is refused where it is read"},
	{typ: "[]byte", json: `"AAH/"`, bad: `"?"`, note: "base64 in JSON"},
	{typ: "time.Time", json: `"2026-01-02T15:04:05.5Z"`, bad: `"noon"`, note: "an instant to the nanosecond; zone and monotonic clock stay behind"},
	{typ: "time.Duration", json: `"1m30s"`, bad: `90`, note: "nanoseconds on the wire"},
	{typ: "json.RawMessage", json: `{"any":["thing"]}`, note: "checked to be one text of JSON"},
	{typ: "*string", json: `"x"`, note: "optional: nil is `null` and not on the wire"},
	{typ: "*[]int64", json: `[]`, note: "tells nil from empty, which a list or a map alone does not"},
	{typ: "[]int64", json: `[1,-1]`, bad: `1`, note: "numbers are packed"},
	{typ: "[]string", json: `["a","b"]`, note: "empty and nil are the same: nothing on the wire"},
	{typ: "[][]int8", json: `[[],[1,-1]]`, note: "a list within a list, a map or an optional is a message of its own"},
	{typ: "[3]int16", json: `[1,2,3]`, bad: `[1,2]`},
	{typ: "[4]byte", json: `"AAECAw=="`, bad: `"AA=="`, note: "base64 in JSON"},
	{typ: "map[string]int64", json: `{"a":1}`, note: "keys: texts, integers, bools, durations and names for them"},
	{typ: "map[int32]bool", json: `{"-1":true}`, bad: `{"x":true}`, note: "keys are texts in JSON"},
	{typ: "Name", more: "type Name = string", json: `"Ada"`, note: "an alias is what it stands for"},
	{typ: "ID", more: "type ID int64", json: `7`, note: "callers get the type under its name"},
	{
		typ: "Color", more: "type Color string\nconst Red, Blue Color = \"red\", \"blue\"", json: `"green"`,
		note: "callers get the exported constants; values without a name are allowed",
	},
	{typ: "Limit", more: "type Limit time.Duration", json: `90`, note: "a type of its own with a number in it: write `time.Duration` for `\"1m30s\"`"},
	{
		typ: "Pos", more: "type Pos struct{ X, Y int32 }", json: `{"X":1,"Y":-1}`, bad: `{"Z":1}`,
		note: "every field is exported; tags such as `json:\"x\"` mean nothing; what JSON leaves out is zero",
	},
	{
		typ: "Spot", more: "type Spot struct { Pos; Name string }\ntype Pos struct{ X, Y int32 }", json: `{"Pos":{"X":1,"Y":2},"Name":"here"}`,
		note: "embedded for callers, too, `*Pos` likewise; a field of that name in JSON and on the wire",
	},
	{
		typ: "Shape", more: "type Shape interface{ isShape() }\ntype Circle struct{ R float64 }\ntype Square struct{ Side int32 }\n" +
			"func (Circle) isShape() {}\nfunc (*Square) isShape() {}", json: `{"type":"Square","Side":2}`, bad: `{"type":"Line"}`,
		note: "a sum: an interface with a method without a capital letter, and the structs of its package that implement it; a variant that a caller does not know is an `UnknownShape`",
	},
	{
		typ: "Page[Pos]", more: "type Page[T any] struct { Items []T; Next *int }\ntype Pos struct{ X, Y int32 }", json: `{"Items":[{"X":1,"Y":2}],"Next":null}`,
		note: "callers get a type `PagePos`",
	},
	{
		typ: "Dir", more: "type Dir struct { Name string; Dirs []Dir; Up *Dir }", json: `{"Name":"a","Dirs":[{"Name":"b","Dirs":[],"Up":null}],"Up":null}`,
		note: "a type contains itself through a list, a map, an optional or a sum; at most 64 deep",
	},
	{typ: "Tree", more: "type Tree []Tree", json: `[[],[[]]]`},
}

// methods are the forms of a method.
var methods = []construct{
	{f: "ctx context.Context, a, b int64) (int64, error)", note: "deadline, cancellation, trace id and priority go with `ctx`"},
	{f: "ctx context.Context, a int64) int64", note: "callers always get an error: the call itself can fail"},
	{f: "ctx context.Context, id string) (name string, age int, err error)", note: "on the wire parameters and results have ids, which stay with their names"},
	{f: "ctx context.Context) error", note: "answered when it is done"},
	{f: "ctx context.Context, what string)", note: "an event, for it has no result: the caller's error says only that it could not be sent"},
	{f: "ctx context.Context, more ...int64) int64", note: "a list on the wire"},
	{f: "ctx context.Context, n int) iter.Seq2[string, error]", note: "a stream to the caller; who breaks the loop cancels `ctx` here; slow callers hold it back"},
	{f: "ctx context.Context, n int) (iter.Seq2[string, error], error)", note: "the same, with a place for an error before the first item"},
	{f: "ctx context.Context, id string, parts iter.Seq2[[]byte, error]) (int, error)", note: "a stream from the caller, behind the other parameters"},
	{f: "ctx context.Context, in iter.Seq2[int, error]) iter.Seq2[int, error]", note: "both ways at once"},
	{
		f: "ctx context.Context) error", more: "var Orders sdk.Topic[string]",
		note: "a topic: `Orders.Publish(\"x\")` here; who is 256 items behind misses the oldest and gets a `*sdk.Missed`",
	},
}

// failures are error types: exported structs of the package of the served type.
var failures = []construct{
	{f: "ctx context.Context) error", more: "type Taken struct{ Name string }\nfunc (e *Taken) Error() string { return \"taken\" }"},
	{f: "ctx context.Context) error", more: "type Late struct{ By time.Duration }\nfunc (e Late) Error() string { return \"late\" }"},
}

// refused are constructs for which there is no genome.
var refused = []construct{
	{f: "ctx context.Context, v chan int) error", note: "a stream"},
	{f: "ctx context.Context, v func()) error", note: "a stream, or a topic"},
	{f: "ctx context.Context, v any) error", note: "a sum, or `json.RawMessage`"},
	{f: "ctx context.Context, v map[string]any) error", note: "`json.RawMessage`"},
	{f: "ctx context.Context, v Shape) error", more: "type Shape interface{ Area() float64 }", note: "a method such as `isShape()`"},
	{f: "ctx context.Context, v Shape) error", more: "type Shape interface{ isShape() }", note: "structs with that method"},
	{f: "ctx context.Context, v Shape) error", more: "type Shape interface{ isShape() }\ntype Side int\nfunc (Side) isShape() {}", note: "`struct{ Side int }`"},
	{f: "ctx context.Context, v Shape) error", more: "type Shape interface{ isShape() }\ntype dot struct{}\nfunc (dot) isShape() {}", note: "`Dot`"},
	{
		f: "ctx context.Context, v Shape) error", note: "a struct with why",
		more: "type Shape interface{ isShape() }\ntype Bad struct{}\nfunc (Bad) isShape() {}\nfunc (Bad) Error() string { return \"\" }",
	},
	{
		f: "ctx context.Context, v Shape) error", note: "a struct for each",
		more: "type Shape interface{ isShape() }\ntype Dot struct{}\nfunc (Dot) isShape() {}\ntype Any[T any] struct{ Of T }\nfunc (Any[T]) isShape() {}",
	},
	{f: "ctx context.Context, v Stamp) error", more: "type Stamp time.Time", note: "`time.Time`"},
	{f: "ctx context.Context) (int, *Late)", more: "type Late struct{}\nfunc (*Late) Error() string { return \"\" }", note: "`(int, error)`"},
	{f: "n int, ctx context.Context) error", note: "`ctx` in front"},
	{f: "ctx context.Context) error", more: "var Orders = new(sdk.Topic[string])", note: "`var Orders sdk.Topic[string]`"},
	{f: "ctx context.Context, v complex128) error", note: "a struct of two floats"},
	{f: "ctx context.Context, v uintptr) error", note: "`uint64`"},
	{f: "ctx context.Context, v **int) error", note: "`*int`"},
	{f: "ctx context.Context, v P) error", more: "type P *int", note: "`*int`"},
	{f: "ctx context.Context, v struct{ X int }) error", note: "`type Pos struct{ X int }`"},
	{f: "ctx context.Context, v pos) error", more: "type pos struct{ X int }", note: "`Pos`"},
	{f: "ctx context.Context, v Pos) error", more: "type Pos struct{ X, y int }", note: "`Y`, or a type without it"},
	{f: "ctx context.Context, v Pos) error", more: "type Pos struct{ base }\ntype base struct{ X int }", note: "`Base`"},
	{f: "ctx context.Context, v Job) error", more: "type Job struct{ Steps []map[string]*Step }\ntype Step struct{ Done chan bool }", note: "the place is told, however deep"},
	{f: "ctx context.Context, v map[float64]int) error", note: "a list of pairs"},
	{f: "ctx context.Context, v map[Pos]int) error", more: "type Pos struct{ X int }", note: "a list of pairs"},
	{f: "ctx context.Context, v sub.Pos) error", note: "a declaration there"},
	{f: "ctx context.Context, v net.IP) error", note: "`string`, `[]byte` or a struct"},
	{f: "ctx context.Context, v *big.Int) error", note: "`string`"},
	{f: "ctx context.Context, v io.Reader) error", note: "`iter.Seq2[[]byte, error]`"},
	{f: "ctx context.Context, v [70000]int) error", note: "a list"},
	{f: "ctx context.Context, err error) error", note: "an error type of the cell, which is a struct"},
	{f: "ctx context.Context) (error, int)", note: "`(int, error)`"},
	{f: "ctx context.Context) iter.Seq[int]", note: "`iter.Seq2[int, error]`"},
	{f: "ctx context.Context) iter.Seq2[string, int]", note: "a stream of a struct with both"},
	{f: "ctx context.Context, in iter.Seq2[int, error], n int) error", note: "`n` in front"},
	{f: "ctx context.Context) (n int, s iter.Seq2[int, error])", note: "`n` as an item or by another method"},
	{f: "ctx context.Context, in []iter.Seq2[int, error]) error", note: "a method that is called more than once"},
	{f: "ctx context.Context, t sdk.Topic[int]) error", note: "`var T sdk.Topic[int]`"},
	{f: "ctx context.Context) error", more: "var F sdk.Topic[int]", note: "another name"},
	{f: "ctx context.Context) error", more: "type Failed struct{ Err error }\nfunc (*Failed) Error() string { return \"\" }", note: "`Why string`"},
	{f: "ctx context.Context, _ int, p1 string) error", note: "a name: unnamed ones are `p1`, `p2` and `r1`, `r2`"},
	{f: "ctx context.Context) error", more: "func (S) CellBuild(ctx context.Context) error { return nil }", note: "another name; `CellClient` is taken, too"},
	{f: "ctx context.Context, s S) error", note: "a type of its own"},
	{f: "ctx context.Context, d Dial) error", more: "type Dial struct{}", note: "another name; `Cell` is taken, too"},
	{f: "ctx context.Context, a Page[V], b PageV) error", more: "type Page[T any] struct{ Of T }\ntype V struct{}\ntype PageV struct{}", note: "another name"},
}

// ignored are constructs that a genome does not have, and that nobody is told of.
var ignored = []construct{
	{f: "ctx context.Context) error", more: "func (S) Close() error { return nil }", note: "not served: the first parameter of what is served is a context"},
	{f: "ctx context.Context) error", more: "func (S) hidden(ctx context.Context) error { return nil }", note: "not served: no capital letter"},
	{
		f: "ctx context.Context) error", more: "var ErrGone = errors.New(\"gone\")",
		note: "callers get a `*sdk.RemoteError`, and its text stays in the provider's journal, as that of any error that is no exported struct of this package",
	},
	{f: "ctx context.Context) error", more: "type Code int\nfunc (Code) Error() string { return \"\" }", note: "the same: no struct"},
	{f: "ctx context.Context) error", more: "type late struct{}\nfunc (late) Error() string { return \"\" }", note: "the same: no capital letter"},
	{f: "ctx context.Context) error", more: "type Unused struct{ Ch chan int }", note: "a type that no method leads to stays here"},
}

// source is the program of a row. It imports what its types look like.
func (c construct) source() string {
	f := c.f
	if f == "" {
		f = "ctx context.Context, v " + c.typ + ") error"
	}
	text := service(f, c.more+"\n")
	for _, path := range []string{"encoding/json", "errors", "github.com/cell-network/cell/t/sub", "io", "iter", "math/big", "net", "time"} {
		if strings.Contains(f+c.more, filepath.Base(path)+".") {
			text = strings.Replace(text, "\"context\"\n", "\"context\"\n\t\""+path+"\"\n", 1)
		}
	}
	return text
}

// written is the row's source as the document shows it.
func (c construct) written() string {
	var lines []string
	if c.typ != "" && c.more == "" {
		lines = append(lines, c.typ)
	}
	if c.f != "" && (c.more == "" || c.f != "ctx context.Context) error") {
		lines = append(lines, "F("+strings.Replace(c.f, "ctx context.Context", "ctx", 1))
	}
	if c.more != "" {
		lines = append(lines, strings.Split(c.more, "\n")...)
	}
	for i, line := range lines {
		if strings.HasPrefix(line, "func ") {
			line, _, _ = strings.Cut(line, " {")
		}
		lines[i] = code(line)
	}
	return strings.Join(lines, "<br>")
}

func code(s string) string { return "`" + strings.ReplaceAll(s, "|", `\|`) + "`" }

var (
	place     = regexp.MustCompile(`^\S+\.go:\d+:\d+: `)
	parameter = regexp.MustCompile(`(?m)^  (.*) v = 1;`)
	procedure = regexp.MustCompile(`(?m)^  rpc (.*);$`)
	call      = regexp.MustCompile(`(?m)^func \(cell \*S\) ((?:F|Orders)\(.*) \{$`)
)

// TestTypesDoc generates docs/types.md from what the extractor makes of the tables above.
func TestTypesDoc(t *testing.T) {
	const file = "../../docs/types.md"
	dir := module(t)
	extract := func(c construct) (*genome.Genome, error) {
		put(t, dir, "main.go", c.source())
		s, err := Read(dir, "x", "1.0.0")
		if err != nil {
			return nil, err
		}
		return s.Genome, nil
	}
	must := func(c construct) *genome.Genome {
		t.Helper()
		g, err := extract(c)
		if err != nil {
			t.Fatalf("%s %s%s: %v", c.f, c.typ, c.more, err)
		}
		return g
	}
	only := func(what *regexp.Regexp, text string) string {
		t.Helper()
		at := what.FindAllStringSubmatch(text, -1)
		if len(at) == 0 {
			t.Fatalf("no %v in\n%s", what, text)
		}
		return at[len(at)-1][1]
	}

	var b bytes.Buffer
	b.WriteString(typesHead)
	for _, c := range carried {
		g := must(c)
		m := g.Method("F")
		data, err := genome.EncodeJSON(g, m, []byte(`{"v":`+c.json+`}`))
		if err != nil {
			t.Fatalf("%s: %v", c.typ, err)
		}
		back, err := genome.DecodeResults(g, &genome.Method{Result: m.Request}, data)
		if err != nil || string(back.JSON) != `{"v":`+c.json+`}` {
			t.Errorf("%s: %s became %s, %v", c.typ, c.json, back.JSON, err)
		}
		note := c.note
		if c.bad != "" {
			_, err := genome.EncodeJSON(g, m, []byte(`{"v":`+c.bad+`}`))
			if err == nil {
				t.Errorf("%s: %s is not refused", c.typ, c.bad)
				continue
			}
			if note != "" {
				note += "; "
			}
			note += "refused: " + code(strings.TrimPrefix(err.Error(), "v: "))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", c.written(), code(m.Request.Fields[0].Type.String()), code(only(parameter, string(genome.Proto(g)))),
			code(c.json), code(strings.TrimSpace(fmt.Sprintf("% x", data))), note)
	}

	b.WriteString(methodsHead)
	for _, c := range methods {
		g := must(c)
		source, err := emitClient(g, "x")
		if err != nil {
			t.Fatal(err)
		}
		called := strings.Replace(only(call, string(source)), "ctx context.Context", "ctx", 1)
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.written(), code(called), code(only(procedure, string(genome.Proto(g)))), c.note)
	}

	b.WriteString(failuresHead)
	for _, c := range failures {
		g := must(c)
		if len(g.Errors) != 1 {
			t.Fatalf("%s: %+v", c.more, g.Errors)
		}
		name := "x." + g.Errors[0].Name
		if g.Errors[0].Pointer {
			name = "*" + name
		}
		fmt.Fprintf(&b, "| %s | %s |\n", c.written(), code("errors.AsType["+name+"](err)"))
	}

	b.WriteString(refusedHead)
	for _, c := range refused {
		g, err := extract(c)
		if err == nil {
			t.Errorf("%s %s: not refused, but\n%s", c.f, c.more, genome.Text(g))
			continue
		}
		first, _, _ := strings.Cut(strings.ReplaceAll(err.Error(), dir+"/", ""), "\n")
		if !place.MatchString(first) {
			t.Errorf("%s %s: no place in %s", c.f, c.more, first)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.written(), code(place.ReplaceAllString(first, "")), c.note)
	}

	b.WriteString(ignoredHead)
	for _, c := range ignored {
		if g := must(c); len(g.Methods) != 1 || len(g.Types) != 0 || len(g.Errors) != 0 {
			t.Errorf("%s: not ignored, but\n%s", c.more, genome.Text(g))
		}
		fmt.Fprintf(&b, "| %s | %s |\n", c.written(), c.note)
	}

	if *update {
		put(t, ".", file, b.String())
	}
	if read(t, file) != b.String() {
		t.Errorf("%s is out of date: go test ./sdk/gen -run %s -update", file, t.Name())
	}
}

const typesHead = `# Which Go crosses between cells

Generated from what the extractor makes of each row (` + "`go test ./sdk/gen -run TestTypesDoc -update`" + `).

The types live in the cell that provides them, as ordinary Go; ` + "`cell build`" + ` writes them into its genome and into the packages of
its callers, with comments and under the same names. They may come from any package of the cell's own module. What cannot cross is an
error of ` + "`cell build`" + ` with its place.

JSON is what ` + "`cell use`" + `, the [HTTP door](http.md) and its OpenAPI speak; ` + "`refused`" + ` is what they say of a value that does not fit. The
column of protocol buffers is what ` + "`cell genome --proto`" + ` prints, and the bytes are the value as the field 1 of a message, as it is on the
wire ([protocol.md](protocol.md)). Who reads checks again: what does not fit fails the call with ` + "`*sdk.InvalidRequest`" + `, which names the
field.

## Types

| Go | genome | protocol buffers | JSON | bytes | |
|---|---|---|---|---|---|
`

const methodsHead = `
## Methods

Served are the exported methods of the type that ` + "`sdk.Main`" + ` gets whose first parameter is a ` + "`context.Context`" + `, those of what it
embeds too.

| the cell | its callers | protocol buffers | |
|---|---|---|---|
`

const failuresHead = `
## Errors

An exported struct with an ` + "`Error`" + ` method, in the package of the served type, crosses with its fields and its text, also from within
another error. The platform's own are ` + "`*sdk.Down`, `*sdk.Denied`, `*sdk.Overloaded`, `*sdk.Incompatible` and `*sdk.RemoteError`" + `.

| the cell | its callers |
|---|---|
`

const refusedHead = `
## What is refused

In front of each reason the file, line and column are told. Instead write what the last column says.

| Go | reason | instead |
|---|---|---|
`

const ignoredHead = `
## What stays behind without a word

| Go | |
|---|---|
`
