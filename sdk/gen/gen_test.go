package gen

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/sdk/genome"
)

var update = flag.Bool("update", false, "write the expected files anew")

const head = `package main

import (
	"context"

	"github.com/cell-network/cell/sdk"
)

`

// service has a method F with these parameters and results, and more declarations.
func service(f, more string) string {
	return head + "type S struct{}\n\nfunc (S) F(" + f + " { panic(0) }\n\nfunc main() { sdk.Main(S{}) }\n\n" + more
}

func TestGolden(t *testing.T) {
	dir := module(t)
	if err := os.CopyFS(dir, os.DirFS("testdata/kinds")); err != nil {
		t.Fatal(err)
	}
	if _, err := Build(dir, "kinds", "0.1.0"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{Output, genome.File} {
		got, want := read(t, filepath.Join(dir, name)), filepath.Join("testdata/golden", name+".txt")
		if *update {
			put(t, ".", want, got)
		}
		if got != read(t, want) {
			t.Errorf("%s differs from %s; after looking at it: go test ./sdk/gen -update", name, want)
		}
	}
}

// The example's generated files are committed; they must be what Build makes today.
func TestExampleIsFresh(t *testing.T) {
	dir := module(t)
	const example = "../../examples/calculator"
	put(t, dir, "main.go", read(t, filepath.Join(example, "main.go")))
	put(t, dir, genome.File, read(t, filepath.Join(example, genome.File)))
	if _, err := Build(dir, "calculator", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{Output, genome.File} {
		if read(t, filepath.Join(dir, name)) != read(t, filepath.Join(example, name)) {
			t.Errorf("%s is not fresh: run cell build", name)
		}
	}
}

func TestSecondBuildChangesNothing(t *testing.T) {
	dir := module(t)
	put(t, dir, "main.go", service("ctx context.Context, a int) error", ""))
	build := func() {
		t.Helper()
		if _, err := Build(dir, "x", "1.0.0"); err != nil {
			t.Fatal(err)
		}
	}
	build()
	old := time.Now().Add(-time.Hour)
	for _, name := range []string{Output, genome.File} {
		if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	build()
	for _, name := range []string{Output, genome.File} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || !st.ModTime().Equal(old) {
			t.Errorf("%s was written again: %v", name, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("%v %v: something is left over", entries, err)
	}
}

func TestIDsStayAcrossBuilds(t *testing.T) {
	dir := module(t)
	steps := []struct{ f, more, want string }{
		{"ctx context.Context, a, b int, v V) error", "type V struct { X, Y, Z int }", "F=1(a=1 b=2 v=3) V(X=1 Y=2 Z=3)"},
		{"ctx context.Context, v V, b, a int) error", "type V struct { Z, Y, X int }\nfunc (S) A(context.Context) {}", "F=1(v=3 b=2 a=1) A=2() V(X=1 Y=2 Z=3)"},
		{"ctx context.Context, v V, a int) error", "type V struct { Z int }", "F=1(v=3 a=1) V(Z=3)"},
		{
			"ctx context.Context, v V, a int, b int) error", "type V struct { Y, Z int }\nfunc (S) A(context.Context) {}",
			"F=1(v=3 a=1 b=4) A=3() V(Z=3 Y=4)",
		},
	}
	for i, s := range steps {
		put(t, dir, "main.go", service(s.f, s.more))
		g, err := Build(dir, "x", "1.0.0")
		if err != nil {
			t.Fatal(err)
		}
		var parts []string
		for _, m := range g.Methods {
			parts = append(parts, spell(m.Name, m.ID, m.Request))
		}
		for _, typ := range g.Types {
			parts = append(parts, spell(typ.Name, 0, *typ.Struct))
		}
		if got := strings.Join(parts, " "); got != s.want {
			t.Errorf("step %d: %s, want %s", i, got, s.want)
		}
	}
}

func spell(name string, id uint32, m genome.Message) string {
	var fs []string
	for _, f := range m.Fields {
		fs = append(fs, f.Name+"="+string(rune('0'+f.ID)))
	}
	if id > 0 {
		name += "=" + string(rune('0'+id))
	}
	return name + "(" + strings.Join(fs, " ") + ")"
}

// Code that was made for other sources must not compile.
func TestStaleCodeDoesNotCompile(t *testing.T) {
	const types = "type V struct {\n\tX int\n\tC C\n}\n\ntype C int32\n\ntype E struct{ A int }\n\nfunc (e E) Error() string { return \"\" }\n"
	fresh := service("ctx context.Context, a int, v V) (int, error)", types)
	for _, tt := range []struct{ name, old, new, want string }{
		{"field", "X int", "X int\n\tNew string", "cannot convert v"},
		{"field's type", "X int", "X int64", "cannot convert v"},
		{"field's name", "X int", "Y int", "cannot convert v"},
		{"base", "type C int32", "type C int64", "cannot convert v"},
		{"error", "struct{ A int }", "struct{ A, B int }", "cannot convert v"},
		{"parameter", "a int, v V", "a int, v V, b bool", "S does not implement"},
		{"result", "(int, error)", "(int8, error)", "S does not implement"},
		{"method", ") F(", ") G(", "missing method F"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := module(t)
			put(t, dir, "main.go", fresh)
			if _, err := Build(dir, "x", "1.0.0"); err != nil {
				t.Fatal(err)
			}
			if out, err := goTool(t, dir, "build", "-o", os.DevNull, "."); err != nil {
				t.Fatal(out)
			}
			stale := strings.Replace(fresh, tt.old, tt.new, 1)
			if stale == fresh {
				t.Fatal("nothing was replaced")
			}
			put(t, dir, "main.go", stale)
			out, err := goTool(t, dir, "build", "-o", os.DevNull, ".")
			if err == nil || !strings.Contains(out, tt.want) {
				t.Errorf("%v %s, want %s", err, out, tt.want)
			}
		})
	}
}

// A served type is found however sdk.Main is reached, whatever else does not compile.
// What a cell serves may need little of what generated code usually imports.
func TestFewImports(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	for name, methods := range map[string]string{
		"nothing":      "func (S) F(ctx context.Context) error { return nil }\n",
		"an event":     "func (S) F(ctx context.Context) {}\n",
		"one way back": "func (S) F(ctx context.Context) (int, error) { return 0, nil }\n",
	} {
		dir := module(t)
		unpack(t, dir, head+"type S struct{}\n"+methods+"func main() { sdk.Main(S{}) }")
		g, err := Build(dir, "x", "1.0.0")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Client(dir, "x", g); err != nil {
			t.Fatal(err)
		}
		// Of package sdk there is too little here for it to compile.
		if out, _ := goTool(t, dir, "build", "-gcflags=-e", "./cells/..."); strings.Contains(out, "not used") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

func TestServed(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	const method = "func (*S) F(ctx context.Context, a int) error { return nil }\n"
	tests := []struct{ name, source string }{
		{"pointer", head + "type S struct{}\n" + method + "func main() { sdk.Main(&S{}) }"},
		{"alias", strings.Replace(head, `"github`, `c "github`, 1) + "type S struct{}\n" + method + "func main() { c.Main(&S{}) }"},
		{"dot", strings.Replace(head, `"github`, `. "github`, 1) + "type S struct{}\n" + method + "func main() { Main(&S{}) }"},
		{"helper", head + "type S struct{}\n" + method + "func main() { run() }\nfunc run() int { s, err := New(Unknown()); _ = err; sdk.Main(s) }\n" +
			"func New(x int) (*S, error) { return 1 }"},
		{"closure", head + "type S struct{}\n" + method + "func main() { func() { sdk.Main(new(S)) }() }"},
		{"broken elsewhere", head + "type S struct{ db *sql.DB }\n" + method + "func main() { sdk.Main(&S{db: open()}) }\nfunc x() { not.There() }\n" +
			"var y = cells.Client{}"},
		{"embedded", head + "type base struct{}\ntype S struct{ base }\nfunc (*base) F(ctx context.Context, a int) error { return nil }\n" +
			"func main() { sdk.Main(&S{}) }"},
		{"type alias", head + "type S struct{}\ntype T = *S\n" + method + "func main() { var t T; sdk.Main(t) }"},
		{"number", head + "type S int\n" + method + "func main() { s := S(1); sdk.Main(&s) }"},
		{
			"package below", strings.Replace(head, `"context"`, `"github.com/cell-network/cell/t/impl"`, 1) + "func main() { sdk.Main(impl.New(1)) }\n" +
				"-- impl/s.go --\npackage impl\n\nimport \"context\"\n\ntype S struct{}\nfunc (*S) F(ctx context.Context, a int) error { return nil }\n" +
				"func New(n int) *S { return &S{} }\n",
		},
		{"other systems and tests", head + "type S struct{}\n" + method + "func main() { sdk.Main(&S{}) }\n-- main_plan9.go --\n" + head +
			"func main() { sdk.Main(1) }\n-- tool.go --\n//go:build ignore\n\npackage tool\n-- main_test.go --\npackage main\n\nfunc broken( {"},
	}
	for _, tt := range tests {
		dir := module(t)
		unpack(t, dir, tt.source)
		g, err := Build(dir, "x", "1.0.0")
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if g.Serves != "S" || len(g.Methods) != 1 || genome.Signature(&g.Methods[0]) != "F(a int)" {
			t.Errorf("%s: %+v", tt.name, g)
		}
		if tt.name == "package below" {
			if out, err := goTool(t, dir, "build", "-o", os.DevNull, "."); err != nil {
				t.Errorf("%s: %s", tt.name, out)
			}
		}
	}
}

func TestDocs(t *testing.T) {
	dir := module(t)
	put(t, dir, "main.go", service("ctx context.Context, v V) error",
		"// V is a value.\n// It has two lines.\ntype V struct {\n\t// X is across.\n\tX int\n\tY C // down\n}\n\n"+
			"// C is a choice.\ntype C string\n\nconst (\n\t// Yes agrees.\n\tYes C = \"yes\"\n\tNo C = \"no\" // it does not\n)\n"))
	g, err := Build(dir, "x", "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	v, c := g.Type("V"), g.Type("C")
	got := []string{v.Doc, v.Struct.Fields[0].Doc, v.Struct.Fields[1].Doc, c.Doc, c.Values[0].Doc, c.Values[0].Value, c.Values[1].Doc}
	want := "V is a value.\nIt has two lines.|X is across.|down|C is a choice.|Yes agrees.|yes|it does not"
	if strings.Join(got, "|") != want {
		t.Errorf("%q", got)
	}
}

// BenchmarkRead makes the files of one cell: of an ordinary one, and of one that has everything and needs two packages of Go's
// own to be read for it.
func BenchmarkRead(b *testing.B) {
	for name, source := range map[string]string{"calculator": "../../examples/calculator", "kinds": "testdata/kinds"} {
		b.Run(name, func(b *testing.B) {
			dir := module(b)
			if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				s, err := Read(dir, name, "1.0.0")
				if err == nil {
					err = s.Write()
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkClient50 makes the packages through which 50 cells call one.
func BenchmarkClient50(b *testing.B) {
	g, err := genome.Parse([]byte(read(b, "../../examples/calculator/genome.json")))
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	for round := 0; b.Loop(); round++ {
		g.Version = fmt.Sprintf("1.0.%d", round) // every file changes
		for i := range 50 {
			if _, err := Client(filepath.Join(dir, fmt.Sprint(i)), "calculator", g); err != nil {
				b.Fatal(err)
			}
		}
	}
}
