package genome

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// compileProto compiles what Proto wrote.
func compileProto(t *testing.T, g *Genome) protoreflect.FileDescriptor {
	t.Helper()
	source := string(Proto(g))
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(map[string]string{"cell.proto": source}),
	})}
	files, err := c.Compile(context.Background(), "cell.proto")
	if err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
	return files[0]
}

const zooValues = `{"B":true,"I":-9223372036854775808,"I8":-128,"I16":-1,"I32":2147483647,"I64":9007199254740993,"U":18446744073709551615,` +
	`"U8":255,"U16":65535,"U32":4294967295,"U64":1,"F32":0.1,"F64":-2.5,"S":"grüße \u0000","Raw":"AP8=","D":"-1.5s",` +
	`"T":"1815-12-10T01:02:03.000000004Z","J":{"a":[1,null]},"O":"","OI":0,"OP":{"X":1,"Y":-2},"OL":[],"OM":{"a":1},"OT":"1970-01-01T00:00:00Z",` +
	`"OJ":[],"OA":[1,2],"OS":{"type":"Square","Side":7,"Type":"x"},"OC":5,"OIDs":[1],"L":["","x"],"LR":["","AA=="],"L8":[-1,0,1],"LB":[true,false],` +
	`"LF":[1.5,"NaN"],"LD":["+Inf","-Inf"],"LL":[[],[1,-1]],"LO":[null,{"X":0,"Y":0}],"LP":[{"X":1,"Y":2}],"LT":["0001-01-01T00:00:00Z"],` +
	`"LDs":["1ns","2h0m0s"],"LC":[-1,7],"LJ":["x"],"LM":[{},{"a":1}],"LA":[[true,false]],"LS":[null,{"type":"Circle","R":1}],"LIDs":[[],[1,2]],` +
	`"LOI":[null,-1],"A":[1,2,-3],"AB":"AQIDBA==","AV":[1,2],"AL":[[],["x"]],"AA":[[1,2],[3,4]],"AP":[null],` +
	`"AS":[{"type":"Variant"},{"type":"Group","In":[null]}],"A0":[],"M":{"":{"X":1,"Y":0},"k":{"X":0,"Y":2}},"MI":{"-1":["a"],"5":[]},` +
	`"MB":{"false":1,"true":2},"MC":{"-1":{"X":5,"Y":0},"2":null},"MD":{"1s":"1970-01-01T00:00:01Z"},"MM":{"7":{"a":1}},"MA":{"x":"AAE="},` +
	`"MW":{"w":{"type":"Circle","R":2},"n":null},"MJ":{"9":{"b":true}},"C":-1,"Word":"w","Ratio":0.25,"IDs":[1,2],"Table":{"t":[3]},"Tree":[[],[[]]],` +
	`"Grid":[[1,2],[3,4]],"Digest":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=","Next":null,"Sh":{"type":"Square","Side":-1,"Type":""},` +
	`"Clash":{"User":{"u":1},"Last":{"Name":"n"},"FooBar":1,"Foo_Bar":2,"Foobar":3,"Google":"2026-01-02T15:04:05Z","Message":"m","Option":false,` +
	`"Variant":4,"UserIDs":[5],"HTTPServer":"h","X_":6,"OptionalPos":{"o":7},"Other":[null,{"Pos":{"X":8,"Y":9},"Square":null}]}}`

// values are requests of Echo: everything set, nothing set, and one within the other.
func echoRequests() []string {
	return []string{
		`{"v":` + zooValues + `}`, `{"v":{}}`,
		`{"v":` + strings.Replace(zooValues, `"Next":null`, `"Next":`+zooValues, 1) + `}`,
	}
}

func unmarshalNumbers(t *testing.T, data []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return v
}

