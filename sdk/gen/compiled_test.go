package gen

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cell-network/cell/sdk/genome"
)

// server is a running program whose sdk.Main answers lines.
type server struct {
	t   testing.TB
	in  io.Writer
	out *bufio.Reader
}

func (s *server) call(method string, request []byte) string {
	s.t.Helper()
	if _, err := io.WriteString(s.in, method+" "+hex.EncodeToString(request)+"\n"); err != nil {
		s.t.Fatal(err)
	}
	line, err := s.out.ReadString('\n')
	if err != nil {
		s.t.Fatalf("the program ended: %v", err)
	}
	return strings.TrimSpace(line)
}

// start builds the cell of testdata/kinds for real and runs it.
func start(t testing.TB) (*genome.Genome, *server) {
	t.Helper()
	dir := module(t)
	if err := os.CopyFS(dir, os.DirFS("testdata/kinds")); err != nil {
		t.Fatal(err)
	}
	// Package sub is where main.go imports it from.
	g, err := Build(dir, "kinds", "0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"vet", "."}, {"build", "-o", "kinds.bin", "."}} {
		if out, err := goTool(t, dir, args...); err != nil {
			t.Fatalf("go %s: %s\n%s", args[0], out, read(t, filepath.Join(dir, Output)))
		}
	}
	c := exec.Command(filepath.Join(dir, "kinds.bin"))
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	})
	return g, &server{t, in, bufio.NewReader(out)}
}

const values = `{"B":true,"I":-9223372036854775808,"I8":-128,"I16":32767,"I32":-5,"I64":9223372036854775807,"U":18446744073709551615,"U8":255,` +
	`"U16":1,"U32":4294967295,"U64":7,"F32":0.1,"F64":-2.5,"S":"grüße \u0000","Raw":"AP8=","D":"-1.5s","T":"1815-12-10T01:02:03.000000004Z",` +
	`"O":"","OI":0,"OP":{"X":1,"Y":-2},"OL":[],"OM":{"a":1},"L":["","x"],"LR":["","AA=="],"LI":[-1,300],"LU":[0,1],"LB":[true,false],` +
	`"LF":[1.5,"NaN"],"LD":["+Inf",2],"LL":[[],[1,-1]],"LO":[null,{"X":0,"Y":0}],"LP":[{"X":3,"Y":0}],"M":{"":{"X":1,"Y":0},"k":{"X":0,"Y":2}},` +
	`"MI":{"-1":["a"],"5":[]},"MB":{"false":1,"true":2},"MC":{"1":{"X":5,"Y":0},"2":null},"MM":{"1":{"a":2},"2":{}},"C":2,"CS":[1,-1],` +
	`"Word":"w","IDs":[1,2],"LIDs":[[],[3]],"Table":{"a":[1],"b":[]},"Tree":[[],[[]]],"Next":null,"Times":["0001-01-01T00:00:00Z"],` +
	`"Ds":["1ns"],"Thing":{"Level":1,"When":[0,1]},"Ls":{"1":{"Level":0,"When":[]}},"Pos":{"X":8,"Y":9},"Link":{"To":"there"},` +
	`"A":[1,-2,3],"AB":"AAECAw==","AL":[["a"],[]],"AA":[[1,2],[3,4]],"AP":[null],"LA":[[true,false]],"MA":{"k":"AQI="},"Hash":"/////w==",` +
	`"J":{"any":[1,"x"]},"LJ":[1,null],"Sh":{"type":"Circle","R":1.5},"LS":[null,{"type":"Square","Side":2},{"type":"Group","In":[{"type":"Circle","R":0}]}],` +
	`"MS":{"g":{"type":"Group","In":[]}},"AS":[null,{"type":"Circle","R":2}],"PP":{"First":{"X":1,"Y":2},"Second":"s"},` +
	`"PL":{"First":[1],"Second":null},"Sev":-4,"Sum":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`

// agreement compares what generated code and the code for the shell make of a request of the method Echo, which answers what
// it was given.
type agreement struct {
	g       *genome.Genome
	s       *server
	echo    *genome.Method
	request *genome.Method // whose results are the parameters of Echo
	text    string         // a value with everything, as JSON
	full    []byte         // a request with it
}

func newAgreement(t testing.TB) *agreement {
	g, s := start(t)
	a := &agreement{g: g, s: s, echo: g.Method("Echo"), text: strings.Replace(values, `"Next":null`, `"Next":`+values, 1)}
	a.request = &genome.Method{Name: "Echo", Result: a.echo.Request}
	var err error
	if a.full, err = genome.EncodeWords(g, a.echo, []string{a.text}); err != nil {
		t.Fatal(err)
	}
	return a
}

// both returns what the program and the dynamic code make of a request: v as JSON, or nothing. The program reads it twice: into
// a new value, and as a view into the value of the request before.
func (a *agreement) both(t testing.TB, request []byte) (generated, dynamic, text string) {
	a.s.t = t
	var in, out map[string]json.RawMessage
	if o, err := genome.DecodeResults(a.g, a.request, request); err == nil {
		if err := json.Unmarshal(o.JSON, &in); err != nil {
			t.Fatal(err)
		}
	} else {
		text = err.Error()
	}
	decode := func(answer string) string {
		data, ok := strings.CutPrefix(answer, "ok ")
		if !ok {
			return ""
		}
		raw, err := hex.DecodeString(data)
		if err != nil {
			t.Fatal(err)
		}
		o, err := genome.DecodeResults(a.g, a.echo, raw)
		if err != nil {
			t.Fatalf("%x: the answer does not decode: %v", request, err)
		}
		if err := json.Unmarshal(o.JSON, &out); err != nil {
			t.Fatal(err)
		}
		return string(out["result"])
	}
	fresh := a.s.call("Echo", request)
	reused := a.s.call("Again", request)
	generated = decode(fresh)
	reason := func(answer string) string { return answer[strings.LastIndex(answer, ": ")+1:] }
	if again := decode(reused); again != generated || generated == "" && reason(fresh) != reason(reused) {
		t.Fatalf("%x\nfresh  %s\nreused %s\n%s\n%s", request, generated, again, fresh, reused)
	}
	return generated, string(in["v"]), text + " / " + fresh
}

