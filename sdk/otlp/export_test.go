package otlp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"

	"github.com/cell-network/cell/sdk/trace"
)

// receiver is a collector: an HTTP server that answers as it is told and decodes what it takes.
type receiver struct {
	t      testing.TB
	answer func(try int, w http.ResponseWriter, r *http.Request) // nil takes all; what writes no status takes the request

	mu    sync.Mutex
	tries int
	names []string    // of the spans taken
	sizes []int       // of the requests taken
	head  http.Header // of the last request
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	try := r.tries
	r.tries++
	r.head = q.Header
	r.mu.Unlock()
	if q.Method != http.MethodPost || q.URL.Path != "/v1/traces" || q.Header.Get("Content-Type") != "application/x-protobuf" {
		r.t.Errorf("%s %s of %s", q.Method, q.URL, q.Header.Get("Content-Type"))
	}
	if r.answer != nil {
		status := &statusWriter{ResponseWriter: w}
		if r.answer(try, status, q); status.code != 0 && status.code != 200 {
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	spans := decode(r.t, body).ScopeSpans[0].Spans
	r.sizes = append(r.sizes, len(spans))
	for _, s := range spans {
		r.names = append(r.names, s.Name)
	}
}

type statusWriter struct {
	http.ResponseWriter
	code int
}

func (w *statusWriter) WriteHeader(code int) { w.code = code; w.ResponseWriter.WriteHeader(code) }

func (r *receiver) got() (tries, spans int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries, len(r.names)
}

// serve starts the receiver on a Unix socket, and an exporter that sends to it and hurries.
func (r *receiver) serve(change func(*exporter)) *exporter {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		r.t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: r}}
	s.Start()
	r.t.Cleanup(s.Close)
	return export(r.t, settings{"OTEL_EXPORTER_OTLP_ENDPOINT": "unix://" + path}, change)
}

func export(t testing.TB, env settings, change func(*exporter)) *exporter {
	t.Helper()
	c, err := configure(env.get)
	if err != nil {
		t.Fatal(err)
	}
	e := prepare(c)
	e.delay, e.firstWait = time.Millisecond, time.Millisecond
	if change != nil {
		change(e)
	}
	go e.run()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		e.Stop(ctx)
	})
	return e
}

func span(i int) *trace.Span {
	return &trace.Span{Trace: [16]byte{1}, ID: [8]byte{1}, Cell: "c", Method: fmt.Sprint("m", i), Begun: noon, Ended: noon, Status: "ok"}
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// logged collects what is logged during a test.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func logOf(t testing.TB) *logged {
	l, before := &logged{}, slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(l, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return l
}

func stop(t testing.TB, e *exporter) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if e.Stop(ctx); ctx.Err() != nil {
		t.Error("it did not stop by itself")
	}
}

func TestSpansAreDeliveredInBatches(t *testing.T) {
	log := logOf(t)
	r := &receiver{t: t}
	e := r.serve(func(e *exporter) {
		e.delay = time.Hour // a batch is full, or the process stops
		e.headers = http.Header{"Authorization": {"Bearer a"}}
		for i := range maxBatch + 10 {
			e.End(span(i))
		}
	})
	eventually(t, "a full batch", func() bool { _, n := r.got(); return n == maxBatch })
	stop(t, e)
	if r.tries != 2 || r.sizes[0] != maxBatch || r.sizes[1] != 10 || r.names[0] != "c/m0" || r.names[maxBatch+9] != "c/m521" {
		t.Errorf("%d requests of %v", r.tries, r.sizes)
	}
	if got := r.head["Authorization"]; len(got) != 1 || got[0] != "Bearer a" {
		t.Errorf("%v", r.head)
	}
	if s := log.String(); s != "" {
		t.Error(s)
	}
}

