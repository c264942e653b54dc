package genome

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

func TestEncodeWordsAsProtobuf(t *testing.T) {
	g := sample(t)
	want := []byte{0x08, 6, 0x10, 7} // 3 and -4 in zigzag
	for _, words := range [][]string{{"3", "-4"}, {"a=3", "b=-4"}, {"b=-4", "a=3"}, {"b=-4", "3"}, {"A=3", "-4"}} {
		got, err := EncodeWords(g, g.Method("Add"), words)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %x %v, want %x", words, got, err, want)
		}
	}
}

// echo decodes a request as if it were an answer.
func echo(g *Genome, m *Method, words ...string) (Output, error) {
	data, err := EncodeWords(g, m, words)
	if err != nil {
		return Output{}, err
	}
	return DecodeResults(g, &Method{Name: m.Name, Result: m.Request}, data)
}

func TestWordsThereAndBack(t *testing.T) {
	g := sample(t)
	tests := []struct {
		method string
		words  []string
		want   string
	}{
		{"Small", []string{"-128", "65535", "1.5", "true", "NaN", "255"}, `{"a":-128,"b":65535,"c":1.5,"d":true,"e":"NaN","f":255}`},
		{"Small", []string{"0", "0", "-Inf", "false", "1e300", "0"}, `{"a":0,"b":0,"c":"-Inf","d":false,"e":1e+300,"f":0}`},
		{"Greet", []string{"Ada"}, `{"name":"Ada","polite":null}`},
		{"Greet", []string{"Ada", "true"}, `{"name":"Ada","polite":true}`},
		{"Greet", []string{"name=a=b <&>", "polite=null"}, `{"name":"a=b <&>","polite":null}`},
		{"Greet", []string{"http://x/?a=b"}, `{"name":"http://x/?a=b","polite":null}`},
		{"Greet", []string{""}, `{"name":"","polite":null}`},
		{"Wait", []string{"1m30s", "2026-01-02T15:04:05.5+01:00", "AAH/"}, `{"d":"1m30s","at":"2026-01-02T14:04:05.5Z","data":"AAH/"}`},
		{"Wait", []string{"1s", "2026-01-02T15:04:05Z", "AA=="}, `{"d":"1s","at":"2026-01-02T15:04:05Z","data":"AA=="}`},
		{"Sum", []string{"1"}, `{"base":1,"more":[]}`},
		{"Sum", []string{"1", "2", "3"}, `{"base":1,"more":[2,3]}`},
		{"Sum", []string{"1", "more=[2,3]"}, `{"base":1,"more":[2,3]}`},
		{"Paint", []string{"Green", `{"x":1}`, `["a","b"]`, `{"b":1,"a":-1}`}, `{"c":1,"p":{"X":1,"Y":0},"l":["a","b"],"m":{"a":-1,"b":1}}`},
		{"Paint", []string{"7", `{}`, `[]`, `null`}, `{"c":7,"p":{"X":0,"Y":0},"l":[],"m":{}}`},
		{"DropTable", nil, `{}`},
	}
	for _, tt := range tests {
		got, err := echo(g, g.Method(tt.method), tt.words...)
		if err != nil || string(got.JSON) != tt.want {
			t.Errorf("%s %v:\n%s %v, want\n%s", tt.method, tt.words, got.JSON, err, tt.want)
		}
	}
}

const allValues = `{"B":true,"I":-9223372036854775808,"I8":-1,"U64":18446744073709551615,"F32":0.1,"F64":-2.5,"S":"grüße \u0000","Raw":"AP8=",` +
	`"D":"-1.5s","T":"1815-12-10T01:02:03.000000004Z","O":"","OP":{"X":1,"Y":-2},"OL":[],"L":["","x"],"LL":[[],[1,-1]],"LO":[null,{"X":0,"Y":0}],` +
	`"M":{"":{"X":1,"Y":0},"k":{"X":0,"Y":2}},"MI":{"-1":["a"],"5":[]},"MB":{"false":1,"true":2},"MC":{"1":{"X":5,"Y":0},"2":null},"C":1,"IDs":[1,2],` +
	`"Tree":[[],[[]]],"Next":null,"Times":["0001-01-01T00:00:00Z"],"Ds":["1ns"],"Cs":[1,-1]}`

func TestEveryKindThereAndBack(t *testing.T) {
	g := sample(t)
	values := strings.Replace(allValues, `"Next":null`, `"Next":`+allValues, 1)
	got, err := echo(g, g.Method("All"), values)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal([]byte(`{"v":`+values+`}`), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got.JSON, &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got  %s\nwant %s", got.JSON, values)
	}
}

