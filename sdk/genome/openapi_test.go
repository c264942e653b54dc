package genome

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// loadOpenAPI reads what OpenAPI wrote with a parser of the format, which finds what the format forbids.
func loadOpenAPI(t *testing.T, g *Genome) *openapi3.T {
	t.Helper()
	data := OpenAPI(g)
	doc, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	return doc
}

func TestOpenAPIIsValid(t *testing.T) {
	for _, g := range []*Genome{calculator(t), zoo(t), sample(t), {Format: Format}} {
		doc := loadOpenAPI(t, g)
		if n := doc.Paths.Len(); n != len(g.Methods) {
			t.Errorf("%s: %d paths of %d", g.Cell, n, len(g.Methods))
		}
		if n := len(doc.Components.Schemas); n != len(g.Types)+1 {
			t.Errorf("%s: %d schemas of %d", g.Cell, n, len(g.Types)+1)
		}
	}
	doc := loadOpenAPI(t, zoo(t))
	if op := doc.Paths.Find("/zoo.Zoo/Chat"); op == nil || op.Post.OperationID != "Chat" || op.Post.Extensions["x-cell-stream"] == nil {
		t.Error("Chat has no streams")
	}
	if doc.Components.Schemas["CallError2"] == nil { // CallError is a type
		t.Error("no schema for errors")
	}
}