// What a collector cannot take now is sent again, and what it refuses is not.
func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		status, tries, taken int
		says                 string
	}{
		{429, 3, 1, ""},
		{502, 3, 1, ""},
		{503, 3, 1, ""},
		{504, 3, 1, ""},
		{400, 1, 0, "the collector answered 400 Bad Request"},
		{401, 1, 0, "the collector answered 401 Unauthorized"},
		{500, 1, 0, "the collector answered 500 Internal Server Error"},
		{307, 1, 0, "the collector answered 307 Temporary Redirect"},
	} {
		log := logOf(t)
		r := &receiver{t: t, answer: func(try int, w http.ResponseWriter, q *http.Request) {
			if try < 2 {
				w.Header().Set("Location", "/v1/traces")
				w.WriteHeader(test.status)
			}
		}}
		e := r.serve(nil)
		e.End(span(0))
		eventually(t, "the end", func() bool {
			tries, _ := r.got()
			return tries == test.tries && (test.says == "" || e.lost.Load() == 1)
		})
		stop(t, e)
		if tries, taken := r.got(); tries != test.tries || taken != test.taken {
			t.Errorf("%d: %d tries, %d taken", test.status, tries, taken)
		}
		if s := log.String(); !strings.Contains(s, test.says) || test.says == "" && s != "" {
			t.Errorf("%d: %s", test.status, s)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "0": 0, "-3": 0, "soon": 0, "99999": mostWait, "99999999999999999999": 0,
		noon.Add(90 * time.Second).UTC().Format(http.TimeFormat): 89 * time.Second, // of whole seconds
		noon.Add(-time.Hour).UTC().Format(http.TimeFormat):       0,
		noon.Add(time.Hour).UTC().Format(http.TimeFormat):        mostWait,
	} {
		if got := retryAfter(text, noon); got.Truncate(time.Second) != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// A collector that asks for time gets it, except at the end of the process, which tries once more.
func TestRetryAfterIsWaitedFor(t *testing.T) {
	r := &receiver{t: t, answer: func(try int, w http.ResponseWriter, _ *http.Request) {
		if try == 0 {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}}
	e := r.serve(nil)
	e.End(span(0))
	eventually(t, "a first try", func() bool { tries, _ := r.got(); return tries == 1 })
	time.Sleep(50 * time.Millisecond) // many times the wait without that header
	if tries, _ := r.got(); tries != 1 {
		t.Errorf("%d tries", tries)
	}
	stop(t, e)
	if tries, taken := r.got(); tries != 2 || taken != 1 {
		t.Errorf("%d tries, %d taken", tries, taken)
	}
}

// A receiver that is away is asked five times for each batch, and comes back to what is new.
func TestReceiverIsDown(t *testing.T) {
	log := logOf(t)
	path := filepath.Join(t.TempDir(), "s")
	e := export(t, settings{"OTEL_EXPORTER_OTLP_ENDPOINT": "unix://" + path}, nil)
	e.End(span(0))
	eventually(t, "the span is lost", func() bool { return e.lost.Load() == 1 })
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: r}}
	s.Start()
	defer s.Close()
	e.End(span(1))
	eventually(t, "the next one is delivered", func() bool { _, n := r.got(); return n == 1 })
	e.lose(1, nil)
	stop(t, e)
	if s := log.String(); strings.Count(s, "\n") != 2 || !strings.Contains(s, "spans to unix://"+path+" are lost, which is said once: ") ||
		!strings.Contains(s, "connect: no such file or directory") || !strings.Contains(s, "2 spans to unix://"+path+" were lost") {
		t.Error(s)
	}
}

// A receiver that takes and does not answer holds nobody up: calls go on, memory is bounded, the process ends.
func TestReceiverHangs(t *testing.T) {
	log := logOf(t)
	gate := make(chan struct{})
	defer close(gate)
	r := &receiver{t: t, answer: func(_ int, w http.ResponseWriter, q *http.Request) {
		select {
		case <-gate:
		case <-q.Context().Done():
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}}
	e := r.serve(nil)
	e.End(span(0))
	eventually(t, "a try", func() bool { tries, _ := r.got(); return tries == 1 })
	for i := range maxQueue + 5 { // would never end if it waited
		e.End(span(i))
	}
	if n := e.lost.Load(); n != 5 {
		t.Errorf("%d lost", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	e.Stop(ctx) // would not return before the request's timeout
	if n := e.lost.Load(); n != 1+maxQueue+5 {
		t.Errorf("%d lost", n)
	}
	if s := log.String(); strings.Count(s, "\n") != 2 || !strings.Contains(s, "there are more than are delivered") || !strings.Contains(s, "2054 spans to unix://") {
		t.Error(s)
	}
}

// A receiver that is too slow is given up after the timeout, and asked again.
func TestReceiverIsSlow(t *testing.T) {
	r := &receiver{t: t, answer: func(try int, w http.ResponseWriter, q *http.Request) {
		if try == 0 {
			<-q.Context().Done()
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}}
	e := r.serve(func(e *exporter) { e.client.Timeout = 100 * time.Millisecond })
	e.End(span(0))
	eventually(t, "it is taken", func() bool { tries, n := r.got(); return tries >= 2 && n >= 1 })
	if n := e.lost.Load(); n != 0 {
		t.Errorf("%d lost", n)
	}
}

func TestPartialSuccess(t *testing.T) {
	log := logOf(t)
	answer, err := proto.Marshal(&collector.ExportTraceServiceResponse{
		PartialSuccess: &collector.ExportTracePartialSuccess{RejectedSpans: 1, ErrorMessage: "too old"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t, answer: func(_ int, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) }}
	e := r.serve(nil)
	e.End(span(0))
	eventually(t, "a span is lost", func() bool { return e.lost.Load() == 1 })
	stop(t, e)
	if tries, _ := r.got(); tries != 1 || !strings.Contains(log.String(), "the collector rejected 1: too old") {
		t.Errorf("%d tries\n%s", tries, log)
	}
}

// Start without an endpoint does nothing at all, and with a mistake says it.
func TestStart(t *testing.T) {
	log := logOf(t)
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		t.Setenv(name, "")
	}
	Start()()
	if s := log.String(); s != "" {
		t.Error(s)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://a")
	Start()()
	if s := log.String(); !strings.Contains(s, `calls are not traced`) || !strings.Contains(s, `is no endpoint`) {
		t.Error(s)
	}
}