// What this package writes a reader of protocol buffers reads, and the other way round.
func TestProtoThereAndBack(t *testing.T) {
	g := zoo(t)
	file := compileProto(t, g)
	m := g.Method("Echo")
	request, response := file.Messages().ByName("EchoRequest"), file.Messages().ByName("EchoResponse")
	for _, body := range echoRequests() {
		data, err := EncodeJSON(g, m, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		want, err := DecodeResults(g, &Method{Name: m.Name, Result: m.Request}, data)
		if err != nil {
			t.Fatal(err)
		}

		msg := dynamicpb.NewMessage(request)
		if err := proto.Unmarshal(data, msg); err != nil {
			t.Fatal(err)
		}
		noUnknown(t, msg)
		r := &protoReader{t: t, g: g}
		got := r.message(&m.Request, msg)
		if !reflect.DeepEqual(got, unmarshalNumbers(t, want.JSON)) {
			t.Errorf("read as protocol buffers:\n%v\nwant\n%v", got, unmarshalNumbers(t, want.JSON))
		}

		// The answer is another message with the same field.
		answer := dynamicpb.NewMessage(response)
		answer.Set(response.Fields().ByNumber(1), msg.Get(request.Fields().ByNumber(1)))
		back, err := proto.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		out, err := DecodeResults(g, m, back)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Replace(string(out.JSON), `{"result":`, `{"v":`, 1) != string(want.JSON) {
			t.Errorf("written as protocol buffers:\n%s\nwant\n%s", out.JSON, want.JSON)
		}
	}
	empty, err := DecodeResults(g, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := EncodeJSON(g, m, []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	zero, err := DecodeResults(g, m, data)
	if err != nil || string(zero.JSON) != string(empty.JSON) {
		t.Errorf("an empty message is\n%s\nwant\n%s %v", empty.JSON, zero.JSON, err)
	}
}

// noUnknown demands that the file has every field that was written.
func noUnknown(t *testing.T, m protoreflect.Message) {
	t.Helper()
	if u := m.GetUnknown(); len(u) > 0 {
		t.Errorf("%s: unknown %x", m.Descriptor().FullName(), u)
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { noUnknown(t, v.Message()); return true })
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				noUnknown(t, v.List().Get(i).Message())
			}
		case f.Message() != nil && !f.IsMap() && !f.IsList():
			noUnknown(t, v.Message())
		}
		return true
	})
}

// protoReader turns what the protobuf runtime has read into values as package json has them.
type protoReader struct {
	t *testing.T
	g *Genome
}

func (p *protoReader) message(m *Message, msg protoreflect.Message) map[string]any {
	out := map[string]any{}
	for _, f := range m.Fields {
		d := msg.Descriptor().Fields().ByNumber(protoreflect.FieldNumber(f.ID))
		if d == nil {
			p.t.Fatalf("%s has no field %d for %s", msg.Descriptor().FullName(), f.ID, f.Name)
		}
		out[f.Name] = p.field(f.Type, msg, d)
	}
	return out
}

func (p *protoReader) field(r Ref, msg protoreflect.Message, d protoreflect.FieldDescriptor) any {
	base, _ := p.g.Resolve(r)
	switch base.Kind {
	case Optional:
		if !msg.Has(d) {
			return nil
		}
		return p.element(*base.Elem, msg.Get(d))
	case List:
		out := []any{}
		for i := range msg.Get(d).List().Len() {
			out = append(out, p.element(*base.Elem, msg.Get(d).List().Get(i)))
		}
		return out
	case Map:
		out := map[string]any{}
		key, _ := p.g.Resolve(base.KeyRef())
		msg.Get(d).Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			out[fmt.Sprint(p.scalar(key.Kind, k.Value()))] = p.element(*base.Elem, v)
			return true
		})
		return out
	}
	if !msg.Has(d) {
		p.t.Errorf("%s is not written", d.FullName())
	}
	return p.element(r, msg.Get(d))
}

func (p *protoReader) element(r Ref, v protoreflect.Value) any {
	base, fields := p.g.Resolve(r)
	one := func(r Ref) any { return p.field(r, v.Message(), v.Message().Descriptor().Fields().ByNumber(1)) }
	switch {
	case base.Kind == Named && p.g.Type(base.Name).Sum != nil:
		d := v.Message().WhichOneof(v.Message().Descriptor().Oneofs().Get(0))
		for _, f := range fields.Fields {
			if d != nil && uint32(d.Number()) == f.ID {
				out := p.message(p.g.Type(f.Name).Struct, v.Message().Get(d).Message())
				out["type"] = f.Name
				return out
			}
		}
		return nil
	case base.Kind == Named:
		return p.message(fields, v.Message())
	case base.ByteArray():
		return base64.StdEncoding.EncodeToString(v.Bytes())
	case base.Kind == Array:
		return one(Ref{Kind: List, Elem: base.Elem})
	case base.Kind == Optional || base.Kind == List || base.Kind == Map:
		return one(base)
	case base.Kind == Time:
		d := v.Message().Descriptor()
		if d.FullName() != "google.protobuf.Timestamp" {
			p.t.Errorf("a time is a %s", d.FullName())
		}
		get := func(n protoreflect.FieldNumber) int64 { return v.Message().Get(d.Fields().ByNumber(n)).Int() }
		return time.Unix(get(1), get(2)).UTC().Format(time.RFC3339Nano)
	}
	return p.scalar(base.Kind, v)
}