// FuzzGenerated is TestGeneratedAgreesWithDynamic with whatever bytes: the program must not end either.
func FuzzGenerated(f *testing.F) {
	a := newAgreement(f)
	f.Add(a.full)
	f.Add([]byte(nil))
	for at := 0; at < len(a.full); at += 97 {
		f.Add(a.full[:at])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, dynamic, text := a.both(t, data); got != dynamic {
			t.Fatalf("%s\ngenerated %s\ndynamic   %s", text, got, dynamic)
		}
	})
}

// Generated code and the code for the shell must write the same bytes' meaning, and refuse the same bytes.
func TestGeneratedAgreesWithDynamic(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	agreement := newAgreement(t)
	request, nested := agreement.full, agreement.text
	both := func(request []byte) (generated, dynamic, text string) { return agreement.both(t, request) }
	got, dynamic, text := both(request)
	if got == "" || got != dynamic {
		t.Fatalf("%s\ngenerated %s\ndynamic   %s", text, got, dynamic)
	}
	var a, b any
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(nested), &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got  %s\nwant %s", got, nested)
	}
	if got, dynamic, text := both(nil); got == "" || got != dynamic {
		t.Errorf("zero values differ: %s\n%s\n%s", text, got, dynamic)
	}

	random := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for range 20_000 {
		data := append([]byte(nil), request...)
		if i := random.IntN(4); i == 0 { // a shorter message is changed more often within its structure
			data = append([]byte(nil), data[:random.IntN(len(data))]...)
		}
		for range random.IntN(4) {
			if len(data) == 0 {
				break
			}
			at := random.IntN(len(data))
			switch random.IntN(4) {
			case 0:
				data[at] ^= 1 << random.IntN(8)
			case 1:
				data[at] = byte(random.IntN(256))
			case 2:
				data = append(data[:at], data[at+1:]...)
			case 3:
				data = append(data[:at], append([]byte{byte(random.IntN(128))}, data[at:]...)...)
			}
		}
		got, dynamic, text := both(data)
		if got != dynamic {
			t.Fatalf("%x\n%s\ngenerated %s\ndynamic   %s", data, text, got, dynamic)
		}
		if got != "" {
			accepted++
		}
	}
	t.Logf("%d of 20000 changed requests were accepted", accepted)
}

func TestGeneratedCalls(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	g, s := start(t)
	tests := []struct {
		method string
		words  []string
		want   string // text of the results, or what the program says
	}{
		{"Sum", []string{"1", "2", "3"}, "6"},
		{"Sum", []string{"1"}, "1"},
		{"Hide", []string{"1", "e", "true", "false", "AA==", "f", "c"}, "err: 1\nb1: e\np1: true\nr1: false\nr5: AA==\nf1: f\ncell: c"},
		{"Unnamed", []string{"p1=x", "p2=3"}, ""},
		{"Words", []string{"a", "b"}, "r1: [\"a\",\"b\"]\nr2: {}"},
		{"Fail", []string{"value"}, `Missing Key="k"`},
		{"Fail", []string{"pointer"}, `Missing Key="p"`},
		{"Fail", []string{"late"}, `Late By="5ns", At={"X":1,"Y":2}`},
		{"Fail", []string{"null"}, "other null: late"},
		{"Fail", []string{"x"}, "other something else"},
	}
	for _, tt := range tests {
		m := g.Method(tt.method)
		request, err := genome.EncodeWords(g, m, tt.words)
		if err != nil {
			t.Fatal(err)
		}
		got := s.call(tt.method, request)
		kind, rest, _ := strings.Cut(got, " ")
		var out genome.Output
		switch kind {
		case "ok":
			data, _ := hex.DecodeString(rest)
			out, err = genome.DecodeResults(g, m, data)
			got = out.Text
		case "error":
			name, payload, _ := strings.Cut(rest, " ")
			data, _ := hex.DecodeString(payload)
			out, err = genome.DecodeError(g, name, data)
			got = name + " " + out.Text
		}
		if err != nil || got != tt.want {
			t.Errorf("%s %v: %q %v, want %q", tt.method, tt.words, got, err, tt.want)
		}
	}
	for request, want := range map[string]string{
		"\x08\x80\x02":                "invalid base: 128 does not fit int8",
		"\x0a\x00":                    "invalid base: it has another type",
		"\x08":                        "invalid : the data is cut short",
		"\x08\x02\xba\x3e\x03abc\x12": "invalid : the data is cut short",
		"\x08\x02\xba\x3e\x03abc":     "ok 0802",
	} {
		if got := s.call("Sum", []byte(request)); got != want {
			t.Errorf("Sum %x: %s, want %s", request, got, want)
		}
	}
	if m := g.Method("Close"); m != nil || g.Method("hidden") != nil {
		t.Error("a method without context or without a capital letter is served")
	}
}