func TestEncodeWordsErrors(t *testing.T) {
	g := sample(t)
	tests := []struct {
		method string
		words  []string
		want   string
	}{
		{"Add", []string{"three", "4"}, `a: "three" is not a whole number`},
		{"Add", []string{"3.0", "4"}, `a: "3.0" is not a whole number`},
		{"Add", []string{"3"}, `missing argument b: Add(a, b int64) int64`},
		{"Add", nil, `missing argument a: Add(a, b int64) int64`},
		{"Add", []string{"3", "4", "5"}, `too many arguments at "5": Add(a, b int64) int64`},
		{"Add", []string{"a=3", "a=4"}, `a is given twice`},
		{"Add", []string{"a=3", "c=4"}, `Add has no parameter c (to pass the text itself, write b=c=4)`},
		{"Add", []string{"9223372036854775808", "1"}, `a: 9223372036854775808 does not fit int64 (-9223372036854775808 to 9223372036854775807)`},
		{"Small", []string{"128", "0", "0", "true", "0", "0"}, `a: 128 does not fit int8 (-128 to 127)`},
		{"Small", []string{"0", "-1", "0", "true", "0", "0"}, `b: -1 does not fit uint16 (0 to 65535)`},
		{"Small", []string{"0", "65536", "0", "true", "0", "0"}, `b: 65536 does not fit uint16 (0 to 65535)`},
		{"Small", []string{"0", "0", "1e99", "true", "0", "0"}, `c: 1e99 does not fit float32`},
		{"Small", []string{"0", "0", "x", "true", "0", "0"}, `c: "x" is not a number`},
		{"Small", []string{"0", "0", "0", "yes", "0", "0"}, `d: "yes" is neither true nor false`},
		{"Wait", []string{"5", "x", ""}, `d: "5" is not a duration such as "1m30s"`},
		{"Wait", []string{"5s", "today", ""}, `at: "today" is not a time such as "2026-01-02T15:04:05Z"`},
		{"Wait", []string{"5s", "2026-01-02T15:04:05Z", "hello"}, `data: "hello" is not base64, in which bytes are written`},
		{"Sum", []string{"1", "x"}, `more[0]: "x" is not a whole number`},
		{"Paint", []string{"Blue", `{}`, `[]`, `{}`}, `c: "Blue" is not a whole number`},
		{"Paint", []string{"1", `{X:1}`, `[]`, `{}`}, `p: "{X:1}" is not JSON, which Pos needs: invalid character 'X' looking for beginning of object key string`},
		{"Paint", []string{"1", `{`, `[]`, `{}`}, `p: "{" is not JSON, which Pos needs: it ends too early`},
		{"Paint", []string{"1", `{"X":1} x`, `[]`, `{}`}, `p: "{\"X\":1} x" has something after the JSON`},
		{"Paint", []string{"1", `{"Z":1}`, `[]`, `{}`}, `p: there is no field "Z", only X, Y`},
		{"Paint", []string{"1", `{"X":"1"}`, `[]`, `{}`}, `p.X: "1" is not a whole number`},
		{"Paint", []string{"1", `{"X":null}`, `[]`, `{}`}, `p.X: null is not a whole number`},
		{"Paint", []string{"1", `{"X":1,"x":2}`, `[]`, `{}`}, `p.X is given twice`},
		{"Paint", []string{"1", `[]`, `[]`, `{}`}, `p: [] is not a struct, which is written {"Field": value}`},
		{"Paint", []string{"1", `{}`, `{}`, `{}`}, `l: {} is not a list`},
		{"Paint", []string{"1", `{}`, `[1]`, `{}`}, `l[0]: 1 is not a text`},
		{"Paint", []string{"1", `{}`, `[]`, `[]`}, `m: [] is not a map, which is written {"key": value}`},
		{"Paint", []string{"1", `{}`, `[]`, `{"a":300}`}, `m["a"]: 300 does not fit int8 (-128 to 127)`},
	}
	for _, tt := range tests {
		if _, err := EncodeWords(g, g.Method(tt.method), tt.words); err == nil || err.Error() != tt.want {
			t.Errorf("%s %q:\n%v, want\n%s", tt.method, tt.words, err, tt.want)
		}
	}
	deep := strings.Repeat(`{"Next":`, 70) + "null" + strings.Repeat("}", 70)
	if _, err := EncodeWords(g, g.Method("All"), []string{deep}); err == nil || !strings.Contains(err.Error(), "nested more than 64 deep") {
		t.Errorf("deep: %v", err)
	}
}

