package httpdoor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/wire"
)

// clock is what the cell of these tests serves.
func clock(t testing.TB) *genome.Genome {
	field := func(name, ref string) genome.Field {
		r, err := genome.ParseRef(ref)
		if err != nil {
			t.Fatal(err)
		}
		return genome.Field{Name: name, Type: r}
	}
	message := func(words ...string) genome.Message {
		var m genome.Message
		for i := 0; i < len(words); i += 2 {
			m.Fields = append(m.Fields, field(words[i], words[i+1]))
		}
		return m
	}
	item := func(ref string) *genome.Message { m := message("item", ref); return &m }
	point, overflow := message("UserID", "int64", "Label", "*string", "Raw", "json"), message("A", "int64", "B", "int64")
	g := &genome.Genome{
		Format: genome.Format, Cell: "my-clock", Version: "1.2.0", Serves: "Clock",
		Methods: []genome.Method{
			{Name: "Add", Request: message("a", "int64", "b", "int64"), Result: message("result", "int64")},
			{Name: "Chat", In: item("string"), Out: item("string")},
			{Name: "Echo", Request: message("p", "Point"), Result: message("result", "Point")},
			{Name: "Forever", Out: item("bytes")},
			{Name: "Hang"},
			{Name: "Note", OneWay: true, Request: message("text", "string")},
			{Name: "Panic"},
			{Name: "Ticks", Request: message("n", "int"), Out: item("Point")},
			{Name: "Total", In: item("int"), Result: message("result", "int")},
		},
		Types: []genome.Type{
			{Name: "Overflow", Struct: &overflow},
			{Name: "Point", Struct: &point},
		},
		Errors: []genome.Error{{Name: "Overflow"}},
	}
	g.Merge(nil)
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	return g
}

// provider is the cell: its methods work on JSON, through the codec that the door uses too.
type provider struct {
	g       *genome.Genome
	server  *wire.Server
	trace   atomic.Value  // text of the trace and the span of the last call
	sent    atomic.Int64  // items of Forever
	hangs   chan struct{} // calls that began to hang
	ended   chan error    // how streams and hanging calls ended
	notes   chan string
	connect func(context.Context, string) (*wire.Conn, error)
}

func newProvider(t testing.TB) *provider {
	p := &provider{g: clock(t), hangs: make(chan struct{}, 100), ended: make(chan error, 100), notes: make(chan string, 100)}
	data, err := p.g.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p.server = &wire.Server{Handler: p.handle, Genome: data, Hello: wire.Hello{Name: "my-clock", Version: "1.2.0", Hash: p.g.WireHash()}}
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.server.Serve(l) }()
	t.Cleanup(p.server.Close)
	p.connect = func(ctx context.Context, name string) (*wire.Conn, error) {
		if name == "gone" {
			return nil, fmt.Errorf("nobody serves it")
		}
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", l.Addr().String())
		if err != nil {
			return nil, err
		}
		return wire.NewConn(c), nil
	}
	return p
}

// as decodes one side of a method as if it were a result.
func (p *provider) as(m *genome.Message, data []byte, into any) {
	out, err := genome.DecodeResults(p.g, &genome.Method{Name: "x", Result: *m}, data)
	if err == nil {
		err = json.Unmarshal(out.JSON, into)
	}
	if err != nil {
		panic(&wire.Error{Code: wire.CodeInvalidRequest, Message: err.Error()})
	}
}

func (p *provider) from(m *genome.Message, v any) []byte {
	body, err := json.Marshal(v)
	if err == nil {
		body, err = genome.EncodeJSON(p.g, &genome.Method{Name: "x", Request: *m}, body)
	}
	if err != nil {
		panic(err)
	}
	return body
}

