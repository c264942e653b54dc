package genome

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

func ref(t testing.TB, s string) Ref {
	t.Helper()
	r, err := ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fields makes fields of "name type" texts.
func fields(t testing.TB, texts ...string) (fs []Field) {
	for _, s := range texts {
		name, typ, _ := strings.Cut(s, " ")
		fs = append(fs, Field{Name: name, Type: ref(t, typ)})
	}
	return fs
}

func message(t testing.TB, texts ...string) Message { return Message{Fields: fields(t, texts...)} }

// sample is a genome with every kind.
func sample(t testing.TB) *Genome {
	structOf := func(texts ...string) *Message { m := message(t, texts...); return &m }
	base := func(s string) *Ref { r := ref(t, s); return &r }
	g := &Genome{
		Cell: "sample", Version: "1.2.3", Serves: "Sample",
		Methods: []Method{
			{Name: "Add", Doc: "Add returns a plus b.", Request: message(t, "a int64", "b int64"), Result: message(t, "result int64")},
			{Name: "All", Request: message(t, "v All"), Result: message(t, "result All")},
			{
				Name: "Small", Request: message(t, "a int8", "b uint16", "c float32", "d bool", "e float64", "f uint8"),
				Result: message(t, "q int8", "r string"),
			},
			{Name: "Greet", Request: message(t, "name string", "polite *bool"), Result: message(t, "result string")},
			{Name: "Wait", Request: message(t, "d duration", "at time", "data bytes"), Result: message(t, "r1 duration", "r2 time", "r3 bytes")},
			{Name: "Sum", Variadic: true, Request: message(t, "base int", "more []int"), Result: message(t, "result int")},
			{Name: "Paint", Request: message(t, "c Color", "p Pos", "l []string", "m map[string]int8"), Result: message(t, "result Pos")},
			{Name: "DropTable", Request: message(t)},
		},
		Types: []Type{
			{Name: "All", Struct: structOf("B bool", "I int", "I8 int8", "U64 uint64", "F32 float32", "F64 float64", "S string",
				"Raw bytes", "D duration", "T time", "O *string", "OP *Pos", "OL *[]int64", "L []string", "LL [][]int8", "LO []*Pos",
				"M map[string]Pos", "MI map[int32][]string", "MB map[bool]float64", "MC map[Color]*Pos", "C Color", "IDs IDs",
				"Tree Tree", "Next *All", "Times []time", "Ds []duration", "Cs []Color")},
			{Name: "Color", Base: base("int32"), Values: []Value{{"Red", "0", ""}, {"Green", "1", "Green is the colour of grass."}}},
			{Name: "IDs", Base: base("[]uint64")},
			{Name: "Overflow", Struct: structOf("A int64", "B int64")},
			{Name: "Denied", Struct: structOf("Who string", "At *Pos")},
			{Name: "Pos", Struct: structOf("X int32", "Y int32")},
			{Name: "Tree", Base: base("[]Tree")},
		},
		Errors: []Error{{"Overflow", true}, {"Denied", false}},
	}
	g.Merge(nil)
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestRefText(t *testing.T) {
	for _, s := range []string{"bool", "uint64", "bytes", "time", "*Tick", "[]map[string][]*Pos", "map[Color]duration", "*[]int"} {
		if got := ref(t, s).String(); got != s {
			t.Errorf("%s: %s", s, got)
		}
	}
	for _, s := range []string{
		"", "chan int", "pos", "[]", "map[string]", "map[[]int]int", "map[string", "int ", "[x]int", "any", "*",
		strings.Repeat("[]", 40) + "int", strings.Repeat("x", 2000), "map[map[int]int]int", "invalid",
	} {
		if r, err := ParseRef(s); err == nil {
			t.Errorf("%.40q was read as %s", s, r)
		}
	}
}

func TestMarshalIsCanonical(t *testing.T) {
	g := sample(t)
	data, err := g.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := back.Marshal()
	if err != nil || !bytes.Equal(data, again) {
		t.Errorf("the second form differs: %v\n%s", err, again)
	}
	if back.FullHash() != g.FullHash() || back.WireHash() != g.WireHash() {
		t.Error("a hash changed")
	}
}

func TestHashes(t *testing.T) {
	base := sample(t)
	tests := []struct {
		name       string
		change     func(g *Genome)
		wire, full bool // whether they change
	}{
		{"version", func(g *Genome) { g.Version = "2.0.0" }, false, true},
		{"doc", func(g *Genome) { g.Methods[0].Doc = "Other." }, false, true},
		{"parameter's name", func(g *Genome) { g.Methods[0].Request.Fields[0].Name = "x" }, false, true},
		{"constant", func(g *Genome) { g.Type("Color").Values[0].Name = "Rot" }, false, true},
		{"order of parameters", func(g *Genome) { f := g.Methods[0].Request.Fields; f[0], f[1] = f[1], f[0] }, false, true},
		{"type of a parameter", func(g *Genome) { g.Methods[0].Request.Fields[0].Type.Kind = Int32 }, true, true},
		{"type of a field", func(g *Genome) { g.Type("Pos").Struct.Fields[0].Type.Kind = Int64 }, true, true},
		{"base", func(g *Genome) { g.Type("Color").Base.Kind = Int64 }, true, true},
		{"method's name", func(g *Genome) { g.Methods[0].Name = "Plus" }, true, true},
		{"error", func(g *Genome) { g.Errors = g.Errors[1:] }, true, true},
		{"nothing", func(*Genome) {}, false, false},
	}
	for _, tt := range tests {
		g := sample(t)
		tt.change(g)
		if err := g.Check(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got := g.WireHash() != base.WireHash(); got != tt.wire {
			t.Errorf("%s: the wire hash changed: %v", tt.name, got)
		}
		if got := g.FullHash() != base.FullHash(); got != tt.full {
			t.Errorf("%s: the full hash changed: %v", tt.name, got)
		}
	}
}

func ids(m Message) string {
	var parts []string
	for _, f := range m.Fields {
		parts = append(parts, fmt.Sprintf("%s=%d", f.Name, f.ID))
	}
	return strings.Join(parts, " ")
}

// Each step is merged with what the one before left.
func TestMergeKeepsIDs(t *testing.T) {
	var old *Genome
	steps := []struct {
		methods, request, fields string // by blanks
		want                     string
	}{
		{"A B", "a,int b,int", "X Y Z", "A=1 B=2 | a=1 b=2 | X=1 Y=2 Z=3"},
		{"B A", "b,int a,int", "Z Y X", "A=1 B=2 | b=2 a=1 | X=1 Y=2 Z=3"},
		{"A", "b,int", "X Z", "A=1 | b=2 | X=1 Z=3"},
		{"A B", "b,int a,int", "X Y Z", "A=1 B=3 | b=2 a=3 | X=1 Z=3 Y=4"},
		{"A", "key,int a,int", "X", "A=1 | key=2 a=3 | X=1"},               // same place and type: a new name
		{"A", "key,string a,int n,bool", "X", "A=1 | key=2 a=3 n=4 | X=1"}, // same name: the type changes, for the rules to judge
		{"A", "a,string other,string", "", "A=1 | a=3 other=5 | "},         // other has key's type, but not its place
		{"A", "a,string other,string", "X", "A=1 | a=3 other=5 | X=5"},     // the type comes back, its ids do not
	}
	for i, s := range steps {
		g := &Genome{}
		for _, name := range strings.Fields(s.methods) {
			g.Methods = append(g.Methods, Method{Name: name})
		}
		m := &g.Methods[0]
		if m.Name != "A" {
			m = &g.Methods[1]
		}
		for _, p := range strings.Fields(s.request) {
			m.Request.Fields = append(m.Request.Fields, fields(t, strings.Replace(p, ",", " ", 1))...)
		}
		if s.fields != "" {
			typ := Type{Name: "T", Struct: &Message{}}
			for _, f := range strings.Fields(s.fields) {
				typ.Struct.Fields = append(typ.Struct.Fields, fields(t, f+" int")...)
			}
			g.Types = append(g.Types, typ)
		}
		g.Merge(old)
		if err := g.Check(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		var names []string
		for _, m := range g.Methods {
			names = append(names, fmt.Sprintf("%s=%d", m.Name, m.ID))
		}
		got := strings.Join(names, " ") + " | " + ids(g.Method("A").Request) + " | "
		if typ := g.Type("T"); typ != nil {
			got += ids(*typ.Struct)
		}
		if got != s.want {
			t.Errorf("step %d: %s, want %s", i, got, s.want)
		}
		data, err := g.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if old, err = Parse(data); err != nil {
			t.Fatal(err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	data, err := sample(t).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	good := string(data)
	tests := []struct{ name, old, new, want string }{
		{"syntax", `"format": 1,`, "\"format\": 1,\n  ]", "3:3: invalid character"},
		{"format", `"format": 1`, `"format": 2`, "format 2 is not known, only 1: update cell"},
		{"unknown key", `"format": 1,`, `"format": 1, "extra": 1,`, "unknown field"},
		{"kind", `"type": "int8"`, `"type": "int9"`, `"int9" is not a type`},
		{"no kind", `"type": "int8"`, `"type": null`, "kind 0 is not known"},
		{"dangling", `"type": "Pos"`, `"type": "Nowhere"`, `the type "Nowhere" is not in the genome`},
		{"dangling key", `"type": "map[Color]*Pos"`, `"type": "map[Colour]*Pos"`, `"Colour" cannot be the key of a map`},
		{"bad key", `"type": "map[string]Pos"`, `"type": "map[float64]Pos"`, "float64 cannot be the key of a map"},
		{"struct key", `"type": "map[Color]*Pos"`, `"type": "map[Pos]*Pos"`, `"Pos" cannot be the key of a map`},
		{"two stars", `"type": "*string"`, `"type": "**string"`, "an optional of an optional"},
		{"contains itself", `"type": "*All"`, `"type": "All"`, "type All contains itself"},
		{"method id", `"id": 2,`, `"id": 1,`, "is there twice: give one of the two"},
		{"id 0", `"id": 1,`, `"id": 0,`, "id 0 is not between 1 and next"},
		{"next", `"next": 9`, `"next": 3`, "is not between 1 and next, 3"},
		{"negative", `"next": 9`, `"next": -9`, "cannot unmarshal"},
		{"name", `"name": "Add"`, `"name": "add"`, `method "add" is not a name`},
		{"control", `"name": "Add"`, `"name": "A\u001bdd"`, "is not a name"},
		{"twice", `"name": "Small"`, `"name": "Add"`, "method Add is there twice"},
		{"error", `"name": "Overflow",
      "pointer"`, `"name": "Color",
      "pointer"`, `error "Color" is not a struct`},
		{"base", `"base": "[]uint64"`, `"base": "Pos"`, "Pos cannot be a base"},
		{"trailing", "\n}\n", "\n}\n{}", "after top-level value"},
	}
	for _, tt := range tests {
		bad := strings.Replace(good, tt.old, tt.new, 1)
		if bad == good {
			t.Errorf("%s: nothing was replaced", tt.name)
		}
		if _, err := Parse([]byte(bad)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	if _, err := Parse(make([]byte, maxFile+1)); err == nil {
		t.Error("a file that is too long was read")
	}
}

func FuzzParse(f *testing.F) {
	data, err := sample(f).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	if data, err := os.ReadFile("../../examples/calculator/genome.json"); err == nil {
		f.Add(data)
	}
	f.Add([]byte(`{"format":1,"cell":"x","version":"","serves":"X","next":1,"methods":null,"types":[{"name":"T","base":"[]T"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := Parse(data)
		if err != nil {
			return
		}
		first, err := g.Marshal()
		if err != nil {
			return // too long when indented
		}
		back, err := Parse(first)
		if err != nil {
			t.Fatalf("what Marshal wrote is refused: %v\n%s", err, first)
		}
		if second, _ := back.Marshal(); !bytes.Equal(first, second) {
			t.Errorf("not canonical:\n%s\n%s", first, second)
		}
		// What a stranger's genome can make of words and answers must end.
		for i := range g.Methods {
			m := &g.Methods[i]
			_ = Signature(m)
			_, _ = DecodeResults(g, m, nil)
			_, _ = EncodeWords(g, m, []string{"{}", "1"})
		}
	})
}
