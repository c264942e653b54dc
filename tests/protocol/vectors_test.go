// Package protocol checks docs/protocol.md: vectors.json holds bytes that the Go packages write and read, and cell.py is a
// client and a server written from the document, which read the same and talk to those of Go.
package protocol

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cell-network/cell/sdk/broker"
	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/wire"
)

var update = flag.Bool("update", false, "write vectors.json anew")

// object keeps its keys in order, so that a vector reads well.
type object []any

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i := 0; i < len(o); i += 2 {
		b.WriteString(map[bool]string{true: "{", false: ","}[i == 0])
		key, err := json.Marshal(o[i])
		if err != nil {
			return nil, err
		}
		value, err := marshal(o[i+1])
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%s:%s", key, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// vectors is the file: sections of vectors, a line each.
type vectors struct {
	t        *testing.T
	sections []string
	lines    map[string][]string
	genomes  map[string]*genome.Genome
}

func (v *vectors) add(section string, o object) {
	v.t.Helper()
	if v.lines[section] == nil {
		v.sections = append(v.sections, section)
	}
	line, err := marshal(o)
	if err != nil {
		v.t.Fatal(err)
	}
	// Package protobuf has one of two kinds of space in its errors, so that nobody compares them.
	v.lines[section] = append(v.lines[section], strings.ReplaceAll(string(line), "\u00a0", " "))
}

func (v *vectors) file() []byte {
	var b bytes.Buffer
	b.WriteString("{\n\"genomes\": {\n")
	for i, name := range genomeNames {
		data, err := v.genomes[name].Marshal()
		if err != nil {
			v.t.Fatal(err)
		}
		var line bytes.Buffer
		if err := json.Compact(&line, data); err != nil {
			v.t.Fatal(err)
		}
		fmt.Fprintf(&b, "  %q: %s%s\n", name, &line, comma(i, len(genomeNames)))
	}
	b.WriteString("},\n")
	for i, section := range v.sections {
		fmt.Fprintf(&b, "%q: [\n", section)
		for i, line := range v.lines[section] {
			fmt.Fprintf(&b, "  %s%s\n", line, comma(i, len(v.lines[section])))
		}
		fmt.Fprintf(&b, "]%s\n", comma(i, len(v.sections)))
	}
	b.WriteString("}\n")
	return b.Bytes()
}

func comma(i, n int) string {
	if i == n-1 {
		return ""
	}
	return ","
}

var genomeNames = []string{"kinds", "calculator", "catalog", "users", "live"}

// genomes are those that the vectors refer to; kinds.json has every kind of type.
func genomes(t testing.TB) map[string]*genome.Genome {
	t.Helper()
	all := map[string]*genome.Genome{"live": live(t)}
	for name, path := range map[string]string{
		"kinds": "kinds.json", "calculator": "../../examples/calculator/genome.json",
		"catalog": "../../examples/shop/catalog/genome.json", "users": "../../examples/shop/users/genome.json",
	} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if all[name], err = genome.Parse(data); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	return all
}

// live is the genome of the cell that is called in both directions.
func live(t testing.TB) *genome.Genome {
	t.Helper()
	ref := func(s string) genome.Ref {
		r, err := genome.ParseRef(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	message := func(texts ...string) (m genome.Message) {
		for _, s := range texts {
			name, typ, _ := strings.Cut(s, " ")
			m.Fields = append(m.Fields, genome.Field{Name: name, Type: ref(typ)})
		}
		return m
	}
	broken := message("Why string", "Left []int64")
	g := &genome.Genome{
		Format: genome.Format, Cell: "live", Version: "1.2.3", Serves: "Live",
		Doc: "Live talks. <&> \u2028 \u0001\b\"\\",
		Methods: []genome.Method{
			{Name: "Add", Request: message("a int8", "b int8"), Result: message("sum int16")},
			{Name: "Fail", Request: message("how string")},
			{Name: "Wait"},
			{Name: "Note", OneWay: true, Request: message("text string")},
			{Name: "Notes", Result: message("result []string")},
			{Name: "Count", Request: message("to int64", "size int"), Out: genome.Item(ref("bytes"))},
			{Name: "Total", In: genome.Item(ref("int64")), Result: message("sum int64")},
			{Name: "Mirror", In: genome.Item(ref("string")), Out: genome.Item(ref("string"))},
			{Name: "Hold", In: genome.Item(ref("bytes")), Out: genome.Item(ref("bytes"))},
			{Name: "Seen", Doc: "Seen says how many items Count has yielded, and how many streams have ended.", Result: message("items int64", "ended int64")},
			{Name: "Ticks", Topic: true, Out: genome.Item(ref("uint64"))},
		},
		Types:  []genome.Type{{Name: "Broken", Struct: &broken}},
		Errors: []genome.Error{{Name: "Broken"}},
	}
	g.Merge(nil)
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	return g
}

// Messages.

// value is the message with a field v of the type.
func value(t testing.TB, typ string) genome.Message {
	t.Helper()
	var r genome.Ref
	if err := r.UnmarshalText([]byte(typ)); err != nil {
		t.Fatal(err)
	}
	return genome.Message{Next: 2, Fields: []genome.Field{{ID: 1, Name: "v", Type: r}}}
}

func part(t testing.TB, g *genome.Genome, name string) genome.Message {
	t.Helper()
	method, what, ok := strings.Cut(name, ".")
	if !ok {
		return *g.Type(name).Struct
	}
	m := g.Method(method)
	switch what {
	case "request":
		return m.Request
	case "in":
		return *m.In
	case "out":
		return *m.Out
	}
	return m.Result
}

func encode(g *genome.Genome, m genome.Message, text string) ([]byte, error) {
	return genome.EncodeJSON(g, &genome.Method{Name: "M", Request: m}, []byte(text))
}

func decode(g *genome.Genome, m genome.Message, data []byte) (json.RawMessage, error) {
	out, err := genome.DecodeResults(g, &genome.Method{Name: "M", Result: m}, data)
	return out.JSON, err
}

// written are values of each type, in JSON.
var written = []struct{ typ, values string }{
	{"bool", `false true`},
	{"int", `0 1 -1 9223372036854775807 -9223372036854775808`},
	{"int8", `0 127 -128`},
	{"int16", `32767 -32768`},
	{"int32", `2147483647 -2147483648`},
	{"int64", `-3 9223372036854775807`},
	{"uint", `0 18446744073709551615`},
	{"uint8", `255`},
	{"uint16", `65535`},
	{"uint32", `4294967295`},
	{"uint64", `1 18446744073709551615`},
	{"float32", `0 0.1 -2.5 "+Inf" "-Inf"`},
	{"float64", `0 0.1 -2.5e300 "+Inf" "-Inf"`},
	{"string", `"" "x" "grüße\u0000\ud83d\ude00"`},
	{"bytes", `"" "AP8="`},
	{"duration", `"0s" "1ns" "-1.5s" "1h1m30s" "2562047h47m16.854775807s"`},
	{"time", `"0001-01-01T00:00:00Z" "1970-01-01T00:00:01Z" "1815-12-10T01:02:03.000000004Z" "9999-12-31T23:59:59.999999999Z"`},
	{"json", `{"any":[1,"x",null]} null "text"`},
	{"*string", `null "" "x"`},
	{"*int64", `null 0 -5`},
	{"*bytes", `null ""`},
	{"*time", `"1970-01-01T00:00:00Z"`},
	{"*Pos", `null {"X":0,"Y":0} {"X":1,"Y":-2}`},
	{"*Shape", `null {"type":"Circle","R":1}`},
	{"*[2]bool", `null [true,false]`},
	{"*[]int64", `null [] [1,-1]`},
	{"*map[string]int", `null {} {"a":1}`},
	{"*IDs", `null [] [7]`},
	{"[]string", `[] ["","x"]`},
	{"[]bytes", `["","AA=="]`},
	{"[]bool", `[true,false]`},
	{"[]int16", `[] [-1,300]`},
	{"[]uint32", `[0,1,4294967295]`},
	{"[]float32", `[1.5,-0.1]`},
	{"[]float64", `[2,0.1]`},
	{"[]duration", `["1ns","-2s"]`},
	{"[]time", `["1970-01-01T00:00:00Z","0001-01-01T00:00:00Z"]`},
	{"[]json", `[1,[],null]`},
	{"[]Pos", `[{"X":3,"Y":0},{"X":0,"Y":0}]`},
	{"[]*Pos", `[null,{"X":0,"Y":0}]`},
	{"[]*string", `[null,"x",""]`},
	{"[][]int8", `[[],[1,-1]]`},
	{"[][][]string", `[[[]],[["a"],["b","c"]]]`},
	{"[]map[string]bool", `[{},{"a":true}]`},
	{"[]IDs", `[[],[3]]`},
	{"[]Color", `[1,-1]`},
	{"[][2]bool", `[[true,false]]`},
	{"[]Shape", `[null,{"type":"Square","Side":2},{"type":"Group","In":[{"type":"Circle","R":0}]}]`},
	{"[3]int16", `[1,-2,3]`},
	{"[0]int16", `[]`},
	{"[2]string", `["","x"]`},
	{"[4]uint8", `"AAECAw=="`},
	{"[2][]string", `[["a"],[]]`},
	{"[2][2]float32", `[[1,2],[3,4]]`},
	{"[1]*Pos", `[null] [{"X":1,"Y":2}]`},
	{"[2]Shape", `[null,{"type":"Circle","R":2}]`},
	{"[2]Level", `[0,1]`},
	{"map[string]Pos", `{} {"":{"X":1,"Y":0},"k":{"X":0,"Y":2}}`},
	{"map[int32][]string", `{"-1":["a"],"5":[]}`},
	{"map[uint64]bool", `{"18446744073709551615":true}`},
	{"map[bool]float64", `{"false":1,"true":2}`},
	{"map[duration]bool", `{"1s":true}`},
	{"map[Color]*Pos", `{"1":{"X":5,"Y":0},"2":null}`},
	{"map[uint8]map[string]int", `{"1":{"a":2},"2":{}}`},
	{"map[string][2]uint8", `{"k":"AQI="}`},
	{"map[string]Shape", `{"g":{"type":"Group","In":[]},"n":null}`},
	{"map[Word]IDs", `{"a":[1],"b":[]}`},
	{"Color", `0 2 -7`},
	{"Level", `1`},
	{"Word", `"" "w"`},
	{"IDs", `[] [1,2]`},
	{"Table", `{"a":[1],"b":[]}`},
	{"Tree", `[] [[],[[]]]`},
	{"Hash", `"/////w=="`},
	{"Severity", `-4`},
	{"Pos", `{"X":0,"Y":0} {"X":8,"Y":-9}`},
	{"Group", `{"In":[]}`},
	{"Thing", `{"Level":1,"When":[0,1]}`},
	{"PairPosString", `{"First":{"X":1,"Y":2},"Second":"s"}`},
	{"PairListColorOptionalThing", `{"First":[1],"Second":null}`},
	{"Shape", `null {"type":"Circle","R":1.5} {"type":"Square","Side":-1} {"type":"Group","In":[]}`},
}

// all is a value of the type All of the genome kinds.
const all = `{"B":true,"I":-1,"I8":-128,"I16":32767,"I32":-5,"I64":9223372036854775807,"U":18446744073709551615,"U8":255,` +
	`"U16":1,"U32":4294967295,"U64":7,"F32":0.1,"F64":-2.5,"S":"grüße","Raw":"AP8=","D":"-1.5s","T":"1815-12-10T01:02:03.000000004Z",` +
	`"O":"","OI":0,"OP":{"X":1,"Y":-2},"OL":[],"OM":{"a":1},"L":["","x"],"LI":[-1,300],"LL":[[],[1,-1]],"M":{"k":{"X":0,"Y":2}},` +
	`"C":2,"Word":"w","Table":{"a":[1],"b":[]},"Tree":[[],[[]]],"Pos":{"X":8,"Y":9},"Link":{"To":"there"},"A":[1,-2,3],"J":[1],` +
	`"Sh":{"type":"Circle","R":1.5},"PL":{"First":[1],"Second":null},"Sev":-4}`

var whole = []struct{ genome, message, values string }{
	{"kinds", "Echo.request", `{} {"v":` + all + `} {"v":{"Next":` + all + `}}`},
	{"kinds", "Hide.result", `{"err":1,"b1":"e","p1":true,"r1":false,"r5":"AA==","f1":"f","cell":"c"}`},
	{"kinds", "Late", `{"By":"5ns","At":{"X":1,"Y":2}} {}`},
	{"calculator", "Add.request", `{"a":3,"b":-4}`},
	{"calculator", "Add.result", `{"result":-1}`},
	{"calculator", "Overflow", `{"A":9223372036854775807,"B":1}`},
	{"calculator", "DivisionByZero", `{}`},
	{"catalog", "List.request", `{}`},
	{"catalog", "List.out", `{"item":{"Name":"box","Cents":250,"Stock":1,"Sizes":[1,2,3]}} {"item":{}}`},
	{"catalog", "TooFew", `{"Left":2}`},
	{"users", "Registered.out", `{"item":{"Name":"Ada"}}`},
	{"live", "Total.in", `{"item":-1}`},
}

// read are bytes that a writer does not write but a reader takes: type, bytes, why.
var read = [][3]string{
	{"int64", "", "absent is zero"},
	{"int64", "0802 0804", "the last one counts"},
	{"int64", "08 82808080808080808000", "a varint may be longer than needed"},
	{"int64", "10 01 1d 00000000 21 0000000000000000 2a 01 78 0806", "unknown fields of every wire type are skipped"},
	{"int64", "12 02 ffff 0806", "what is in an unknown field is not looked at"},
	{"int64", "fa ffff ff0f 00 0806", "the highest id"},
	{"bool", "08 05", "every number but 0 is true"},
	{"bool", "", "absent is false"},
	{"string", "0a 01 61 0a 01 62", "the last one counts"},
	{"float32", "", "absent is zero"},
	{"float32", "0d 0000c07f", "not a number"},
	{"float64", "09 010000000000f87f", "not a number"},
	{"bytes", "", "absent is empty"},
	{"duration", "", "absent is zero"},
	{"time", "", "absent is the year 1"},
	{"time", "0a 00", "without its fields it is 1970"},
	{"time", "0a 04 0802 1003 0a 02 1001", "the last one counts, and is not joined with the first"},
	{"json", "", "absent is null"},
	{"json", "0a 00", "no text is null"},
	{"json", "0a 06 20 5b 31 20 5d 0a", "white space around and within"},
	{"*int64", "0802 0804", "the last one counts"},
	{"*Pos", "0a 02 0802 0a 02 1004", "appearances are joined"},
	{"*Pos", "0a 00", "there, and zero"},
	{"*[]int64", "0a 03 0a 01 02 0a 03 0a 01 04", "appearances are joined"},
	{"*map[string]bool", "0a 07 0a 05 0a 01 61 10 01 0a 07 0a 05 0a 01 62 10 01", "appearances are joined"},
	{"[]int16", "0802 0a 02 0406 0808", "packed and single numbers, one behind the other"},
	{"[]int16", "0a 00", "packed, and none"},
	{"[]float32", "0d 0000803f 0a 04 00000040", "packed and single"},
	{"[]bool", "0801 0800", "single"},
	{"[]*Pos", "0a 00 0a 08 0a 02 0802 0a 02 1004", "appearances within an element are joined"},
	{"[][]int8", "0a 06 0802 0a 02 0406", "packed and single within an element"},
	{"[]Pos", "0a 00", "an element without fields is zero"},
	{"Pos", "0a 04 1004 0802", "another order"},
	{"Pos", "0a 02 0802 0a 02 1004", "appearances are joined"},
	{"Pos", "", "absent is zero"},
	{"Pos", "0a 08 0802 1a 04 ffffffff", "an unknown field within"},
	{"[3]int16", "", "absent is all zero"},
	{"[3]int16", "0a 05 0a 03 020406 0a 05 0a 03 080a0c", "the last one counts"},
	{"[3]int16", "0a 06 0802 0804 0806", "single"},
	{"[4]uint8", "", "absent is all zero"},
	{"[2]Shape", "", "absent is all nothing"},
	{"[2][]string", "", "absent is all empty"},
	{"map[string]bool", "0a 05 1001 0a 01 61", "the value before the key"},
	{"map[string]bool", "0a 00", "key and value are zero when absent"},
	{"map[string]bool", "0a 05 0a 01 61 1001 0a 03 0a 01 61", "the last entry of a key counts"},
	{"map[string]bool", "0a 08 0a 01 61 0a 01 62 1001", "the last key of an entry counts"},
	{"map[string]Pos", "0a 0b 0a 01 61 12 02 0802 12 02 1004", "appearances of a value are joined"},
	{"map[string][]string", "0a 0d 0a 01 61 12 03 0a 01 78 12 03 0a 01 79", "appearances of a value are joined"},
	{"map[uint8]*Pos", "0a 02 0801", "an absent value is nothing"},
	{"Shape", "", "absent is nothing"},
	{"Shape", "0a 09 0a 00 12 02 0806 5a 01 ff", "the last known variant counts"},
	{"Shape", "0a 03 2a 01 ff", "a variant that is not known is nothing"},
	{"Shape", "0a 04 12 02 0806 0a 00", "an empty appearance takes nothing away"},
	{"Group", "0a 04 0a 02 0a 00", "a variant without its fields"},
}

// unread are bytes that must be refused.
var unread = [][2]string{
	{"int64", "0a 00"},
	{"int64", "0d 00000000"},
	{"int64", "09 0000000000000000"},
	{"int64", "08"},
	{"int64", "08 80"},
	{"int64", "08 ffffffffffffffffff02"},
	{"int64", "08 8080808080808080808000"},
	{"int64", "0b 0c"},
	{"int64", "0c"},
	{"int64", "0e 00"},
	{"int64", "0f 00"},
	{"int64", "00 00"},
	{"int64", "8080808010 00"},
	{"int64", "12 05 00"},
	{"int64", "1d 000000"},
	{"int64", "21 00000000000000"},
	{"int64", "13 14 0802"},
	{"int64", "0a 00 0802"},
	{"int8", "08 8002"},
	{"int8", "08 8102"},
	{"int8", "08 8002 0802"},
	{"int16", "08 808004"},
	{"int32", "08 8080808010"},
	{"uint8", "08 8002"},
	{"uint16", "08 808004"},
	{"uint32", "08 8080808010"},
	{"Level", "08 8002"},
	{"Color", "08 8080808010"},
	{"bool", "0a 00"},
	{"bool", "09 0000000000000000"},
	{"float32", "08 00"},
	{"float32", "09 0000000000000000"},
	{"float32", "0a 04 00000000"},
	{"float64", "0d 00000000"},
	{"float64", "09 00000000"},
	{"string", "08 00"},
	{"string", "0a 02 61"},
	{"string", "0a 01 ff"},
	{"string", "0a 03 eda080"},
	{"string", "0a 02 c080"},
	{"string", "0a 04 f4908080"},
	{"string", "0a 02 c3"},
	{"string", "0a 01 ff 0a 01 61"},
	{"string", "0a ffffffffffffffffff01"},
	{"bytes", "08 00"},
	{"duration", "0a 00"},
	{"json", "0a 03 6e756c"},
	{"json", "0a 03 4e614e"},
	{"json", "0a 03 312032"},
	{"json", "0a 01 7b"},
	{"json", "0a 01 20"},
	{"json", "08 00"},
	{"json", "0a 03 276127"},
	{"json", "0a 03 2d3031"},
	{"json", "0a 03 220a22"},
	{"json", "0a 03 efbbbf"},
	{"time", "08 00"},
	{"time", "0a 06 10 8094ebdc03"},
	{"time", "0a 02 0a 00"},
	{"time", "0a 01 08"},
	{"time", "0a 02 12 00"},
	{"*string", "08 00"},
	{"*Pos", "08 00"},
	{"*Pos", "0a 02 0a 00"},
	{"*[]int64", "08 02"},
	{"*[]int64", "0a 01 0a"},
	{"[]string", "0a 01 ff"},
	{"[]string", "08 00"},
	{"[]int16", "0a 03 808004"},
	{"[]int16", "0a 01 80"},
	{"[]int16", "0d 00000000"},
	{"[]float32", "0a 03 000000"},
	{"[]float64", "0a 04 00000000"},
	{"[]Pos", "08 00"},
	{"[][]int8", "0a 02 0a 01"},
	{"[][]int8", "08 02"},
	{"[]*Pos", "0a 02 08 02"},
	{"Pos", "08 00"},
	{"Pos", "0a 02 0a 00"},
	{"Pos", "0a 06 08 8080808010"},
	{"[3]int16", "0a 00"},
	{"[3]int16", "0a 04 0a 02 0204"},
	{"[3]int16", "0a 06 0a 04 02040608"},
	{"[3]int16", "0a 00 0a 05 0a 03 020406"},
	{"[3]int16", "08 02"},
	{"[4]uint8", "0a 03 000102"},
	{"[4]uint8", "0a 05 0001020304"},
	{"[4]uint8", "08 00"},
	{"[4]uint8", "0a 00 0a 04 00010203"},
	{"[2][2]bool", "0a 04 0a 02 0a 00"},
	{"[1]*Pos", "0a 00"},
	{"Hash", "0a 00"},
	{"map[string]bool", "08 00"},
	{"map[string]bool", "0a 02 08 01"},
	{"map[string]bool", "0a 03 0a 01 ff"},
	{"map[string]bool", "0a 02 12 00"},
	{"map[uint8]bool", "0a 03 08 8002"},
	{"map[uint8]Pos", "0a 02 10 00"},
	{"map[string][]string", "0a 02 10 00"},
	{"map[string]bool", "0a 01 0a"},
	{"Shape", "08 00"},
	{"Shape", "0a 02 08 00"},
	{"Shape", "0a 04 12 02 0a 00"},
	{"Shape", "0a 08 12 02 0a 00 12 02 0806"},
	{"Group", "0a 04 0a 02 0800"},
	{"IDs", "0d 00000000"},
	{"Table", "08 00"},
	{"Word", "0a 01 ff"},
}

var unwritten = [][2]string{
	{"bool", `"yes"`},
	{"int8", `128`},
	{"int8", `-129`},
	{"int64", `9223372036854775808`},
	{"uint8", `-1`},
	{"uint8", `256`},
	{"uint64", `18446744073709551616`},
	{"float32", `1e99`},
	{"[2]bool", `[true]`},
	{"[4]uint8", `"AA=="`},
	{"Shape", `{"type":"Blob"}`},
	{"Pos", `{"Z":1}`},
	{"[]int8", `[1,200]`},
	{"map[int8]bool", `{"200":true}`},
}

// nested is a message with so many messages within each other, each the only field of the one around it.
func nested(n int) []byte {
	var b []byte
	for range n {
		b = protowire.AppendBytes([]byte{0x0a}, b)
	}
	return b
}

func (v *vectors) messages() {
	kinds := v.genomes["kinds"]
	for _, w := range written {
		d := json.NewDecoder(strings.NewReader(w.values))
		m := value(v.t, w.typ)
		for d.More() {
			var one json.RawMessage
			if err := d.Decode(&one); err != nil {
				v.t.Fatalf("%s: %v", w.typ, err)
			}
			v.both("messages", kinds, m, object{"genome", "kinds", "type", w.typ}, fmt.Sprintf(`{"v":%s}`, one))
		}
	}
	for _, w := range whole {
		g := v.genomes[w.genome]
		d := json.NewDecoder(strings.NewReader(w.values))
		for d.More() {
			var one json.RawMessage
			if err := d.Decode(&one); err != nil {
				v.t.Fatalf("%s: %v", w.message, err)
			}
			v.both("messages", g, part(v.t, g, w.message), object{"genome", w.genome, "message", w.message}, string(one))
		}
	}
	for _, r := range read {
		data := unhex(v.t, r[1])
		text, err := decode(kinds, value(v.t, r[0]), data)
		if err != nil {
			v.t.Errorf("%s %s: %v", r[0], r[1], err)
		}
		v.add("reads", object{"genome", "kinds", "type", r[0], "json", text, "hex", hex.EncodeToString(data), "why", r[2]})
	}
	for _, depth := range []int{64, 65} {
		for _, typ := range []string{"Tree", "Shape"} {
			data := nested(depth)
			if typ == "Shape" {
				data = shapes(depth)
			}
			text, err := decode(kinds, value(v.t, typ), data)
			o := object{"genome", "kinds", "type", typ}
			switch {
			case depth == 64 && err == nil:
				v.add("reads", append(o, "json", text, "hex", hex.EncodeToString(data), "why", "64 deep"))
			case depth == 65 && err != nil:
				v.add("refused", append(o, "hex", hex.EncodeToString(data), "reason", reason(err)))
			default:
				v.t.Errorf("%s %d deep: %v", typ, depth, err)
			}
		}
	}
	for _, r := range unread {
		data := unhex(v.t, r[1])
		text, err := decode(kinds, value(v.t, r[0]), data)
		if err == nil {
			v.t.Errorf("%s %s is read as %s", r[0], r[1], text)
			continue
		}
		v.add("refused", object{"genome", "kinds", "type", r[0], "hex", hex.EncodeToString(data), "reason", reason(err)})
	}
	for _, r := range unwritten {
		text := fmt.Sprintf(`{"v":%s}`, r[1])
		data, err := encode(kinds, value(v.t, r[0]), text)
		if err == nil {
			v.t.Errorf("%s %s is written as %x", r[0], r[1], data)
			continue
		}
		v.add("refused_values", object{"genome", "kinds", "type", r[0], "json", json.RawMessage(text), "reason", reason(err)})
	}
}

// shapes are shapes within groups: the field, then in turns the variant and the list's element, depth messages in all.
func shapes(depth int) []byte {
	var b []byte
	for i := depth; i >= 1; i-- { // from within: odd is a sum, even the group in it
		tag := byte(0x0a)
		if i%2 == 0 {
			tag = 0x1a
		}
		b = protowire.AppendBytes([]byte{tag}, b)
	}
	return b
}

// both adds a vector of a value and its bytes, which must be that value when they are read again.
func (v *vectors) both(section string, g *genome.Genome, m genome.Message, o object, text string) {
	v.t.Helper()
	data, err := encode(g, m, text)
	if err != nil {
		v.t.Errorf("%v %s: %v", o, text, err)
		return
	}
	back, err := decode(g, m, data)
	if err != nil {
		v.t.Errorf("%v %x: %v", o, data, err)
		return
	}
	if again, err := encode(g, m, string(back)); err != nil || !bytes.Equal(again, data) {
		v.t.Errorf("%v: %s becomes %x, and %s then %x %v", o, text, data, back, again, err)
	}
	v.add(section, append(o, "json", back, "hex", hex.EncodeToString(data)))
}

func reason(err error) string { return strings.TrimPrefix(err.Error(), "decode the result of M: ") }

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return b
}

// runs is hexadecimal where 00*300 stands for 300 bytes of zero.
func runs(b []byte) string {
	var out strings.Builder
	for at := 0; at < len(b); {
		n := 1
		for at+n < len(b) && b[at+n] == b[at] {
			n++
		}
		if n < 200 {
			n = 1
			fmt.Fprintf(&out, "%02x", b[at])
		} else {
			fmt.Fprintf(&out, " %02x*%d ", b[at], n)
		}
		at += n
	}
	return out.String()
}

// Frames.

type frame struct {
	kind, flags byte
	id          uint64
	body        []byte
}

const (
	hello = 1 + iota
	helloAck
	call
	result
	errorFrame
	cancel
	ping
	pong
	goAway
	data
	end
	credit
)

var names = []string{"", "HELLO", "HELLO_ACK", "CALL", "RESULT", "ERROR", "CANCEL", "PING", "PONG", "GOAWAY", "DATA", "END", "CREDIT"}

func (f frame) bytes() []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(f.body)))
	b = append(b, f.kind, f.flags, 0, 0)
	return append(binary.LittleEndian.AppendUint64(b, f.id), f.body...)
}

