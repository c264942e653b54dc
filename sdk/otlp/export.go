package otlp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cell-network/cell/sdk/trace"
)

const (
	maxQueue  = 2048 // spans that wait; further ones are lost
	maxBatch  = 512  // spans in a request
	delay     = 5 * time.Second
	maxTries  = 5
	firstWait = time.Second     // before the second try, then twice as long each time
	mostWait  = 5 * time.Minute // that a collector may ask for

	maxResponse = 64 << 10 // bytes of which more are not read
	maxWhy      = 200
)

// exporter is a trace.Tracer: it delivers spans from a goroutine of its own, in batches.
type exporter struct {
	*config
	client *http.Client
	queue  chan *trace.Span

	version atomic.Pointer[string]
	lost    atomic.Uint64
	told    atomic.Bool

	stopping chan struct{}
	stop     sync.Once
	done     chan struct{}
	ctx      context.Context // ends when nothing may be delivered any more
	cancel   context.CancelFunc

	delay, firstWait time.Duration
}

func newExporter(c *config) *exporter {
	e := prepare(c)
	go e.run()
	return e
}

func prepare(c *config) *exporter {
	e := &exporter{
		config: c, queue: make(chan *trace.Span, maxQueue), stopping: make(chan struct{}), done: make(chan struct{}),
		delay: delay, firstWait: firstWait,
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	t := &http.Transport{DialContext: c.dial, MaxIdleConns: 1, IdleConnTimeout: 30 * time.Second, DisableCompression: true}
	if c.dial == nil {
		t.Proxy = http.ProxyFromEnvironment
	}
	e.client = &http.Client{
		Transport: t, Timeout: c.timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // who gets the headers was configured
	}
	return e
}

// End implements trace.Tracer.
func (e *exporter) End(s *trace.Span) {
	select {
	case e.queue <- s:
	default:
		e.lose(1, errors.New("there are more than are delivered"))
	}
}

// Serves implements trace.Tracer.
func (e *exporter) Serves(version string) { e.version.Store(&version) }

// Stop implements trace.Tracer. What is queued is tried once.
func (e *exporter) Stop(ctx context.Context) {
	e.stop.Do(func() { close(e.stopping) })
	select {
	case <-e.done:
	case <-ctx.Done():
		e.cancel()
		<-e.done
	}
	if n := e.lost.Load(); n > 0 {
		slog.Warn(fmt.Sprintf("%d spans to %s were lost", n, e.endpoint))
	}
}

// lose counts spans that nobody gets, and says so the first time; how many it were is said in the end.
func (e *exporter) lose(n int, why error) {
	e.lost.Add(uint64(n))
	if e.told.CompareAndSwap(false, true) {
		slog.Warn(fmt.Sprintf("spans to %s are lost, which is said once: %v", e.endpoint, why))
	}
}

func (e *exporter) run() {
	defer close(e.done)
	defer e.cancel()
	defer e.client.CloseIdleConnections()
	for {
		batch := e.collect()
		if len(batch) == 0 {
			return
		}
		e.deliver(batch)
	}
}

// collect waits for spans, and from the first on for as many as a request has or until the delay is over. It returns none when the
// process stops and all are delivered.
func (e *exporter) collect() (batch []*trace.Span) {
	var late <-chan time.Time
	for len(batch) < maxBatch {
		select {
		case s := <-e.queue:
			batch = append(batch, s)
			if late == nil {
				late = time.After(e.delay)
			}
			continue
		case <-late:
			return batch
		case <-e.stopping:
		}
		select { // the other one may have been chosen although there are some
		case s := <-e.queue:
			batch = append(batch, s)
		default:
			return batch
		}
	}
	return batch
}

// deliver sends a batch, again when the collector is away or has too much to do.
func (e *exporter) deliver(batch []*trace.Span) {
	version := ""
	if v := e.version.Load(); v != nil {
		version = *v
	}
	body := encode(resource(e.service, e.instance, version), batch)
	wait := e.firstWait
	for try := 1; ; try++ {
		last := try == maxTries
		select {
		case <-e.stopping:
			last = true
		default:
		}
		err := e.post(body)
		again, ok := errors.AsType[*later](err)
		switch {
		case err == nil:
			return
		case !ok || last:
			e.lose(len(batch), err)
			return
		}
		pause := again.wait
		if pause == 0 {
			pause = wait/2 + rand.N(wait) // not all cells at once
		}
		wait *= 2
		select {
		case <-time.After(pause):
		case <-e.stopping:
		}
	}
}

// later is around the error of a request that may be made again.
type later struct {
	err  error
	wait time.Duration // that the collector wants; 0 when it does not say
}

func (l *later) Error() string { return l.err.Error() }
func (l *later) Unwrap() error { return l.err }

// post makes one request. The error is a *later when another one may do better.
func (e *exporter) post(body []byte) error {
	r, err := http.NewRequestWithContext(e.ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, values := range e.headers {
		r.Header[name] = values
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("User-Agent", "cell-otlp")
	answer, err := e.client.Do(r)
	if err != nil {
		return &later{err: err}
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxResponse)) // to the end, so that the connection is used again
	err = fmt.Errorf("the collector answered %.100s", answer.Status)
	switch code := answer.StatusCode; {
	case code/100 == 2:
		if n, why := rejected(text); n > 0 {
			e.lose(int(min(n, maxBatch)), fmt.Errorf("the collector rejected %d: %s", n, strings.ToValidUTF8(why[:min(len(why), maxWhy)], "\uFFFD")))
		}
		return nil
	case code == http.StatusTooManyRequests, code == http.StatusBadGateway, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		return &later{err, retryAfter(answer.Header.Get("Retry-After"), time.Now())}
	}
	return err
}

// retryAfter reads that header: seconds, or a time. What is neither, or has passed, is 0.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, mostWait)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), mostWait)
	}
	return 0
}
