package httpdoor

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/wire"
)

// Config says what a door leads to and whom it lets in.
type Config struct {
	Cells   []string                                                   // names under which cells are reached, one label each
	Connect func(ctx context.Context, cell string) (*wire.Conn, error) // connects to one of them

	Token   string       // what callers send as a bearer token; empty lets everybody in who reaches the door
	Hosts   []string     // names that requests may be addressed to, beside IP addresses, localhost and names without a dot
	Origins []string     // pages of other origins that may call, as in "https://app.example.org"
	Files   http.Handler // answers what is no cell; nil: nothing does

	Log func(message string, args ...any) // is told why a cell is not reached; arguments are those of slog.Error. May be nil.

	MaxBody  int64         // bytes of a request's body and of a message over a WebSocket
	MaxHeld  int64         // bytes of bodies held at once
	MaxCalls int           // calls and streams at once
	Stall    time.Duration // how long a client may take to send a body, or to read what it was sent
}

// Defaults of a Config's limits. What is held as JSON takes up to twenty times its bytes.
const (
	DefaultMaxBody  = 4 << 20
	DefaultMaxHeld  = 16 << 20
	DefaultMaxCalls = 1024
	DefaultStall    = 30 * time.Second
)

// Door is an http.Handler that calls cells.
type Door struct {
	Config
	token    [sha256.Size]byte
	cells    map[string]*cell
	calls    chan struct{} // a place for each call under way
	held     atomic.Int64
	draining chan struct{}
	drain    sync.Once
	sockets  sync.WaitGroup // WebSockets, which the http.Server does not know
}

// New makes a door. Limits that are zero have their defaults.
func New(c Config) *Door {
	c.MaxBody = orDefault(c.MaxBody, DefaultMaxBody)
	c.MaxHeld = max(c.MaxBody, orDefault(c.MaxHeld, DefaultMaxHeld))
	c.MaxCalls = orDefault(c.MaxCalls, DefaultMaxCalls)
	c.Stall = orDefault(c.Stall, DefaultStall)
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	d := &Door{
		Config: c, token: sha256.Sum256([]byte(c.Token)), cells: map[string]*cell{},
		calls: make(chan struct{}, c.MaxCalls), draining: make(chan struct{}),
	}
	for _, name := range c.Cells {
		d.cells[name] = &cell{name: name, dial: c.Connect, log: c.Log, lock: make(chan struct{}, 1)}
	}
	return d
}

func orDefault[T int | int64 | time.Duration](v, d T) T {
	if v > 0 {
		return v
	}
	return d
}

// Drain ends the streams, which would go on for ever, and waits for the WebSockets among them. The http.Server's Shutdown
// waits for everything else.
func (d *Door) Drain(ctx context.Context) {
	d.drain.Do(func() { close(d.draining) })
	done := make(chan struct{})
	go func() { d.sockets.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Close closes the connections to the cells.
func (d *Door) Close() {
	for _, c := range d.cells {
		c.close()
	}
}

// ServeHTTP answers /CELL/METHOD, /CELL.SERVICE/METHOD and /CELL/openapi.json; everything else is left to Files.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	first, method, two := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	name, service, _ := strings.Cut(first, ".")
	c := d.cells[name]
	if c == nil { // a package of protocol buffers has no dashes
		c = d.cells[strings.ReplaceAll(name, "_", "-")]
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := d.admit(w, r); err != nil {
		d.fail(w, err)
		return
	}
	switch {
	case (c == nil || !two || strings.Contains(method, "/")) && d.Files != nil:
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // a file may take long
		d.Files.ServeHTTP(w, r)
	case c == nil:
		d.fail(w, &failure{Code: notFound, Message: fmt.Sprintf("there is no cell %.80q here", name)})
	case !two || strings.Contains(method, "/"):
		d.fail(w, &failure{Code: notFound, Message: fmt.Sprintf("call /%s/METHOD; /%s/openapi.json lists the methods", name, name)})
	case r.Method == http.MethodOptions:
		w.WriteHeader(http.StatusNoContent) // admit has said what is allowed
	case !d.authorized(r):
		w.Header().Set("WWW-Authenticate", "Bearer")
		d.fail(w, &failure{Code: unauthenticated, Message: "the bearer token is missing or wrong"})
	default:
		d.serve(w, r, c, service, method)
	}
}

// admit refuses requests that a page of another origin makes without being allowed to: the address of a door is no
// secret, and a browser inside of it may show any page.
func (d *Door) admit(w http.ResponseWriter, r *http.Request) *failure {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	if ip == nil && strings.Contains(host, ".") && !strings.HasSuffix(host, ".localhost") && !slices.Contains(d.Hosts, strings.ToLower(host)) {
		return &failure{Code: permissionDenied, Message: fmt.Sprintf("this door does not answer to the name %.80q (its option --host allows one)", host)}
	}
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	u, err := url.Parse(origin)
	switch {
	case origin == "":
		if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
			if r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Method != http.MethodGet {
				return &failure{Code: permissionDenied, Message: "a page of another origin may not call"}
			}
		}
	case err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host):
	case slices.Contains(d.Origins, origin):
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, POST")
			h.Set("Access-Control-Allow-Headers", "Accept, Authorization, Connect-Protocol-Version, Connect-Timeout-Ms, Content-Type, Last-Event-ID, Traceparent")
			h.Set("Access-Control-Max-Age", "7200")
		}
	default:
		return &failure{Code: permissionDenied, Message: fmt.Sprintf("pages of %.80q may not call (the door's option --origin allows them)", origin)}
	}
	return nil
}