func TestText(t *testing.T) {
	g := sample(t)
	tests := []struct {
		result []string
		value  string
		want   string
	}{
		{[]string{"result int64"}, `7`, "7"},
		{[]string{"result string"}, `"a \"b\"\n<c>"`, "a \"b\"\n<c>"},
		{[]string{"result *string"}, `"x"`, "x"},
		{[]string{"result *string"}, `null`, "null"},
		{[]string{"result duration"}, `"1m0s"`, "1m0s"},
		{[]string{"result Pos"}, `{"X":1,"Y":2}`, `{"X":1,"Y":2}`},
		{[]string{"result []string"}, `["a"]`, `["a"]`},
		{[]string{"q int", "name string"}, `1|"x"`, "q: 1\nname: x"},
		{nil, ``, ""},
	}
	for _, tt := range tests {
		m := Method{Name: "M", Result: message(t, tt.result...)}
		m.Result.merge(&Message{}, true)
		var data []byte
		e := newEncoder(g)
		for i, v := range strings.Split(tt.value, "|") {
			if v == "" {
				continue
			}
			d := json.NewDecoder(strings.NewReader(v))
			d.UseNumber()
			var x any
			err := d.Decode(&x)
			if err == nil {
				f := m.Result.Fields[i]
				data, err = e.field(data, f.ID, f.Type, x, f.Name, 0)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		got, err := DecodeResults(g, &m, data)
		if err != nil || got.Text != tt.want {
			t.Errorf("%v: %q %v, want %q", tt.result, got.Text, err, tt.want)
		}
	}
}

func TestDecodeError(t *testing.T) {
	g := sample(t)
	payload := protowire.AppendVarint([]byte{0x08}, protowire.EncodeZigZag(9223372036854775807))
	payload = append(payload, 0x10, 2)
	got, err := DecodeError(g, "Overflow", payload)
	if err != nil || got.Text != "A=9223372036854775807, B=1" || string(got.JSON) != `{"A":9223372036854775807,"B":1}` {
		t.Errorf("%s %s %v", got.Text, got.JSON, err)
	}
	got, err = DecodeError(g, "Denied", []byte{0x0a, 1, 'x'})
	if err != nil || got.Text != `Who="x", At=null` {
		t.Errorf("%s %v", got.Text, err)
	}
	if _, err := DecodeError(g, "Pos", nil); err == nil {
		t.Error("Pos is no error")
	}
	if _, err := DecodeError(g, "Overflow", []byte{0x0a, 0}); err == nil || err.Error() != "decode the error Overflow: A: it has another type" {
		t.Error(err)
	}
}

func TestSignatureAndFind(t *testing.T) {
	g := sample(t)
	for name, want := range map[string]string{
		"Add":       "Add(a, b int64) int64",
		"Small":     "Small(a int8, b uint16, c float32, d bool, e float64, f uint8) (q int8, r string)",
		"Wait":      "Wait(d time.Duration, at time.Time, data []byte) (time.Duration, time.Time, []byte)",
		"Sum":       "Sum(base int, more ...int) int",
		"Greet":     "Greet(name string, polite *bool) string",
		"DropTable": "DropTable()",
	} {
		if got := Signature(g.Method(name)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for word, want := range map[string]string{"Add": "Add", "add": "Add", "ADD": "Add", "drop-table": "DropTable", "droptable": "DropTable"} {
		if m, err := FindMethod(g, word); err != nil || m.Name != want {
			t.Errorf("%s: %v %v", word, m, err)
		}
	}
	_, err := FindMethod(g, "smal")
	if want := `sample has no method "smal", did you mean Small? It has Add, All, Small, Greet, Wait, Sum, Paint, DropTable`; fmt.Sprint(err) != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func FuzzDecodeResults(f *testing.F) {
	g := sample(f)
	m := g.Method("All")
	data, err := EncodeWords(g, m, []string{allValues})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := DecodeResults(g, m, data)
		if err != nil {
			return
		}
		if !json.Valid(out.JSON) {
			t.Fatalf("%x: not JSON: %s", data, out.JSON)
		}
		var v struct{ Result json.RawMessage }
		if err := json.Unmarshal(out.JSON, &v); err != nil {
			t.Fatal(err)
		}
		again, err := EncodeWords(g, m, []string{string(v.Result)})
		if err != nil {
			if strings.Contains(err.Error(), "time") || strings.Contains(err.Error(), "deep") {
				return // a year beyond 9999, or wrapping that counts
			}
			t.Fatalf("%v\n%s", err, out.JSON)
		}
		if second, err := DecodeResults(g, m, again); err != nil || string(second.JSON) != string(out.JSON) {
			t.Errorf("%v\n%s\n%s", err, out.JSON, second.JSON)
		}
	})
}

func FuzzEncodeWords(f *testing.F) {
	g := sample(f)
	f.Add(0, "1", "2")
	f.Add(1, allValues, "")
	f.Add(6, "1", `p={"X":1}`)
	f.Fuzz(func(t *testing.T, method int, a, b string) {
		m := &g.Methods[uint(method)%uint(len(g.Methods))]
		out, err := echo(g, m, a, b)
		if err == nil && !json.Valid(out.JSON) {
			t.Errorf("%s %q %q: %s", m.Name, a, b, out.JSON)
		}
		if err != nil && strings.Contains(err.Error(), "decode the result") {
			t.Errorf("%s %q %q: %v", m.Name, a, b, err)
		}
	})
}
