package httpdoor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestEvents(t *testing.T) {
	_, s := open(t, newProvider(t), nil)
	const item = `data: {"UserID":0,"Label":"a\nb","Raw":[1]}` + "\n\n"
	const end = "event: end\nid: end\ndata: {}\n\n"
	const failure = "event: failed\nid: end\ndata: {\"code\":\"failed_precondition\",\"message\":\"too many\""
	for _, c := range []struct {
		method, path, body string
		want               string
	}{
		{"", "/my-clock/Ticks", `{"n":1}`, ": Ticks\n\n" + item + end},
		{"GET", "/my-clock/Ticks?message=" + url.QueryEscape(`{"n":1}`), ``, ": Ticks\n\n" + item + end},
		{"GET", "/my-clock/Ticks", ``, ": Ticks\n\n" + end},
		{"", "/my-clock/Ticks", `{"n":-1}`, ": Ticks\n\n" + item + failure},
	} {
		status, body, h := ask(t, s, c.method, c.path, c.body, "Accept: text/event-stream")
		if status != 200 || !strings.HasPrefix(body, c.want) || h.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%s %s: %d %s", c.method, c.path, status, body)
		}
	}
	for range 20 { // the end is told each time
		if _, body, _ := ask(t, s, "GET", "/my-clock/Forever", "", "Accept: text/event-stream", "Connect-Timeout-Ms: 1"); !strings.Contains(body, "deadline_exceeded") {
			t.Fatalf("%.200s", body)
		}
	}
	for path, want := range map[string]int{"/my-clock/Add": 501, "/my-clock/Chat": 501, "/my-clock/Ticks?message=x": 400, "/gone/Ticks": 503} {
		if status, body, h := ask(t, s, "GET", path, "", "Accept: text/event-stream"); status != want || h.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	// An EventSource connects again when a stream has ended, and is told to stop.
	if status, body, _ := ask(t, s, "GET", "/my-clock/Ticks", "", "Accept: text/event-stream", "Last-Event-ID: end"); status != 204 {
		t.Error(status, body)
	}
}

// A client that goes away ends the stream at the cell; one that reads slowly holds the cell back.
func TestEventsSlowAndGone(t *testing.T) {
	p := newProvider(t)
	_, s := open(t, p, nil)
	ctx, hangUp := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/my-clock/Forever", nil)
	r.Header.Set("Accept", eventStream)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	line, _ := bufio.NewReader(answer.Body).ReadString('\n')
	if line != ": Forever\n" {
		t.Errorf("%q", line)
	}
	held(t, p)
	hangUp()
	if err := <-p.ended; err == nil {
		t.Error("the stream went on")
	}
}

// held waits until the provider of Forever is held back, and fails when it never is.
func held(t *testing.T, p *provider) {
	t.Helper()
	last, since := int64(-1), time.Now()
	eventually(t, "the cell is held back", func() bool {
		if n := p.sent.Load(); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > 200*time.Millisecond && last > 0
	})
	if last > 20_000 { // 60 MB: buffers of TCP are some megabytes
		t.Errorf("%d items were taken for a client that reads none", last)
	}
}

// One that reads nothing is given up after a while.
func TestEventsStalled(t *testing.T) {
	p := newProvider(t)
	_, s := open(t, p, func(c *Config) { c.Stall = 300 * time.Millisecond })
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/my-clock/Forever", nil)
	r.Header.Set("Accept", eventStream)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := <-p.ended; err == nil {
		t.Error("the stream went on")
	}
}

// A door that goes away says so to those that would wait for ever.
func TestDrain(t *testing.T) {
	d, s := open(t, newProvider(t), nil)
	ws := talk(t, s, "/my-clock/Chat")
	say(t, ws, `{"request":{}}`)
	say(t, ws, `{"item":"x"}`)
	if got := hear(t, ws); got != `{"item":"x"}` {
		t.Fatal(got)
	}
	silent := talk(t, s, "/my-clock/Chat")
	done := make(chan struct{})
	go func() { d.Drain(t.Context()); close(done) }()
	if got := hear(t, ws); got != `{"error":{"code":"unavailable","message":"the door restarts"}}` {
		t.Error(got)
	}
	ws.CloseNow()
	// One that said nothing is closed, before or after it is told why.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		_, data, err := silent.Read(ctx)
		if ctx.Err() != nil {
			t.Error("a WebSocket that said nothing was left open")
		}
		if err != nil {
			break
		}
		if string(data) != `{"error":{"code":"unavailable","message":"the door restarts"}}` {
			t.Errorf("%s", data)
		}
	}
	silent.CloseNow()
	<-done
	if status, body, _ := ask(t, s, "GET", "/my-clock/Forever", "", "Accept: text/event-stream"); status != 200 || !strings.HasSuffix(body, "the door restarts\"}\n\n") {
		t.Error(status, body)
	}
}

func talk(t testing.TB, s *httptest.Server, path string) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), s.URL+path, &websocket.DialOptions{Subprotocols: []string{subprotocol}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.CloseNow() })
	return ws
}