// schemaOf compiles the schema at a place of the description.
func schemaOf(t *testing.T, g *Genome, pointer string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(OpenAPI(g)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.AssertContent()
	if err := c.AddResource("cell.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("cell.json#" + pointer)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validJSON(t *testing.T, s *jsonschema.Schema, value string) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(value))
	if err != nil {
		t.Fatalf("%v: %s", err, value)
	}
	return s.Validate(v)
}

func TestOpenAPIFitsValues(t *testing.T) {
	g := zoo(t)
	m := g.Method("Echo")
	request := schemaOf(t, g, "/paths/~1zoo.Zoo~1Echo/post/requestBody/content/application~1json/schema")
	result := schemaOf(t, g, "/paths/~1zoo.Zoo~1Echo/post/responses/200/content/application~1json/schema")
	for _, body := range append(echoRequests(), `{}`) {
		if err := validJSON(t, request, body); err != nil {
			t.Errorf("request: %v\n%s", err, body)
		}
		data, err := EncodeJSON(g, m, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		out, err := DecodeResults(g, m, data)
		if err != nil {
			t.Fatal(err)
		}
		if err := validJSON(t, result, string(out.JSON)); err != nil {
			t.Errorf("result: %v\n%s", err, out.JSON)
		}
	}
	late := schemaOf(t, g, "/components/schemas/Late") // nobody sends it: it is whole
	out, err := DecodeError(g, "Late", nil)
	if err != nil || validJSON(t, late, string(out.JSON)) != nil || validJSON(t, late, `{"By":"1s"}`) == nil {
		t.Errorf("Late: %v %s", err, out.JSON)
	}
	items := schemaOf(t, g, "/paths/~1zoo.Zoo~1Chat/post/x-cell-stream/in")
	if validJSON(t, items, `null`) != nil || validJSON(t, items, `"x"`) != nil || validJSON(t, items, `1`) == nil {
		t.Error("items of Chat")
	}
}

// What this package refuses, the schemas refuse, and the other way round.
func TestOpenAPIRefuses(t *testing.T) {
	g := zoo(t)
	m := g.Method("Echo")
	all := schemaOf(t, g, "/components/schemas/All")
	for _, value := range []string{
		`{"B":1}`, `{"I":"x"}`, `{"I":"1.5"}`, `{"I":""}`, `{"U64":"-1"}`, `{"I8":"128"}`, `{"I":1.5}`, `{"I8":128}`, `{"I8":-129}`, `{"I16":32768}`, `{"I32":2147483648}`, `{"U8":-1}`, `{"U8":256}`,
		`{"U64":-1}`, `{"U32":4294967296}`, `{"F64":"x"}`, `{"F64":null}`, `{"S":null}`, `{"S":1}`, `{"Raw":"%"}`, `{"D":1}`, `{"D":"1"}`, `{"D":"soon"}`,
		`{"T":"today"}`, `{"O":1}`, `{"OP":[]}`, `{"L":{}}`, `{"L":[null]}`, `{"LO":[1]}`, `{"A":[1,2]}`, `{"A":[1,2,3,4]}`, `{"AB":"AQID"}`,
		`{"A0":[1]}`, `{"M":[]}`, `{"M":{"a":null}}`, `{"MI":{"x":[]}}`, `{"MB":{"yes":1}}`, `{"MD":{"x":"1970-01-01T00:00:01Z"}}`, `{"MM":{"-1":{}}}`,
		`{"C":2147483648}`, `{"Word":1}`, `{"Sh":{}}`, `{"Sh":{"type":"Line"}}`, `{"Sh":{"type":"Circle","R":"x"}}`, `{"Sh":1}`, `{"OS":{"type":1}}`,
		`{"Grid":[[1,2]]}`, `{"Tree":[1]}`, `{"Digest":"AAAA"}`, `{"Clash":{"Last":1}}`, `[]`, `null`,
	} {
		_, err := EncodeJSON(g, m, []byte(`{"v":`+value+`}`))
		if err == nil || validJSON(t, all, value) == nil {
			t.Errorf("%s was accepted: by the encoder %v, by the schema %v", value, err == nil, validJSON(t, all, value) == nil)
		}
	}
	// The schema shows one way to write a number; that it may be a text is for clients that always do so.
	for _, value := range []string{`{"I":"-9223372036854775808"}`, `{"U64":"18446744073709551615"}`, `{"MM":{"1":{}}}`, `{"C":"77"}`} {
		if _, err := EncodeJSON(g, m, []byte(`{"v":`+value+`}`)); err != nil {
			t.Error(err)
		}
	}
	for _, value := range []string{
		`{}`, `{"D":"0"}`, `{"D":"-1.5h30m"}`, `{"D":"1µs"}`, `{"F32":"NaN"}`, `{"T":"2026-01-02T15:04:05.5+01:00"}`, `{"Sh":null}`, `{"J":null}`,
		`{"J":[1,{"a":2}]}`, `{"O":null}`, `{"C":77}`, `{"MC":{"-3":null}}`, `{"A0":[]}`, `{"OJ":1}`, `{"U64":18446744073709551615}`,
	} {
		if _, err := EncodeJSON(g, m, []byte(`{"v":`+value+`}`)); err != nil || validJSON(t, all, value) != nil {
			t.Errorf("%s was refused: by the encoder %v, by the schema %v", value, err, validJSON(t, all, value))
		}
	}
}

// A genome that Parse accepts becomes a file of each form that its parser accepts.
func FuzzExports(f *testing.F) {
	for _, g := range []*Genome{sample(f), zoo(f), calculator(f)} {
		data, err := g.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	if data, err := os.ReadFile("../gen/testdata/golden/genome.json.txt"); err == nil {
		f.Add(data)
	}
	for _, text := range []string{
		`{"format":1,"cell":"","version":"","serves":"","next":1,"methods":null}`,
		`{"format":1,"cell":"{x}/..?#","version":"a","serves":"9 lives","doc":"*/","next":1,"methods":null,"types":[{"name":"A","base":"[][]A"}]}`,
		`{"format":1,"cell":"google.protobuf","version":"","serves":"Timestamp","next":3,"methods":[` +
			`{"id":1,"name":"É","request":{"next":1},"result":{"next":2,"fields":[{"id":1,"name":"É","type":"É"}]}},` +
			`{"id":2,"name":"U00c9","request":{"next":1},"result":{"next":2,"fields":[{"id":1,"name":"time","type":"time"}]}}],` +
			`"types":[{"name":"É","sum":{"next":1}},{"name":"U00c9","base":"map[U00c9K]*[]U00c9"},{"name":"U00c9K","base":"bool"}]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := Parse(data)
		if err != nil || len(data) > 1<<16 {
			return
		}
		parseText(t, Text(g))
		compileProto(t, g)
		loadOpenAPI(t, g)
	})
}