func (p *provider) handle(ctx context.Context, r wire.Request) (result []byte, err error) {
	p.trace.Store(fmt.Sprintf("%x-%x-%02x", r.Trace, r.Span.ID, r.Span.Flags))
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *wire.Error:
			result, err = nil, e
		default:
			panic(e)
		}
	}()
	var m *genome.Method
	for i := range p.g.Methods {
		if p.g.Methods[i].ID == r.Method {
			m = &p.g.Methods[i]
		}
	}
	type object = map[string]any
	switch m.Name {
	case "Add":
		var in struct{ A, B int64 }
		p.as(&m.Request, r.Payload, &in)
		if sum := in.A + in.B; in.A >= 0 == (sum >= in.B) {
			return p.from(&m.Result, object{"result": sum}), nil
		}
		return nil, &wire.Error{
			Code: wire.CodeApplication, Name: "Overflow", Message: fmt.Sprintf("%d + %d overflows", in.A, in.B),
			Payload: p.from(p.g.Type("Overflow").Struct, in),
		}
	case "Echo":
		var in struct{ P any }
		p.as(&m.Request, r.Payload, &in)
		return p.from(&m.Result, object{"result": in.P}), nil
	case "Note":
		var in struct{ Text string }
		p.as(&m.Request, r.Payload, &in)
		p.notes <- in.Text
		return nil, nil
	case "Hang":
		select {
		case p.hangs <- struct{}{}:
		default: // nobody wants to know
		}
		<-ctx.Done()
		p.ended <- context.Cause(ctx)
		return nil, ctx.Err()
	case "Panic":
		panic("told by the cell")
	case "Ticks":
		var in struct{ N int }
		p.as(&m.Request, r.Payload, &in)
		for i := range max(in.N, -in.N) {
			if err := r.Stream.Send(p.from(m.Out, object{"item": object{"UserID": i, "Label": "a\nb", "Raw": []int{1}}})); err != nil {
				return nil, err
			}
		}
		if in.N < 0 {
			return nil, &wire.Error{Code: wire.CodeApplication, Name: "Overflow", Message: "too many", Payload: p.from(p.g.Type("Overflow").Struct, object{"A": in.N})}
		}
		return nil, nil
	case "Forever":
		for {
			if err := r.Stream.Send(p.from(m.Out, object{"item": bytes.Repeat([]byte("x"), 3000)})); err != nil {
				p.ended <- err
				return nil, err
			}
			p.sent.Add(1)
		}
	case "Total", "Chat":
		total := 0
		for {
			data, err := r.Stream.Recv()
			if err == io.EOF && m.Out != nil {
				return nil, nil
			}
			if err == io.EOF {
				return p.from(&m.Result, map[string]any{"result": total}), nil
			}
			if err != nil {
				p.ended <- err
				return nil, err
			}
			if m.Out == nil {
				var in struct{ Item int }
				p.as(m.In, data, &in)
				total += in.Item
				continue
			}
			if err := r.Stream.Send(data); err != nil {
				return nil, err
			}
		}
	}
	return nil, fmt.Errorf("not a method of the clock")
}

// open serves a door to the provider.
func open(t testing.TB, p *provider, change func(*Config)) (*Door, *httptest.Server) {
	c := Config{Cells: []string{"my-clock", "gone"}, Connect: p.connect, Stall: 5 * time.Second}
	if change != nil {
		change(&c)
	}
	d := New(c)
	s := httptest.NewServer(d)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		d.Drain(ctx)
		s.Close()
		d.Close()
	})
	return d, s
}