func say(t testing.TB, ws *websocket.Conn, text string) {
	t.Helper()
	if err := ws.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// hear reads a message, or tells how the connection ended.
func hear(t testing.TB, ws *websocket.Conn) string {
	t.Helper()
	_, data, err := ws.Read(t.Context())
	switch {
	case websocket.CloseStatus(err) == websocket.StatusNormalClosure:
		return "closed"
	case err != nil:
		return err.Error()
	}
	return string(data)
}

func TestWebSocket(t *testing.T) {
	p := newProvider(t)
	_, s := open(t, p, func(c *Config) { c.MaxBody = 10_000 })
	const point = `{"item":{"UserID":%d,"Label":"a\nb","Raw":[1]}}`
	for _, c := range []struct {
		method     string
		say, heard []string
	}{
		{"Add", []string{`{"request":{"a":1,"b":2}}`}, []string{`{"result":{"result":3}}`}},
		{"Note", []string{`{"request":{"text":"x"}}`}, []string{`{"result":{}}`}},
		{"Ticks", []string{`{"request":{"n":2}}`}, []string{fmt.Sprintf(point, 0), fmt.Sprintf(point, 1), `{"result":{}}`}},
		{"Total", []string{`{"request":{}}`, `{"item":1}`, `{"item":41}`, `{"end":true}`}, []string{`{"result":{"result":42}}`}},
		{"Chat", []string{`{"request":{}}`, `{"item":"a"}`, `{"item":"b"}`, `{"end":true}`}, []string{`{"item":"a"}`, `{"item":"b"}`, `{"result":{}}`}},
		{"Add", []string{`{"request":{"a":9223372036854775807,"b":1}}`}, []string{`{"error":{"code":"failed_precondition","message":"9223372036854775807 + 1 overflows","details":[` +
			`{"type":"my_clock.Overflow","value":"CP7//////////wEQAg","debug":{"A":9223372036854775807,"B":1}}]}}`}},
		{"Hang", []string{`{"request":{},"timeoutMs":20}`}, []string{`{"error":{"code":"deadline_exceeded","message":"the call's time is over"}}`}},
		{"Add", []string{`{"request":{"c":1}}`}, []string{`{"error":{"code":"invalid_argument","message":"Add: there is no field \"c\", only a, b"}}`}},
		{"Add", []string{`{"item":1}`}, []string{`{"error":{"code":"invalid_argument","message":"the first message has to be {\"request\": {…}}"}}`}},
		{"Add", []string{`what`}, []string{`{"error":{"code":"invalid_argument","message":"a message is no JSON object: invalid character 'w' looking for beginning of value"}}`}},
		{"Total", []string{`{"request":{}}`, `{"item":"x"}`}, []string{`{"error":{"code":"invalid_argument","message":"Total: item: \"x\" is not a whole number"}}`}},
		{"Total", []string{`{"request":{}}`, `{}`}, []string{`{"error":{"code":"invalid_argument","message":"send {\"item\": …} or {\"end\": true}"}}`}},
		{"Chat", []string{`{"request":{}}`, `{"item":"` + strings.Repeat("x", 10_001) + `"}`}, []string{"failed to get reader: received close frame: status = StatusMessageTooBig and reason = \"read limited at 10001 bytes\""}},
		{"Forever", []string{`{"request":{}, "timeoutMs":-1}`}, []string{`{"error":{"code":"invalid_argument","message":"timeoutMs: -1 is not a number of at most ten digits"}}`}},
		{"No", []string{`{"request":{}}`}, []string{`{"error":{"code":"unimplemented","message":"cell my-clock has no method \"No\"; /my-clock/openapi.json lists them"}}`}},
	} {
		ws := talk(t, s, "/my-clock/"+c.method)
		for _, text := range c.say {
			say(t, ws, text)
		}
		for _, want := range append(c.heard, "closed") {
			if got := hear(t, ws); got != want && !(want == "closed" && strings.Contains(c.heard[0], "TooBig")) {
				t.Errorf("%s: heard %s, want %s", c.method, got, want)
			}
		}
	}
	if _, r, err := websocket.Dial(t.Context(), s.URL+"/my-clock/Chat", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"https://evil.example"}}}); err == nil || r.StatusCode != 403 {
		t.Errorf("a page of another origin was let in: %v", err)
	}
}

func TestWebSocketSlowAndGone(t *testing.T) {
	p := newProvider(t)
	_, s := open(t, p, nil)
	ws := talk(t, s, "/my-clock/Forever")
	say(t, ws, `{"request":{}}`)
	held(t, p)
	ws.CloseNow()
	if err := <-p.ended; err == nil {
		t.Error("the stream went on")
	}
	ws = talk(t, s, "/my-clock/Total")
	say(t, ws, `{"request":{}}`)
	say(t, ws, `{"item":1}`)
	ws.Close(websocket.StatusNormalClosure, "")
	if err := <-p.ended; err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a client that went away ended its items: %v", err)
	}
}
