package genome

import (
	"flag"
	"go/ast"
	"go/format"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files of testdata/export anew")

// hostile is a comment that tries to get out of where it stands.
const hostile = "It ends */ here\r// and there\u2028rpc Evil(Evil) returns (Evil);\x00\x1b[31m\u202e\ufeff\r\n" +
	"+build ignore\n//go:build ignore\n\n - one\n - two\n\n# Title\n\n\tcode {\n*/ import \"C\"\n/* syntax = \"proto2\";\\"

// zoo is a genome with every kind, with streams, and with names that get in each other's way.
func zoo(t testing.TB) *Genome {
	structOf := func(texts ...string) *Message { m := message(t, texts...); return &m }
	base := func(s string) *Ref { r := ref(t, s); return &r }
	item := func(s string) *Message { return Item(ref(t, s)) }
	g := &Genome{
		Cell: "zoo", Version: "1.2.3", Serves: "Zoo", Doc: "Zoo serves every kind.\n\n" + hostile,
		Methods: []Method{
			{Name: "Echo", Doc: "Echo sends v back.", Request: message(t, "v All"), Result: message(t, "result All")},
			{Name: "Add", Doc: hostile, Request: message(t, "a int64", "b int64"), Result: message(t, "result int64")},
			{Name: "AddRequest", Request: message(t, "r AddRequest"), Result: message(t, "sum int64", "rest int64", "err bool")},
			{Name: "Names", Request: message(t, "ctx int", "items int", "käse string", "_ bool"), Result: message(t, "r1 int", "late *time")},
			{Name: "Pair", Request: message(t), Result: message(t, "a int8", "b string")},
			{Name: "Sum", Variadic: true, Request: message(t, "base int", "more []int"), Result: message(t, "result int")},
			{Name: "Tell", Doc: "Tell is an event.", OneWay: true, Request: message(t, "text string")},
			{Name: "Ticks", Doc: "Ticks is a stream.", Request: message(t, "every duration"), Out: item("Pos")},
			{Name: "Upload", Request: message(t, "name string"), In: item("bytes"), Result: message(t, "result int64")},
			{Name: "Collect", In: item("Pos")},
			{Name: "Chat", In: item("*string"), Out: item("[]string")},
			{Name: "Prices", Doc: "Prices is what things cost.", Topic: true, Out: item("map[string]float64")},
			{Name: "Clean", Doc: "Clean answers nothing but an error."},
		},
		Types: []Type{
			{Name: "All", Doc: "All has every kind.", Struct: structOf("B bool", "I int", "I8 int8", "I16 int16", "I32 int32", "I64 int64",
				"U uint", "U8 uint8", "U16 uint16", "U32 uint32", "U64 uint64", "F32 float32", "F64 float64", "S string", "Raw bytes",
				"D duration", "T time", "J json", "O *string", "OI *int8", "OP *Pos", "OL *[]int64", "OM *map[string]int", "OT *time",
				"OJ *json", "OA *[2]int", "OS *Shape", "OC *Color", "OIDs *IDs", "L []string", "LR []bytes", "L8 []int8", "LB []bool",
				"LF []float32", "LD []float64", "LL [][]int8", "LO []*Pos", "LP []Pos", "LT []time", "LDs []duration", "LC []Color", "LJ []json",
				"LM []map[string]int", "LA [][2]bool", "LS []Shape", "LIDs []IDs", "LOI []*int8", "A [3]int16", "AB [4]uint8", "AV [2]Level",
				"AL [2][]string", "AA [2][2]float32", "AP [1]*Pos", "AS [2]Shape", "A0 [0]int", "M map[string]Pos", "MI map[int32][]string",
				"MB map[bool]float64", "MC map[Color]*Pos", "MD map[duration]time", "MM map[uint8]map[string]int", "MA map[string][2]uint8",
				"MW map[Word]Shape", "MJ map[uint64]json", "C Color", "Word Word", "Ratio Ratio", "IDs IDs", "Table Table", "Tree Tree",
				"Grid Grid", "Digest Digest", "Next *All", "Sh Shape", "Clash Clash")},
			{Name: "AddRequest", Struct: structOf("A int64")},
			{Name: "CallError", Struct: structOf("Käse Ärger")},
			{Name: "Circle", Struct: structOf("R float64")},
			{Name: "Clash", Struct: structOf("User map[string]int", "Last UserEntry", "FooBar int", "Foo_Bar int", "Foobar int", "Google time",
				"Message string", "Option *bool", "Variant int", "UserIDs []int", "HTTPServer string", "X_ int", "OptionalPos map[string]int",
				"Other []*PosEntry")},
			{Name: "Color", Doc: "Color is open.", Base: base("int32"), Values: []Value{
				{"Red", "-1", "Red is like blood.\nOr not."}, {"Green", "+07", hostile},
			}},
			{Name: "Digest", Base: base("[32]uint8")},
			{Name: "Empty", Sum: &Message{}},
			{Name: "Grid", Doc: "Grid is an array.", Base: base("[2][2]int8")},
			{Name: "IDs", Doc: "IDs is a list.", Base: base("[]uint64")},
			{Name: "Int8List", Struct: structOf("Items []int8")},
			{Name: "Late", Doc: hostile, Struct: structOf("By duration", "At *Pos")},
			{Name: "Level", Base: base("uint8"), Values: []Value{{"Low", "0", ""}, {"High", "255", ""}}},
			{Name: "Lonely", Doc: "Lonely is used by none.", Base: base("[][]*Ratio")},
			{Name: "Missing", Struct: structOf()},
			{Name: "Pos", Doc: "Pos is a place.", Struct: structOf("X int32", "Y int32")},
			{Name: "PosEntry", Of: "Entry[Pos]", Struct: structOf("Pos Pos", "Square *Square")},
			{Name: "Ratio", Base: base("float64"), Values: []Value{{"Half", ".5", ""}, {"Much", "1e300", ""}}},
			{Name: "Shape", Doc: "Shape is round or not.", Sum: structOf("Circle Circle", "Square *Square", "Group Group", "Variant Variant")},
			{Name: "Group", Struct: structOf("In []Shape")},
			{Name: "Square", Struct: structOf("Side int32", "Type string")},
			{Name: "Table", Base: base("map[Word]IDs")},
			{Name: "Tree", Doc: "Tree contains itself.", Base: base("[]Tree")},
			{Name: "UserEntry", Struct: structOf("Name string")},
			{Name: "Variant", Struct: structOf()},
			{Name: "Word", Base: base("string"), Values: []Value{{"Hello", "hello \"you\"\n", ""}}},
			{Name: "Zoo", Struct: structOf("Name string")},
			{Name: "Ärger", Base: base("*int8").Elem},
		},
		Errors: []Error{{"Late", true}, {"Missing", false}},
	}
	for i := range g.Types {
		switch t := &g.Types[i]; t.Name {
		case "PosEntry":
			t.Struct.Fields[0].Embedded, t.Struct.Fields[1].Embedded = true, true
		case "Square":
			t.Struct.Fields[0].Doc = hostile
		}
	}
	g.Merge(nil)
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	return g
}

func calculator(t testing.TB) *Genome {
	data, err := os.ReadFile("../../examples/calculator/genome.json")
	if err != nil {
		t.Fatal(err)
	}
	g, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// golden compares with a file of testdata/export.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "export", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test ./sdk/genome -update writes it):\n%s", name, got)
	}
}