// ask makes a request. headers are "Name: value"; an empty method is a POST of JSON.
func ask(t testing.TB, s *httptest.Server, method, path, body string, headers ...string) (int, string, http.Header) {
	t.Helper()
	if method == "" {
		method = http.MethodPost
		headers = append([]string{"Content-Type: application/json"}, headers...)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(data), answer.Header
}

func TestUnary(t *testing.T) {
	p := newProvider(t)
	_, s := open(t, p, func(c *Config) { c.MaxBody = 1000 })
	const add = "/my-clock/Add"
	for _, c := range []struct {
		method, path, body string
		headers            []string
		status             int
		want               string
	}{
		{"", add, `{"a":3,"b":4}`, nil, 200, `{"result":7}`},
		{"", "/my-clock.Clock/Add", `{"a":3}`, nil, 200, `{"result":3}`},
		{"", "/my_clock.Clock/Add", `{"a":"9007199254740993"}`, nil, 200, `{"result":9007199254740993}`},
		{"", add, ``, []string{"Content-Type: application/json; charset=utf-8", "Connect-Protocol-Version: 1"}, 200, `{"result":0}`},
		{"", "/my-clock/Echo", `{"p":{"UserID":1,"Raw":{"x":[1,2]}}}`, nil, 200, `{"result":{"UserID":1,"Label":null,"Raw":{"x":[1,2]}}}`},
		{"", "/my-clock/Note", `{"text":"hi"}`, nil, 200, `{}`},
		{"", add, `{"a":9223372036854775807,"b":1}`, nil, 400, `{"code":"failed_precondition","message":"9223372036854775807 + 1 overflows","details":[` +
			`{"type":"my_clock.Overflow","value":"CP7//////////wEQAg","debug":{"A":9223372036854775807,"B":1}}]}`},
		{"", add, `{"a":1.5}`, nil, 400, `{"code":"invalid_argument","message":"Add: a: \"1.5\" is not a whole number"}`},
		{"", add, `{"c":1}`, nil, 400, `there is no field`},
		{"", add, `{`, nil, 400, `not JSON`},
		{"POST", add, "\x08", []string{"Content-Type: application/proto"}, 400, `invalid_argument`},
		{"", add, `{}`, []string{"Content-Type: text/plain"}, 415, `application/proto`},
		{"POST", add, `{}`, nil, 415, `application/proto`},
		{"", add, `{}`, []string{"Connect-Protocol-Version: 2"}, 400, `is not 1`},
		{"", add, `{}`, []string{"Content-Encoding: gzip"}, 501, `"unimplemented"`},
		{"", add, `{}`, []string{"Connect-Timeout-Ms: soon"}, 400, `Connect-Timeout-Ms`},
		{"", add, `{}`, []string{"Connect-Timeout-Ms: 12345678901"}, 400, `ten digits`},
		{"", add, strings.Repeat(" ", 1001), nil, 413, `more than 1000 bytes`},
		{"", "/my-clock/Hang", ``, []string{"Connect-Timeout-Ms: 20"}, 504, `"deadline_exceeded"`},
		{"", "/my-clock/Panic", ``, nil, 500, `{"code":"internal","message":"panic, see the log of my-clock"}`},
		{"", "/my-clock/Ticks", `{}`, nil, 501, `Ticks streams`},
		{"", "/my-clock/add", `{}`, nil, 501, `has no method`},
		{"", "/my-clock.Watch/Add", `{}`, nil, 501, `serves Clock`},
		{"", "/gone/Add", `{}`, nil, 503, `{"code":"unavailable","message":"cell gone is not reachable"}`},
		{"", "/other/Add", `{}`, nil, 404, `there is no cell`},
		{"", "/my-clock", `{}`, nil, 404, `call /my-clock/METHOD`},
		{"", "/my-clock/Add/", `{}`, nil, 404, `call `},
		{"GET", add, ``, nil, 405, `a call is a POST`},
		{"DELETE", add, ``, nil, 405, `a call is a POST`},
		{"GET", "/my-clock/openapi.json", ``, nil, 200, `"/my-clock.Clock/Add"`},
	} {
		status, body, h := ask(t, s, c.method, c.path, c.body, c.headers...)
		exact := strings.HasPrefix(c.want, "{") && strings.HasSuffix(c.want, "}")
		if status != c.status || exact && body != c.want || !strings.Contains(body, c.want) || h.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s %s %v: %d %s (%s), want %d %s", c.method, c.path, c.body, c.headers, status, body, h.Get("Content-Type"), c.status, c.want)
		}
	}
	if note := <-p.notes; note != "hi" {
		t.Errorf("the event said %q", note)
	}
	if err := <-p.ended; err == nil {
		t.Error("the call whose time was over went on")
	}
}

