package httpdoor

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzDoor sends whatever a client may: the door answers each request with a status that it means and, to a failed one,
// with the reason in Connect's form.
func FuzzDoor(f *testing.F) {
	for _, seed := range []string{
		"POST /my-clock/Add HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"a\":3,\"b\":4}",
		"POST /my_clock.Clock/Add HTTP/1.1\r\nHost: h\r\nContent-Type: application/proto\r\nContent-Length: 4\r\n\r\n\x08\x06\x10\x08",
		"POST /my-clock/Echo HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 35\r\n\r\n{\"p\":{\"UserID\":1,\"Raw\":{\"x\":[1]}}}\n",
		"POST /my-clock/Ticks HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"n\":2}",
		"GET /my-clock/Ticks?message=%7B%22n%22%3A2%7D HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream;q=1, */*\r\n\r\n",
		"GET /my-clock/Chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
		"OPTIONS /my-clock/Add HTTP/1.1\r\nHost: h\r\nOrigin: https://a.example\r\n\r\n",
		"POST /my-clock/Add HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\nConnect-Timeout-Ms: 5\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"GET /my-clock/openapi.json HTTP/1.1\r\nHost: h\r\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n",
	} {
		f.Add(seed)
	}
	p := newProvider(f)
	d, _ := open(f, p, func(c *Config) { c.MaxBody = 4096 })
	f.Fuzz(func(t *testing.T, text string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil || strings.Contains(r.URL.Path, "Forever") || strings.Contains(r.URL.Path, "Hang") || strings.Contains(r.URL.Path, "Ticks") && len(text) > 300 {
			return
		}
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r.WithContext(t.Context()))
		if w.Code < 400 {
			return
		}
		// What package websocket refuses it answers itself.
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") && w.Header().Get("Content-Type") != typeJSON {
			return
		}
		var e failure
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || statuses[e.Code] == 0 || e.Message == "" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if d.held.Load() != 0 || len(d.calls) != 0 {
			t.Errorf("%d bytes and %d calls are still held", d.held.Load(), len(d.calls))
		}
		for len(p.notes)+len(p.ended) > 0 {
			select {
			case <-p.notes:
			case <-p.ended:
			}
		}
	})
}