func readFrame(r io.Reader) (frame, error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(r, head); err != nil {
		return frame{}, err
	}
	f := frame{kind: head[4], flags: head[5], id: binary.LittleEndian.Uint64(head[8:])}
	f.body = make([]byte, binary.LittleEndian.Uint32(head))
	_, err := io.ReadFull(r, f.body)
	return f, err
}

// callBody is the extension of a CALL and its request.
func callBody(method, flags uint32, timeout time.Duration, request []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, method)
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(timeout))
	return append(append(b, make([]byte, 32)...), request...)
}

func textField(n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), s)
}

// fields takes a body in protobuf's wire format apart.
func fields(t testing.TB, b []byte) (numbers map[int]uint64, texts map[int][]string) {
	t.Helper()
	numbers, texts = map[int]uint64{}, map[int][]string{}
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if b = b[max(size, 0):]; kind == protowire.VarintType {
			numbers[int(n)], size = protowire.ConsumeVarint(b)
		} else {
			var s string
			s, size = protowire.ConsumeString(b)
			texts[int(n)] = append(texts[int(n)], s)
		}
		if size < 0 {
			t.Fatalf("%x: %v", b, protowire.ParseError(size))
		}
		b = b[size:]
	}
	return numbers, texts
}

func one(texts []string) string { return strings.Join(texts, "") }