// subprotocol is what a WebSocket of this package speaks. A page cannot set headers, so it offers its token as another.
const subprotocol, bearer = "cell.v1", "bearer."

func (d *Door) authorized(r *http.Request) bool {
	if d.Token == "" {
		return true
	}
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		given = ""
		for offered := range strings.SplitSeq(strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ","), ",") {
			if t, ok := strings.CutPrefix(strings.TrimSpace(offered), bearer); ok {
				given = t
			}
		}
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(given)))
	return subtle.ConstantTimeCompare(sum[:], d.token[:]) == 1
}

// target is what a request wants to be called.
type target struct {
	cell            *cell
	service, method string // service is empty when the path names none
	trace           [16]byte
	span            wire.Span // of the caller
}

// find looks the method up in what the cell serves now.
func (t *target) find(g *genome.Genome) (*genome.Method, *failure) {
	if t.service != "" && t.service != g.Serves {
		return nil, &failure{Code: unimplemented, Message: fmt.Sprintf("cell %s serves %s, not %.80s", t.cell.name, g.Serves, t.service)}
	}
	m := g.Method(t.method)
	if m == nil {
		return nil, &failure{Code: unimplemented, Message: fmt.Sprintf("cell %s has no method %.80q; /%s/openapi.json lists them", t.cell.name, t.method, t.cell.name)}
	}
	return m, nil
}

func (d *Door) serve(w http.ResponseWriter, r *http.Request, c *cell, service, method string) {
	select {
	case d.calls <- struct{}{}:
		defer func() { <-d.calls }()
	default:
		d.fail(w, &failure{Code: resourceExhausted, Message: "the door has too many calls under way"})
		return
	}
	ctx := r.Context()
	if text := r.Header.Get("Connect-Timeout-Ms"); text != "" {
		ms, err := strconv.ParseUint(text, 10, 64)
		if err != nil || len(text) > 10 {
			d.fail(w, invalid("Connect-Timeout-Ms: %.20q is not a number of at most ten digits", text))
			return
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
		defer cancel()
	}
	t := target{cell: c, service: service, method: method}
	t.trace, t.span = traceOf(r.Header.Get("Traceparent"))
	// Both say that a GET wants a stream; a page that a browser is led to, or a picture, cannot say it.
	events := accepts(r, eventStream)
	upgrade := strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	switch {
	case method == "openapi.json" && r.Method == http.MethodGet:
		d.describe(ctx, w, c)
	case upgrade && r.Method == http.MethodGet:
		d.socket(ctx, w, r, t)
	case events && r.Method == http.MethodGet && r.Header.Get("Last-Event-ID") == lastEvent:
		w.WriteHeader(http.StatusNoContent) // the stream has ended: an EventSource that connects again is told to stop
	case events && (r.Method == http.MethodGet || r.Method == http.MethodPost):
		d.events(ctx, w, r, t)
	case r.Method == http.MethodPost:
		d.unary(ctx, w, r, t)
	default:
		w.Header().Set("Allow", http.MethodPost)
		d.fail(w, &failure{Code: unimplemented, status: http.StatusMethodNotAllowed, Message: "a call is a POST; a stream is a GET that accepts " + eventStream + ", or a WebSocket"})
	}
}

func (d *Door) describe(ctx context.Context, w http.ResponseWriter, c *cell) {
	_, g, err := c.connection(ctx)
	if err != nil {
		d.fail(w, failed(nil, err))
		return
	}
	d.patience(w)
	w.Header().Set("Content-Type", typeJSON)
	_, _ = w.Write(genome.OpenAPI(g))
}

func accepts(r *http.Request, media string) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		if t, _, err := mime.ParseMediaType(part); err == nil && t == media {
			return true
		}
	}
	return false
}

// traceOf reads a traceparent of W3C's Trace Context; without a right one a trace begins, whose first span is the cell's.
func traceOf(header string) (id [16]byte, span wire.Span) {
	id, span, ok := wire.ParseTraceParent(header)
	if !ok {
		_, _ = rand.Read(id[:]) // never fails
	}
	return id, span
}

func (t *target) call(m *genome.Method, request []byte) wire.Call {
	return wire.Call{Method: m.ID, Request: request, Trace: t.trace, Span: t.span, OneWay: m.OneWay}
}
