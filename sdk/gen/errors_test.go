package gen

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cell-network/cell/sdk/genome"
)

// In the wanted text DIR stands for the cell's directory. Line 11 is the method of service, more begins in line 15.
func TestErrors(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	const f = "type S struct{}\nfunc (S) F(context.Context) {}\n"
	iterates := func(f, more string) string {
		return strings.Replace(service(f, more), `"context"`, "\"context\"\n\t\"iter\"", 1)
	}
	tests := []struct{ name, source, want string }{
		{
			"no call", "package main\n\nfunc main() {}\n",
			"DIR/main.go:1:1: no call of sdk.Main; serve a type with:\n\tfunc main() { sdk.Main(Calculator{}) } // import \"" + sdkPath + `"`,
		},
		{"no source", "-- x.txt --\nhello", "DIR: no Go source for this system; serve a type with:"},
		{"another Main", "package main\n\nvar sdk struct{ Main func(int) }\n\nfunc main() { sdk.Main(1) }\n", "DIR/main.go:1:1: no call of sdk.Main"},
		{
			"two calls", head + f + "func main() { sdk.Main(S{}) }\nfunc other() { sdk.Main(S{}) }",
			"DIR/main.go:12:16: a second call of sdk.Main, the first is at DIR/main.go:11:15: a cell serves one type",
		},
		{
			"directive", head + "type S struct{}\n\n// F does.\n//\n//cell:repeat\nfunc (S) F(context.Context) error { return nil }\nfunc main() { sdk.Main(S{}) }",
			"DIR/main.go:13:1: F: //cell:repeat is not known: known is //cell:repeatable",
		},
		{
			"repeatable event", head + "type S struct{}\n\n//cell:repeatable\nfunc (S) F(context.Context) {}\nfunc main() { sdk.Main(S{}) }",
			"DIR/main.go:11:1: F: //cell:repeatable is for methods that answer once",
		},
		{"syntax", "package main\n\nfunc main( {\n", "DIR/main.go:3:12: "},
		{
			"two packages", head + f + "func main() { sdk.Main(S{}) }\n-- other.go --\npackage other\n",
			"DIR/other.go:1:9: package other, but DIR/main.go is package main: one directory holds one package",
		},
		{
			"interface", head + "type I interface{ F(context.Context) }\nfunc main() { var i I; sdk.Main(i) }",
			"DIR/main.go:10:33: sdk.Main cannot serve i: I is an interface; give it a value of a concrete type",
		},
		{
			"generic", head + "type B[T any] struct{}\nfunc (B[T]) F(context.Context) {}\nfunc main() { sdk.Main(B[int]{}) }",
			"DIR/main.go:11:24: sdk.Main cannot serve B[int]{}: B[int] is an instance of a generic type; declare a type of its own",
		},
		{
			"outside", head + "import \"time\"\nfunc main() { var t time.Time; sdk.Main(t) }",
			"DIR/main.go:10:41: sdk.Main cannot serve t: time.Time belongs to a package outside of the cell",
		},
		{
			"no capital", head + "type s struct{}\nfunc (s) F(context.Context) {}\nfunc main() { sdk.Main(s{}) }",
			"DIR/main.go:9:6: sdk.Main cannot serve s: callers get a type of that name, so it must start with a capital letter",
		},
		{"basic", head + "func main() { sdk.Main(1) }", "DIR/main.go:9:24: sdk.Main cannot serve 1 of type int: give it"},
		{"local", head + "func main() { type S struct{}; sdk.Main(S{}) }", "DIR/main.go:9:41: sdk.Main cannot serve S{}: declare the type S outside of a function"},
		{
			"unknown", head + "func main() { s := NewThing(); sdk.Main(s) }",
			"DIR/main.go:9:41: the type of s is not known\nDIR/main.go:9:20: undefined: NewThing",
		},
		{
			"pointer methods", head + "type S struct{}\nfunc (*S) F(context.Context) {}\nfunc main() { sdk.Main(S{}) }",
			"DIR/main.go:11:24: F has a pointer receiver (DIR/main.go:10:11): write sdk.Main(&S{…})",
		},
		{
			"no method", head + "type S struct{}\nfunc (S) Close() {}\nfunc main() { sdk.Main(S{}) }",
			"DIR/main.go:9:6: S has no method to serve: served are exported methods whose first parameter is a context.Context",
		},
		{"hidden type", service("ctx context.Context) error", "type string struct{}\n"), "DIR/main.go:15:6: the name string hides Go's own type"},

		{"chan", service("ctx context.Context, c chan int) error", ""), "DIR/main.go:11:33: F.c: cannot carry chan int: only values cross between cells"},
		{"func result", service("ctx context.Context) (f func(), err error)", ""), "DIR/main.go:11:34: F.f: cannot carry func(): only values"},
		{"any", service("ctx context.Context, v any) error", ""), "DIR/main.go:11:33: F.v: cannot carry any: "},
		{"complex", service("ctx context.Context, v complex128) error", ""), "DIR/main.go:11:33: F.v: cannot carry complex128: "},
		{"uintptr", service("ctx context.Context, v uintptr) error", ""), "DIR/main.go:11:33: F.v: cannot carry uintptr: "},
		{"long array", service("ctx context.Context, v [70000]int) error", ""), "DIR/main.go:13:15: F: request: v: [70000]int: an array has 0 to 65536"},
		{"two stars", service("ctx context.Context, v **int) error", ""), "DIR/main.go:11:33: F.v: cannot carry **int: a pointer to a pointer"},
		{"unnamed struct", service("ctx context.Context, v struct{ X int }) error", ""), "DIR/main.go:11:33: F.v: cannot carry a struct without a name"},
		{"unnamed parameter", service("context.Context, chan int) error", ""), "DIR/main.go:11:29: F.p1: cannot carry chan int"},
		{"error in front", service("ctx context.Context) (error, int)", ""), "DIR/main.go:11:34: F: an error must be the last result"},
		{"two errors", service("ctx context.Context) (error, error)", ""), "DIR/main.go:11:34: F: an error must be the last result"},
		{"error parameter", service("ctx context.Context, err error) error", ""), "DIR/main.go:11:33: F.err: cannot carry error: an error can only be the last result"},
		{"stream without errors", iterates("ctx context.Context) iter.Seq[int]", ""), "DIR/main.go:12:33: F: cannot carry iter.Seq[int]: a stream can break, so it is written iter.Seq2[T, error]"},
		{"stream of pairs", iterates("ctx context.Context) iter.Seq2[int, string]", ""), "DIR/main.go:12:33: F: cannot carry iter.Seq2[int, string]: a stream can break"},
		{"stream in front", iterates("ctx context.Context, s iter.Seq2[int, error], n int) error", ""), "DIR/main.go:12:33: F: a stream must be the last parameter"},
		{"stream and result", iterates("ctx context.Context) (n int, s iter.Seq2[int, error])", ""), "DIR/main.go:12:41: F: a stream must be the only result"},
		{"list of streams", iterates("ctx context.Context, s []iter.Seq2[int, error]) error", ""), "DIR/main.go:12:33: F.s[]: cannot carry iter.Seq2[int, error]: a stream can only be"},
		{"items", iterates("ctx context.Context) iter.Seq2[chan int, error]", ""), "DIR/main.go:12:33: F[]: cannot carry chan int"},
		{"topic as a parameter", service("ctx context.Context, s sdk.Topic[int]) error", ""), "DIR/main.go:11:33: F.s: cannot carry sdk.Topic[int]: a topic is a variable of the package"},
		{"topic", service("ctx context.Context) error", "var T sdk.Topic[chan int]\n"), "DIR/main.go:15:5: T: cannot carry chan int"},
		{"topic with a method's name", service("ctx context.Context) error", "var F sdk.Topic[int]\n"), "DIR/main.go:15:5: F: a method has the name of this topic"},
		{"generated name", strings.ReplaceAll(service("ctx context.Context) error", ""), " F(", " CellBuild("), "DIR/main.go:11:10: CellBuild: generated code has a method of this name"},
		{"served type crosses", service("ctx context.Context, s S) error", ""), "DIR/main.go:9:6: S crosses to callers, and there the name S means the cell itself"},
		{"reserved name", service("ctx context.Context, d Dial) error", "type Dial struct{}\n"), "DIR/main.go:15:6: Dial crosses to callers"},
		{"constant of a type's name", service("ctx context.Context, c C) error", "type C int\nconst Cell C = 1\n"), "DIR/main.go:16:7: Cell crosses to callers, and there the name Cell means the cell itself"},
		{"open interface", service("ctx context.Context, s I) error", "type I interface{ M() }\n"), "DIR/main.go:11:33: F.s: cannot carry I: it is an interface; only values cross between cells, or a closed set"},
		{"empty sum", service("ctx context.Context, s I) error", "type I interface{ isI() }\n"), "DIR/main.go:11:33: F.s: cannot carry I: no type implements it"},
		{"variant no struct", service("ctx context.Context, s I) error", "type I interface{ isI() }\ntype V int\nfunc (V) isI() {}\n"), "DIR/main.go:11:33: F.s: cannot carry I: V implements it and is no struct"},
		{"variant hidden", service("ctx context.Context, s I) error", "type I interface{ isI() }\ntype v struct{}\nfunc (v) isI() {}\n"), "DIR/main.go:16:6: F.s.(v): cannot carry v: callers in other cells need the type"},
		{"variant an error", service("ctx context.Context, s I) error", "type I interface{ isI() }\ntype V struct{}\nfunc (V) isI() {}\nfunc (V) Error() string { return \"\" }\n"), "DIR/main.go:11:33: F.s: cannot carry I: V is an error"},
		{
			"foreign", strings.Replace(service("ctx context.Context, a net.IP) error", ""), `"context"`, "\"context\"\n\t\"net\"", 1),
			"DIR/main.go:12:33: F.a: cannot carry net.IP: it does not belong to this module; declare a type of your own",
		},
		{
			"deep", service("ctx context.Context, j Job) error", "type Job struct {\n\tName string\n\tSteps []map[string]*Step\n}\n\ntype Step struct {\n\tDone chan bool\n}\n"),
			"DIR/main.go:21:2: F.j.Steps[][].Done: cannot carry chan bool: only values cross between cells",
		},
		{
			"foreign field", service("ctx context.Context, j Job) error", "type Job struct {\n\tRaw sql.RawBytes\n}\n"),
			"DIR/main.go:16:2: F.j.Raw: cannot carry sql.RawBytes: it is neither",
		},
		{
			"unexported field", service("ctx context.Context, j Job) error", "type Job struct {\n\tName string\n\tmu int\n}\n"),
			"DIR/main.go:17:2: F.j.mu: the field would not cross: start its name with a capital letter, or carry a type without it",
		},
		{
			"unexported type", service("ctx context.Context, j job) error", "type job struct{}\n"),
			"DIR/main.go:11:33: F.j: cannot carry job: callers in other cells need the type, so its name must start with a capital letter",
		},
		{"interface field", service("ctx context.Context, j I) error", "type I interface{ M() }\n"), "DIR/main.go:11:33: F.j: cannot carry I: it is an interface"},
		{"generic field", service("ctx context.Context, j P[chan int]) error", "type P[T any] struct{ V T }\n"), "DIR/main.go:11:33: F.j: cannot carry chan int"},
		{"two instances of a name", service("ctx context.Context, j P[V], k PV) error", "type P[T any] struct{ V T }\ntype V struct{}\ntype PV struct{}\n"), "DIR/main.go:11:41: F.k: cannot carry PV: DIR/main.go:15:6 is another type of that name"},
		{"map key", service("ctx context.Context, m map[float64]int) error", ""), "DIR/main.go:11:33: F.m: cannot carry map[float64]int: the key of a map must be"},
		{"pointer type", service("ctx context.Context, p P) error", "type P *int\n"), "DIR/main.go:11:33: F.p: cannot carry P: it is a pointer"},
		{
			"error type", service("ctx context.Context) error", "type E struct{ Err error }\n\nfunc (E) Error() string { return \"\" }\n"),
			"DIR/main.go:15:16: E.Err: cannot carry error: an error can only be the last result\n" +
				"DIR/main.go:15:6: E is an exported error type, so it crosses to callers: to keep it inside, start its name with a small letter",
		},
		{"p1 twice", service("_ context.Context, _ int, p1 int) error", ""), "DIR/main.go:11:10: F: two parameters or results are called p1"},
		{
			"two of a name", strings.Replace(service("ctx context.Context, a Thing, b sub.Thing) error", "type Thing struct{}\n"), "\n\n\t\"github", "\n\n\t\"github.com/cell-network/cell/t/sub\"\n\t\"github", 1) +
				"-- sub/sub.go --\npackage sub\n\ntype Thing struct{ X int }\n",
			"DIR/main.go:12:42: F.b: cannot carry sub.Thing: DIR/main.go:16:6 is another type of that name",
		},
		{
			"of a program", strings.Replace(service("ctx context.Context, a main.Thing) error", ""), "\n\n\t\"github", "\n\n\tmain \"github.com/cell-network/cell/t/tool\"\n\t\"github", 1) +
				"-- tool/tool.go --\npackage main\n\ntype Thing struct{ X int }\n\nfunc main() {}\n",
			"DIR/main.go:12:33: F.a: cannot carry main.Thing: it belongs to a program",
		},
		{
			"two errors at once", service("ctx context.Context, a chan int, b func()) error", ""),
			"DIR/main.go:11:33: F.a: cannot carry chan int: only values cross between cells\nDIR/main.go:11:45: F.b: cannot carry func()",
		},
	}
	for _, tt := range tests {
		dir := module(t)
		unpack(t, dir, tt.source)
		_, err := Build(dir, "x", "1.0.0")
		if err == nil {
			t.Errorf("%s: no error", tt.name)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), dir, "DIR"); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
		for _, name := range []string{Output, genome.File} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				t.Errorf("%s: %s was written", tt.name, name)
			}
		}
	}
}

// A file that cannot be written leaves both as they were.
func TestNothingHalfMade(t *testing.T) {
	dir := module(t)
	put(t, dir, "main.go", service("ctx context.Context) error", ""))
	if _, err := Build(dir, "x", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	before := read(t, filepath.Join(dir, genome.File))
	if err := os.Remove(filepath.Join(dir, Output)); err != nil {
		t.Fatal(err)
	}
	put(t, dir, Output+"/in-the-way", "") // a directory cannot be replaced
	if _, err := Build(dir, "x", "2.0.0"); err == nil {
		t.Fatal("no error")
	}
	if read(t, filepath.Join(dir, genome.File)) != before {
		t.Error("the genome changed although the code did not")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("%v %v: something is left over", entries, err)
	}
}

func TestOldGenomeMustBeSound(t *testing.T) {
	dir := module(t)
	put(t, dir, "main.go", service("ctx context.Context) error", ""))
	put(t, dir, genome.File, "{\n<<<<<<< HEAD\n")
	_, err := Build(dir, "x", "1.0.0")
	if want := "genome.json: 2:1: invalid character '<'"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}