func (p *protoReader) scalar(k Kind, v protoreflect.Value) any {
	switch {
	case k == Duration:
		return time.Duration(v.Int()).String()
	case k == Bytes:
		return base64.StdEncoding.EncodeToString(v.Bytes())
	case k == JSON && len(v.Bytes()) == 0:
		return nil
	case k == JSON:
		return unmarshalNumbers(p.t, v.Bytes())
	case k == Float32 || k == Float64:
		text := strconv.FormatFloat(v.Float(), 'g', -1, map[Kind]int{Float32: 32, Float64: 64}[k])
		if math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0) {
			return text
		}
		return json.Number(text)
	case k.Integer():
		return json.Number(fmt.Sprint(v.Interface()))
	}
	return v.Interface()
}

func TestProtoService(t *testing.T) {
	file := compileProto(t, zoo(t))
	if file.Services().Len() != 1 || file.Services().Get(0).Name() != "Zoo2" { // Zoo is a type
		t.Fatal("no service")
	}
	got := map[string]string{}
	all := file.Services().Get(0).Methods()
	for i := range all.Len() {
		m := all.Get(i)
		text := string(m.Input().Name()) + " " + string(m.Output().Name())
		if m.IsStreamingClient() {
			text = "stream " + text
		}
		if m.IsStreamingServer() {
			text += " stream"
		}
		got[string(m.Name())] = text
	}
	want := map[string]string{
		"Echo": "EchoRequest EchoResponse", "Add": "AddRequest2 AddResponse", "AddRequest": "AddRequestRequest AddRequestResponse",
		"Names": "NamesRequest NamesResponse", "Pair": "PairRequest PairResponse", "Sum": "SumRequest SumResponse",
		"Tell": "TellRequest TellResponse", "Ticks": "TicksRequest TicksResponseItem stream", "Upload": "stream UploadRequestItem UploadResponse",
		"Collect": "stream CollectRequestItem CollectResponse", "Chat": "stream ChatRequestItem ChatResponseItem stream",
		"Prices": "PricesRequest PricesResponseItem stream", "Clean": "CleanRequest CleanResponse",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if file.Messages().ByName("UploadRequest") == nil || file.Messages().ByName("CollectRequest") != nil {
		t.Error("a stream to the cell has a request when there are parameters, and only then")
	}
	// The bare name would be the entries of the map User.
	last := file.Messages().ByName("Clash").Fields().ByName("last")
	if last.Message().FullName() != "zoo.UserEntry" {
		t.Errorf("Last is a %s", last.Message().FullName())
	}
}

func TestProtoc(t *testing.T) {
	protoc, err := exec.LookPath("protoc")
	if err != nil {
		t.Skip("there is no protoc; another compiler of the language is tested in any case")
	}
	for _, g := range []*Genome{calculator(t), zoo(t), sample(t)} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "cell.proto"), Proto(g), 0o644); err != nil {
			t.Fatal(err)
		}
		// Some distributions have protoc without what it is usually delivered with.
		time := "syntax = \"proto3\";\npackage google.protobuf;\nmessage Timestamp { int64 seconds = 1; int32 nanos = 2; }\n"
		if err := os.MkdirAll(filepath.Join(dir, "google", "protobuf"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "google", "protobuf", "timestamp.proto"), []byte(time), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(protoc, "-I", dir, "-o", os.DevNull, "cell.proto").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}

func TestSnake(t *testing.T) {
	for name, want := range map[string]string{
		"A": "a", "UserID": "user_id", "UserIDs": "user_ids", "IDs": "ids", "HTTPServer": "http_server", "I8": "i8", "F32Value": "f32_value",
		"already_snake": "already_snake", "_": "x", "_9": "x9", "X_": "x", "Ärger": "u00e4rger", "aB": "a_b", "A_B": "a_b", "LIDsOf": "lids_of",
	} {
		if got := snake(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestProtoPackage(t *testing.T) {
	for cell, want := range map[string]string{
		"users": "users", "my-cell": "my_cell", "shop.Users": "shop.users", "": "x", "1st": "x1st", "a..b": "a.x.b", "käse": "ku00e4se",
		"google": "xgoogle", "a b;": "a_b_",
	} {
		if got := protoPackage(cell); got != want {
			t.Errorf("%q: %s, want %s", cell, got, want)
		}
	}
}