// frame adds a frame as the packages wrote it.
func (v *vectors) frame(name string, f frame) {
	v.t.Helper()
	o := object{"type", names[f.kind], "flags", f.flags, "id", f.id}
	switch f.kind {
	case hello, helloAck:
		numbers, texts := fields(v.t, f.body[6:])
		o = append(o, "version", binary.LittleEndian.Uint16(f.body[4:]), "max_frame", numbers[1], "max_calls", numbers[2],
			"name", one(texts[3]), "cell_version", one(texts[4]), "hash", one(texts[5]), "accepts", append([]string{}, texts[6]...))
	case call:
		b := f.body
		o = append(o, "method", binary.LittleEndian.Uint32(b), "flags", binary.LittleEndian.Uint32(b[4:]),
			"timeout", binary.LittleEndian.Uint64(b[8:]), "trace", hex.EncodeToString(b[16:32]), "schema", binary.LittleEndian.Uint64(b[32:]),
			"token", binary.LittleEndian.Uint32(b[40:]), "attempt", binary.LittleEndian.Uint32(b[44:]), "request", hex.EncodeToString(b[48:]))
		o[2], o[3] = "frame_flags", f.flags
	case errorFrame:
		numbers, texts := fields(v.t, f.body)
		o = append(o, "code", numbers[1], "name", one(texts[2]), "message", one(texts[3]), "payload", hex.EncodeToString([]byte(one(texts[4]))))
	case goAway:
		numbers, texts := fields(v.t, f.body[8:])
		o = append(o, "last", binary.LittleEndian.Uint64(f.body), "code", numbers[1], "message", one(texts[2]))
	default:
		o = append(o, "payload", hex.EncodeToString(f.body))
	}
	v.add("frames", object{"name", name, "frame", o, "hex", hex.EncodeToString(f.bytes())})
}