func TestGoldenExports(t *testing.T) {
	for name, g := range map[string]*Genome{"calculator": calculator(t), "zoo": zoo(t)} {
		for range 2 { // the second time must be as the first
			golden(t, name+".go.txt", Text(g))
			golden(t, name+".proto", string(Proto(g)))
			golden(t, name+".openapi.json", string(OpenAPI(g)))
		}
	}
}

const imports = "package p\n\nimport (\n\"context\"\n\"encoding/json\"\n\"iter\"\n\"time\"\n)\n\n" +
	"var _ context.Context\nvar _ json.RawMessage\nvar _ iter.Seq[int]\nvar _ time.Time\n\n"

// parseText parses what Text wrote, and demands that gofmt has nothing to change.
func parseText(t *testing.T, text string) (*token.FileSet, *ast.File) {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "text.go", imports+text, parser.ParseComments)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if out, err := format.Source([]byte(text)); err != nil || string(out) != text {
		t.Errorf("gofmt would change it: %v\n%s", err, text)
	}
	return fset, f
}

func TestTextIsGo(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	for _, g := range []*Genome{calculator(t), zoo(t), sample(t), {Cell: "x", Serves: "X", Format: Format}} {
		text := Text(g)
		fset, f := parseText(t, text)
		conf := types.Config{Importer: importer.ForCompiler(fset, "source", nil)}
		pkg, err := conf.Check("p", fset, []*ast.File{f}, nil)
		if err != nil {
			t.Errorf("%v\n%s", err, text)
			continue
		}
		served := pkg.Scope().Lookup(g.Serves)
		if g.Type(g.Serves) != nil {
			served = pkg.Scope().Lookup(g.Serves + "2")
		}
		if n := served.Type().Underlying().(*types.Interface).NumMethods(); n != len(g.Methods) {
			t.Errorf("%d methods of %d", n, len(g.Methods))
		}
		for _, e := range g.Errors {
			var typ types.Type = pkg.Scope().Lookup(e.Name).Type()
			isError := types.Universe.Lookup("error").Type().Underlying().(*types.Interface)
			if types.Implements(typ, isError) == e.Pointer || !types.Implements(types.NewPointer(typ), isError) {
				t.Errorf("%s: pointer is %v", e.Name, e.Pointer)
			}
		}
		if strings.ContainsAny(text, "\x00\x1b\r\u202e\u2028\ufeff") {
			t.Error("a control character got through")
		}
	}
}