func TestTrace(t *testing.T) {
	p := newProvider(t)
	_, s := open(t, p, nil)
	last := func(header string) string {
		if status, body, _ := ask(t, s, "", "/my-clock/Add", "{}", "Traceparent: "+header); status != 200 {
			t.Fatal(status, body)
		}
		return p.trace.Load().(string)
	}
	const id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for _, header := range []string{"00-" + id + "-" + span + "-01", "cc-" + id + "-" + span + "-01-what-comes-later"} {
		if got := last(header); got != id+"-"+span+"-01" {
			t.Errorf("%s: the call was at %s", header, got)
		}
	}
	for _, header := range []string{
		"", "00-" + id, "ff-" + id + "-" + span + "-01", "00-" + strings.ToUpper(id) + "-" + span + "-01",
		"00-" + id[:30] + "zz-" + span + "-01", "00-" + strings.Repeat("0", 32) + "-" + span + "-01",
	} {
		if got := last(header); strings.Contains(strings.ToLower(got), id) || strings.HasPrefix(got, strings.Repeat("0", 32)) || !strings.HasSuffix(got, "-0000000000000000-00") {
			t.Errorf("%s: the call was at %s", header, got)
		}
	}
}

// A page of another origin calls only where that is allowed, and a name that leads here calls only when it is known.
func TestOrigins(t *testing.T) {
	_, s := open(t, newProvider(t), func(c *Config) {
		c.Hosts, c.Origins = []string{"app.example.org"}, []string{"https://app.example.com"}
	})
	host := strings.TrimPrefix(s.URL, "http://")
	for _, c := range []struct {
		headers []string
		status  int
	}{
		{nil, 200},
		{[]string{"Origin: http://" + host}, 200},
		{[]string{"Origin: https://app.example.com", "Sec-Fetch-Site: cross-site"}, 200},
		{[]string{"Origin: https://other.example.com"}, 403},
		{[]string{"Origin: null"}, 403},
		{[]string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"}, 403},
		{[]string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate"}, 403},
		{[]string{"Sec-Fetch-Site: same-origin"}, 200},
		{[]string{"Host: app.example.org"}, 200},
		{[]string{"Host: APP.example.org:80"}, 200},
		{[]string{"Host: evil.example.org"}, 403},
		{[]string{"Host: evil.example.org", "Origin: http://evil.example.org"}, 403},
		{[]string{"Host: my.localhost:7"}, 200},
		{[]string{"Host: [::1]:7"}, 200},
		{[]string{"Host: door"}, 200},
	} {
		if status, body, _ := ask(t, s, "", "/my-clock/Add", "{}", c.headers...); status != c.status {
			t.Errorf("%v: %d %s, want %d", c.headers, status, body, c.status)
		}
	}
	status, _, h := ask(t, s, "OPTIONS", "/my-clock/Add", "", "Origin: https://app.example.com", "Access-Control-Request-Method: POST")
	if status != 204 || h.Get("Access-Control-Allow-Origin") != "https://app.example.com" || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "Content-Type") {
		t.Errorf("the preflight was answered %d %v", status, h)
	}
	if status, _, h := ask(t, s, "OPTIONS", "/my-clock/Add", "", "Origin: https://other.example.com"); status != 403 || h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("the preflight was answered %d %v", status, h)
	}
}