// fault adds an ERROR, which must have the code.
func (v *vectors) fault(name string, f frame, code wire.Code) {
	v.t.Helper()
	if numbers, _ := fields(v.t, f.body); numbers[1] != uint64(code) {
		v.t.Errorf("%s: code %d, want %d", name, numbers[1], code)
	}
	v.frame(name, f)
}

// peer is the side of a connection that the test plays itself.
type peer struct {
	t testing.TB
	net.Conn
}

func (p peer) write(f frame) {
	p.t.Helper()
	if _, err := p.Write(f.bytes()); err != nil {
		p.t.Fatal(err)
	}
}

// next reads the next frame, which must be of the type.
func (p peer) next(kind byte) frame {
	p.t.Helper()
	f, err := readFrame(p)
	if err != nil || f.kind != kind {
		p.t.Fatalf("frame %+v %v, want %s", f, err, names[kind])
	}
	return f
}

func pipe(t testing.TB) (ours peer, theirs net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	if err := a.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return peer{t, a}, b
}

// dir is a directory whose path is short enough for sockets.
func dir(t testing.TB) string {
	t.Helper()
	d, err := os.MkdirTemp("", "protocol")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(d) })
	return d
}

// patience bounds what should happen at once.
const patience = 10 * time.Second

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// clientFrames are what a Conn sends.
func (v *vectors) clientFrames() {
	t, g := v.t, v.genomes["calculator"]
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	p, nc := pipe(t)
	c := wire.Greet(nc, wire.Hello{Name: "shop", Version: "1.0.0", Hash: g.WireHash()})
	defer c.Close()
	v.frame("greeting of a client", p.next(hello))

	answered := make(chan error, 1)
	trace := [16]byte{0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36}
	request := must[[]byte](t)(encode(g, g.Method("Add").Request, `{"a":3,"b":-4}`))
	var schema uint64
	if _, err := fmt.Sscanf(g.WireHash()[:16], "%x", &schema); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := c.Do(ctx, wire.Call{Method: 1, Request: request, Trace: trace, Schema: schema, Attempt: 2, Priority: 7})
		answered <- err
	}()
	f := p.next(call)
	copy(f.body[8:16], make([]byte, 8)) // what is left of the context's time
	v.frame("call", f)
	p.write(frame{kind: result, id: f.id})
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if _, err := c.Do(context.WithoutCancel(ctx), wire.Call{Method: 4, OneWay: true}); err != nil {
		t.Error(err)
	}
	v.frame("one-way call", p.next(call))
	s := must[*wire.Stream](t)(c.Open(context.WithoutCancel(ctx), wire.Call{Method: 5}, true, true))
	v.frame("call with items in and out", p.next(call))
	if err := s.Send([]byte{0x08, 0x02}); err != nil {
		t.Error(err)
	}
	v.frame("item", p.next(data))
	p.write(frame{kind: data, id: 3, body: make([]byte, 128<<10-16)})
	if _, err := s.Recv(); err != nil {
		t.Error(err)
	}
	v.frame("credit for half of the first", p.next(credit))
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
	v.frame("end of the items", p.next(end))
	s.Close()
	v.frame("cancel", p.next(cancel))
	go func() { answered <- c.Ping(ctx) }()
	v.frame("ping", p.next(ping))
	p.write(frame{kind: pong, body: []byte("1")})
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// serverFrames are what a Server sends.
func (v *vectors) serverFrames() {
	t, g := v.t, v.genomes["calculator"]
	gate := make(chan struct{})
	s, dial := serve(t, g, func(ctx context.Context, r wire.Request) ([]byte, error) {
		switch r.Method {
		case 1:
			if d, ok := ctx.Deadline(); !ok || time.Until(d) < 59*time.Minute || time.Until(d) > time.Hour {
				return nil, errors.New("the timeout was not understood")
			}
			return encode(g, g.Method("Add").Result, `{"result":-1}`)
		case 2:
			payload, err := encode(g, *g.Type("Overflow").Struct, `{"A":9223372036854775807,"B":1}`)
			if err != nil {
				return nil, err
			}
			return nil, &wire.Error{Code: wire.CodeApplication, Name: "Overflow", Message: "overflow", Payload: payload}
		case 3:
			payload := append(textField(1, "a"), textField(2, "it has another type")...)
			return nil, &wire.Error{Code: wire.CodeInvalidRequest, Message: "invalid request: a: it has another type", Payload: payload}
		case 4:
			if _, err := r.Stream.Recv(); err != nil {
				return nil, err
			}
			return nil, r.Stream.Send([]byte{0x08, 0x02})
		}
		<-gate
		return nil, nil
	}, func(s *wire.Server) { s.MaxConnCalls = 1 })
	p := dial()
	p.write(frame{kind: hello, body: []byte("CELL\x01\x00")})
	v.frame("greeting of a server", p.next(helloAck))
	p.write(frame{kind: call, id: 1, body: callBody(1, 0, time.Hour, nil)})
	v.frame("result", p.next(result))
	p.write(frame{kind: call, id: 2, body: callBody(2, 0, 0, nil)})
	v.fault("error of the application", p.next(errorFrame), wire.CodeApplication)
	p.write(frame{kind: call, id: 3, body: callBody(3, 0, 0, nil)})
	v.fault("invalid request", p.next(errorFrame), wire.CodeInvalidRequest)
	p.write(frame{kind: call, id: 4, body: callBody(4, 6, 0, nil)})
	p.write(frame{kind: data, id: 4, body: make([]byte, 128<<10-16)})
	v.frame("credit of a server", p.next(credit))
	v.frame("item of a server", p.next(data))
	v.frame("result without fields", p.next(result))
	p.write(frame{kind: ping, body: []byte("sign of life")})
	v.frame("pong", p.next(pong))
	p.write(frame{kind: call, id: 9, body: callBody(99, 0, 0, nil)})
	p.write(frame{kind: call, id: 10, body: callBody(1, 0, 0, nil)})
	v.fault("refused call", p.next(errorFrame), wire.CodeOverloaded)
	close(gate)
	p.next(result)

	drained := make(chan error, 1)
	idle := func() {
		_, err := s.DrainIdle(t.Context(), 0)
		drained <- err
	}
	go idle()
	v.frame("going away, maybe", p.next(goAway))
	probe := p.next(ping)
	v.frame("ping behind it", probe)
	p.write(frame{kind: pong, body: probe.body})
	v.frame("going away", p.next(goAway))
	if err := <-drained; err != nil {
		t.Error(err)
	}

	s, dial = serve(t, g, nil, func(s *wire.Server) { s.MaxConns = 1 })
	p = dial()
	p.write(frame{kind: hello, body: []byte("CELL\x01\x00")})
	p.next(helloAck)
	v.frame("turned away", dial().next(goAway))
	p.write(frame{kind: result, id: 1})
	v.frame("fault of a client", p.next(goAway))
	s.Close()
}

// serve is a server of the packages.
func serve(t testing.TB, g *genome.Genome, h wire.Handler, change func(*wire.Server)) (*wire.Server, func() peer) {
	t.Helper()
	text := must[[]byte](t)(g.Marshal())
	s := &wire.Server{
		Handler: h, Genome: text,
		Hello: wire.Hello{Name: g.Cell, Version: g.Version, Hash: g.WireHash(), Accepts: []string{strings.Repeat("ab", 32)}},
	}
	if change != nil {
		change(s)
	}
	l := must[net.Listener](t)(net.Listen("unix", filepath.Join(dir(t), "s")))
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s, func() peer {
		t.Helper()
		nc := must[net.Conn](t)(net.Dial("unix", l.Addr().String()))
		t.Cleanup(func() { nc.Close() })
		if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		return peer{t, nc}
	}
}

func join(frames ...frame) (b []byte) {
	for _, f := range frames {
		b = append(b, f.bytes()...)
	}
	return b
}

var greeting = frame{kind: hello, body: []byte("CELL\x01\x00")}

// traced is what a Conn sends that calls within a span: a greeting, a SPAN and a CALL. cell.py does not know the second one.
func (v *vectors) traced() []byte {
	v.t.Helper()
	p, nc := pipe(v.t)
	c := wire.Greet(nc, wire.Hello{})
	defer c.Close()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	go func() {
		_, _ = c.Start(context.WithoutCancel(ctx), wire.Call{Span: wire.Span{ID: [8]byte{0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7}, Flags: wire.Sampled}})
	}()
	sent := []frame{p.next(hello), must[frame](v.t)(readFrame(p)), p.next(call)}
	if span := sent[1]; span.kind != 14 || span.flags != 1 || span.id != sent[2].id {
		v.t.Errorf("no span, but %+v", span)
	}
	return join(sent...)
}