func TestToken(t *testing.T) {
	_, s := open(t, newProvider(t), func(c *Config) { c.Token = "open-sesame" })
	for header, want := range map[string]int{
		"Authorization: Bearer open-sesame": 200, "Authorization: bearer open-sesame": 200,
		"Authorization: Bearer open": 401, "Authorization: Basic open-sesame": 401, "X: y": 401, "Authorization: Bearer": 401,
		"Sec-WebSocket-Protocol: cell.v1, bearer.open-sesame": 200, "Sec-WebSocket-Protocol: bearer.open": 401,
	} {
		if status, body, _ := ask(t, s, "", "/my-clock/Add", "{}", header); status != want {
			t.Errorf("%s: %d %s, want %d", header, status, body, want)
		}
	}
	if status, _, _ := ask(t, s, "GET", "/my-clock/openapi.json", ""); status != 401 {
		t.Errorf("the interface was told without a token: %d", status)
	}
}

func TestFiles(t *testing.T) {
	files := fstest.MapFS{"index.html": {Data: []byte("<p>hi")}, "my-clock": {Data: []byte("never")}}
	_, s := open(t, newProvider(t), func(c *Config) { c.Files = http.FileServerFS(files) })
	if status, body, _ := ask(t, s, "GET", "/", "", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"); status != 200 || body != "<p>hi" {
		t.Error(status, body)
	}
	if status, _, _ := ask(t, s, "GET", "/nothing", ""); status != 404 {
		t.Error(status)
	}
	if status, body, _ := ask(t, s, "", "/my-clock/Add", "{}"); status != 200 {
		t.Error(status, body)
	}
}

func TestLimits(t *testing.T) {
	p := newProvider(t)
	d, s := open(t, p, func(c *Config) { c.MaxCalls, c.MaxBody, c.MaxHeld, c.Stall = 2, 1000, 1500, 100*time.Millisecond })
	// Two calls are under way, so the third is refused; it is taken when one has ended.
	ctx, cancel := context.WithCancel(t.Context())
	for range 2 {
		r, _ := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/my-clock/Hang", nil)
		r.Header.Set("Content-Type", "application/json")
		go func() {
			if a, err := http.DefaultClient.Do(r); err == nil {
				a.Body.Close()
			}
		}()
	}
	eventually(t, "both calls run", func() bool { return len(d.calls) == 2 })
	if status, body, _ := ask(t, s, "", "/my-clock/Add", "{}"); status != 429 || !strings.Contains(body, "resource_exhausted") {
		t.Error(status, body)
	}
	cancel() // the callers hang up
	eventually(t, "the calls are over", func() bool { return len(d.calls) == 0 })
	if status, body, _ := ask(t, s, "", "/my-clock/Add", "{}"); status != 200 {
		t.Error(status, body)
	}

	// A body that does not come is not waited for, and the room that it took is given back.
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /my-clock/Add HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{")
	eventually(t, "the body is waited for", func() bool { return d.held.Load() == 900 })
	if status, body, _ := ask(t, s, "", "/my-clock/Add", `{"a":1}`+strings.Repeat(" ", 700)); status != 429 {
		t.Error(status, body)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Body.Close(); answer.StatusCode != http.StatusRequestTimeout || d.held.Load() != 0 {
		t.Errorf("%d, and %d bytes are still held", answer.StatusCode, d.held.Load())
	}
}

// Another version answers after a while: the connection and what is known of the cell are made anew.
func TestProviderRestarts(t *testing.T) {
	p := newProvider(t)
	var now atomic.Pointer[provider]
	now.Store(p)
	_, s := open(t, p, func(c *Config) {
		c.Connect = func(ctx context.Context, name string) (*wire.Conn, error) { return now.Load().connect(ctx, name) }
	})
	if status, body, _ := ask(t, s, "", "/my-clock/Add", `{"a":1}`); status != 200 {
		t.Fatal(status, body)
	}
	second := newProvider(t)
	for i := range second.g.Methods {
		if second.g.Methods[i].Name == "Add" {
			second.g.Methods[i].Name = "Plus"
		}
	}
	second.server.Genome, _ = second.g.Marshal()
	now.Store(second)
	p.server.Close()
	eventually(t, "the new version answers", func() bool {
		status, _, _ := ask(t, s, "", "/my-clock/Add", `{}`)
		return status == 501
	})
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