// fromClient is what clients send, right or wrong, against a Server.
func (v *vectors) fromClient() {
	g := v.genomes["live"]
	wait, hold := g.Method("Wait").ID, g.Method("Hold").ID
	opened := func(method, flags uint32, frames ...frame) []byte {
		return join(append([]frame{greeting, {kind: call, id: 1, body: callBody(method, flags, 0, nil)}}, frames...)...)
	}
	odd := func(f frame, change func(b []byte)) []byte {
		b := f.bytes()
		change(b)
		return append(greeting.bytes(), b...)
	}
	with := func(body ...byte) []byte {
		return join(frame{kind: hello, body: append([]byte("CELL\x01\x00"), body...)})
	}
	genomeCall := frame{kind: call, id: 1, body: callBody(0, 0, 0, nil)}
	for _, c := range []struct {
		name, until string
		send        []byte
	}{
		{"no greeting", "", join(genomeCall)},
		{"another protocol", "", []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")},
		{"wrong magic", "", join(frame{kind: hello, body: []byte("SELL\x01\x00")})},
		{"version 0", "", join(frame{kind: hello, body: []byte("CELL\x00\x00")})},
		{"short greeting", "", join(frame{kind: hello, body: []byte("CEL")})},
		{"greeting cut short", "", with(0x1a, 0x7f)},
		{"greeting with a longest frame of 9", "", with(0x08, 9)},
		{"greeting with a long name", "", with(append([]byte{0x1a, 0x80, 0x02}, make([]byte, 256)...)...)},
		{"second greeting", "", join(greeting, greeting)},
		{"answer of a server", "", join(greeting, frame{kind: result, id: 1})},
		{"greeting of a server", "", join(greeting, frame{kind: helloAck, body: greeting.body})},
		{"going away", "", join(greeting, frame{kind: goAway, body: make([]byte, 8)})},
		{"too long", "", odd(genomeCall, func(b []byte) { binary.LittleEndian.PutUint32(b, wire.MaxFrame+1) })},
		{"reserved bytes", "", odd(genomeCall, func(b []byte) { b[7] = 1 })},
		{"short call", "", join(greeting, frame{kind: call, id: 1, body: make([]byte, 47)})},
		{"call 0", "", join(greeting, frame{kind: call, id: 0, body: genomeCall.body})},
		{"highest id", "", join(greeting, frame{kind: call, id: 1<<64 - 1, body: genomeCall.body})},
		{"same id again", "", opened(wait, 0, frame{kind: call, id: 1, body: genomeCall.body})},
		{"lower id", "", join(greeting, frame{kind: call, id: 7, body: callBody(wait, 0, 0, nil)}, frame{kind: call, id: 6, body: genomeCall.body})},
		{"one-way with items", "", opened(hold, 3)},
		{"unknown type", "", join(greeting, frame{kind: 77})},
		{"long ping", "", join(greeting, frame{kind: ping, body: make([]byte, 65)})},
		{"cancel with a body", "", join(greeting, frame{kind: cancel, id: 1, body: []byte("x")})},
		{"item of no call", "", join(greeting, frame{kind: data, id: 1})},
		{"item of call 0", "", join(greeting, frame{kind: data})},
		{"end of no call", "", join(greeting, frame{kind: end, id: 1})},
		{"end with a body", "", opened(hold, 2, frame{kind: end, id: 1, body: []byte("x")})},
		{"credit of no call", "", join(greeting, frame{kind: credit, id: 9, body: make([]byte, 4)})},
		{"credit of 3 bytes", "", opened(hold, 4, frame{kind: credit, id: 1, body: make([]byte, 3)})},
		{"item of a plain call", "", opened(wait, 0, frame{kind: data, id: 1})},
		{"item, items out only", "", opened(hold, 4, frame{kind: data, id: 1})},
		{"end, items out only", "", opened(hold, 4, frame{kind: end, id: 1})},
		{"credit, items in only", "", opened(hold, 2, frame{kind: credit, id: 1, body: make([]byte, 4)})},
		{"end twice", "", opened(hold, 6, frame{kind: end, id: 1}, frame{kind: end, id: 1})},
		{"item behind the end", "", opened(hold, 6, frame{kind: end, id: 1}, frame{kind: data, id: 1})},
		{"genome", "RESULT", join(greeting, genomeCall)},
		{"later version", "RESULT", join(frame{kind: hello, body: []byte("CELL\x09\x00")}, genomeCall)},
		{"greeting with unknown fields", "RESULT", append(with(0x78, 1, 0x7a, 1, 'x', 0x1a, 1, 0xff), join(genomeCall)...)},
		{"unknown frame that may be ignored", "RESULT", join(greeting, frame{kind: 77, flags: 1, body: make([]byte, 1000)}, genomeCall)},
		{"span ahead of a call", "RESULT", v.traced()},
		{"unknown flags", "RESULT", join(greeting, frame{kind: call, flags: 0xfc, id: 1, body: genomeCall.body})},
		{"cancel of no call", "RESULT", join(greeting, frame{kind: cancel, id: 3}, genomeCall)},
		{"pong without a ping", "RESULT", join(greeting, frame{kind: pong, body: []byte("going away")}, genomeCall)},
		{"ping", "PONG", join(greeting, frame{kind: ping, body: []byte("x")})},
		{"cancel", "ERROR", opened(wait, 0, frame{kind: cancel, id: 1})},
		{"cancel of a stream", "ERROR", opened(hold, 6, frame{kind: data, id: 1}, frame{kind: end, id: 1}, frame{kind: cancel, id: 1})},
		{"timeout", "ERROR", join(greeting, frame{kind: call, id: 1, body: callBody(wait, 0, time.Millisecond, nil)})},
		{"no such method", "ERROR", join(greeting, frame{kind: call, id: 1, body: callBody(99, 0, 0, nil)})},
		{"answer that is too long for the client", "ERROR", join(frame{kind: hello, body: []byte("CELL\x01\x00\x08\x80\x20")}, genomeCall)},
		{"one-way call", "RESULT", join(greeting, frame{kind: call, id: 1, body: callBody(0, 1, 0, nil)}, frame{kind: call, id: 2, body: genomeCall.body})},
		{"items without credit", "ERROR", opened(hold, 6, frame{kind: data, id: 1, body: make([]byte, 256<<10)}, frame{kind: data, id: 1})},
	} {
		served := "live"
		if strings.HasPrefix(c.name, "answer that is too long") {
			served = "kinds"
		}
		_, dial := serve(v.t, v.genomes[served], func(ctx context.Context, r wire.Request) ([]byte, error) {
			if r.Method == 99 {
				return nil, &wire.Error{Code: wire.CodeNoSuchMethod}
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}, nil)
		p := dial()
		go p.Write(c.send)
		var kinds []string
		says := ""
		for {
			f, err := readFrame(p)
			if err != nil {
				if !errors.Is(err, io.EOF) {
					v.t.Errorf("%s: %v after %q", c.name, err, kinds)
				}
				break
			}
			kinds = append(kinds, fmt.Sprint(names[f.kind], " ", f.id))
			if f.kind == goAway {
				numbers, texts := fields(v.t, f.body[8:])
				if says = one(texts[2]); numbers[1] != 3 {
					v.t.Errorf("%s: code %d", c.name, numbers[1])
				}
			}
			if names[f.kind] == c.until {
				break
			}
		}
		o := object{"name", c.name, "genome", served, "hex", runs(c.send)}
		if c.until == "" {
			if says == "" {
				v.t.Errorf("%s: no fault, but %q", c.name, kinds)
			}
			o = append(o, "reason", strings.TrimPrefix(says, "read frame: "))
		} else {
			if len(kinds) == 0 || !strings.HasPrefix(kinds[len(kinds)-1], c.until) {
				v.t.Errorf("%s: %q, want %s", c.name, kinds, c.until)
			}
			o = append(o, "answers", kinds)
		}
		v.add("from_client", o)
	}
}

// fromServer is what servers send, right or wrong, against a Conn.
func (v *vectors) fromServer() {
	g := v.genomes["live"]
	ack := frame{kind: helloAck, body: append([]byte("CELL\x01\x00"), textField(5, g.WireHash())...)}
	item := frame{kind: data, id: 1, body: []byte{0x0a, 0}}
	large := frame{kind: data, id: 1, body: append([]byte{0x0a, 0xfd, 0xff, 0x0f}, make([]byte, 256<<10-3)...)}
	for _, c := range []struct {
		name     string
		greeting frame
		call     string
		items    int
		then     []byte
		until    string
	}{
		{name: "greeting of a later version", greeting: frame{kind: helloAck, body: []byte("CELL\x02\x00")}},
		{name: "greeting with a longest frame of 1", greeting: frame{kind: helloAck, body: []byte("CELL\x01\x00\x08\x01")}},
		{name: "wrong magic", greeting: frame{kind: helloAck, body: []byte("SELL\x01\x00")}},
		{name: "greeting of a client", greeting: greeting},
		{name: "turned away", greeting: frame{kind: goAway, body: append(make([]byte, 8), 0x08, 6)}},
		{name: "greeting twice", call: "Wait", then: join(ack)},
		{name: "answer of another call", call: "Wait", then: join(frame{kind: result, id: 2})},
		{name: "answer of call 0", call: "Wait", then: join(frame{kind: errorFrame})},
		{name: "broken error", call: "Wait", then: join(frame{kind: errorFrame, id: 1, body: []byte{0x0a, 9}})},
		{name: "call", call: "Wait", then: join(frame{kind: call, id: 1, body: callBody(1, 0, 0, nil)})},
		{name: "end", call: "Hold", then: join(frame{kind: end, id: 1})},
		{name: "cancel", call: "Wait", then: join(frame{kind: cancel, id: 1})},
		{name: "short going away", call: "Wait", then: join(frame{kind: goAway, body: []byte("short")})},
		{name: "broken going away", call: "Wait", then: join(frame{kind: goAway, body: []byte("12345678\xff")})},
		{name: "unknown type", call: "Wait", then: join(frame{kind: 99})},
		{name: "another protocol", call: "Wait", then: []byte("HTTP/1.1 400 Bad Request\r\n\r\n")},
		{name: "item of no call", call: "Wait", then: join(frame{kind: data, id: 2})},
		{name: "item of a plain call", call: "Wait", then: join(item)},
		{name: "item, items in only", call: "Total", then: join(item)},
		{name: "credit of a plain call", call: "Wait", then: join(frame{kind: credit, id: 1, body: make([]byte, 4)})},
		{name: "credit, items out only", call: "Count", then: join(frame{kind: credit, id: 1, body: make([]byte, 4)})},
		{name: "credit without a number", call: "Total", then: join(frame{kind: credit, id: 1})},
		{name: "going away before the call", call: "Wait", then: join(frame{kind: goAway, body: make([]byte, 8)})},
		{name: "items without credit", call: "Count", then: join(large, item), until: "CANCEL"},
		{name: "ping", call: "Wait", then: join(frame{kind: ping, body: []byte("x")}), until: "PONG"},
		{name: "ignorable frame and a ping", call: "Wait", then: join(frame{kind: 99, flags: 1, body: []byte("x")}, frame{kind: ping}), until: "PONG"},
		{name: "enough items", call: "Count", items: 1, then: join(item, item, frame{kind: result, id: 1}, item, frame{kind: ping}), until: "PONG"},
	} {
		if c.greeting.kind == 0 {
			c.greeting = ack
		}
		p, nc := pipe(v.t)
		conn := wire.Greet(nc, wire.Hello{})
		p.write(c.greeting)
		saw := "closed"
		if c.call != "" {
			if _, err := conn.Peer(v.t.Context()); err != nil {
				v.t.Fatal(err)
			}
			m := g.Method(c.call)
			if m.In == nil && m.Out == nil {
				go conn.Call(v.t.Context(), m.ID, nil)
			} else {
				if _, err := conn.Open(v.t.Context(), wire.Call{Method: m.ID}, m.In != nil, m.Out != nil); err != nil {
					v.t.Fatal(err)
				}
			}
		}
		for {
			f, err := readFrame(p)
			if err != nil {
				if !errors.Is(err, io.EOF) {
					saw = err.Error()
				}
				break
			}
			if f.kind == call {
				p.write(frame{kind: 99, flags: 1}) // then may be longer than the socket takes
				go p.Write(c.then)
			}
			if names[f.kind] == c.until {
				saw = c.until
				break
			}
		}
		want := "closed"
		o := object{"name", c.name, "genome", "live", "greeting", runs(c.greeting.bytes()), "call", c.call, "then", runs(c.then)}
		if c.until != "" {
			want = c.until
			o = append(o, "until", c.until)
		} else {
			_, err := conn.Call(v.t.Context(), 1, nil)
			o = append(o, "reason", strings.NewReplacer("call not sent: ", "", "connection ended: ", "", "read frame: ", "").Replace(fmt.Sprint(err)))
		}
		if c.items > 0 {
			o = append(o, "items", c.items)
		}
		if saw != want {
			v.t.Errorf("%s: %s, want %s", c.name, saw, want)
		}
		v.add("from_server", o)
		conn.Close()
	}
}

// celld's packets.

func (v *vectors) packets() {
	request := func(r broker.Request) object {
		return object{"op", r.Op, "target", r.Target, "hash", r.Hash, "sequence", r.Sequence, "number", r.Number}
	}
	answer := func(a broker.Answer) object {
		return object{"code", a.Code, "message", a.Message, "instance", a.Instance, "sequence", a.Sequence, "event", a.Event, "time", a.Time}
	}
	for _, r := range []broker.Request{
		{Op: broker.OpConnect, Target: "catalog", Hash: v.genomes["catalog"].WireHash(), Sequence: 1},
		{Op: broker.OpSpawn, Target: "shop.users", Sequence: 2},
		{Op: broker.OpStop, Target: "shop.users", Sequence: 3},
		{Op: broker.OpReplicate, Target: "worker", Number: 10, Sequence: 1<<64 - 1},
		{Op: broker.OpWatch},
	} {
		v.add("packets", object{"packet", "request", "fields", request(r), "hex", hex.EncodeToString(r.Append(nil))})
	}
	for _, a := range []broker.Answer{
		{Instance: "shop.catalog", Sequence: 1},
		{Code: broker.NotFound, Message: "there is no cell catalog", Sequence: 1},
		{Code: broker.Failed, Message: "größer"},
		{Instance: "shop.worker:2", Event: "died", Message: "exit status 1", Time: 1767366245000000001, Sequence: 7},
		{Instance: "shop", Event: "born", Time: -1},
	} {
		v.add("packets", object{"packet", "answer", "fields", answer(a), "hex", hex.EncodeToString(a.Append(nil))})
	}
	for _, s := range []string{"", "78 01 7a 01 78 0801 1201 61", "1201 ff 0801", "7d 00000000 79 0000000000000000 0802"} {
		data := unhex(v.t, s)
		r, err := broker.ParseRequest(data)
		if err != nil {
			v.t.Errorf("%s: %v", s, err)
		}
		v.add("packets", object{"packet", "request", "fields", request(r), "hex", hex.EncodeToString(data), "read_only", true})
	}
	for _, s := range []string{"08", "1205 61", "00", "0f", "0880", "1a ffffffffffffffffff01", "7d 0000", strings.Repeat("00", broker.MaxPacket+1)} {
		data := unhex(v.t, s)
		_, err := broker.ParseRequest(data)
		if _, other := broker.ParseAnswer(data); err == nil || other == nil {
			v.t.Errorf("%s is read", s)
			continue
		}
		v.add("packets_refused", object{"hex", runs(data), "reason", err.Error()})
	}
}

// TestVectors demands that vectors.json is what the packages write, read and refuse.
func TestVectors(t *testing.T) {
	v := &vectors{t: t, lines: map[string][]string{}, genomes: genomes(t)}
	for _, name := range genomeNames {
		v.add("hashes", object{"genome", name, "wire", v.genomes[name].WireHash(), "full", v.genomes[name].FullHash()})
	}
	v.messages()
	v.clientFrames()
	v.serverFrames()
	v.fromClient()
	v.fromServer()
	v.packets()
	got := v.file()
	if !json.Valid(got) {
		t.Fatal("the vectors are not JSON")
	}
	if *update {
		if err := os.WriteFile("vectors.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile("vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, got) {
		t.Errorf("vectors.json is not what the packages make: %s\nrun: go test ./tests/protocol -run TestVectors -update", differs(have, got))
	}
}

func differs(have, got []byte) string {
	a, b := strings.Split(string(have), "\n"), strings.Split(string(got), "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d is\n%.300s\nand should be\n%.300s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("it has %d lines instead of %d", len(a), len(b))
}
