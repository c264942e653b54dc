package httpdoor

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/wire"
)

const eventStream = "text/event-stream"

// lastEvent is the id of what ends a stream. An EventSource that connects again after the end sends it back.
const lastEvent = "end"

// alive is how often a stream without items shows that it is there.
const alive = 15 * time.Second

// opened is a stream to a caller over HTTP.
type opened struct {
	*wire.Stream
	g *genome.Genome
	m *genome.Method
}

// events answers what a method streams as server-sent events. The request is the body of a POST, or the parameter "message"
// of a GET, as an EventSource makes it.
func (d *Door) events(ctx context.Context, w http.ResponseWriter, r *http.Request, t target) {
	media, body, wrong := typeJSON, []byte(r.URL.Query().Get("message")), (*failure)(nil)
	if r.Method == http.MethodPost {
		var release func()
		media, body, release, wrong = d.body(w, r)
		defer release()
	}
	if wrong != nil {
		d.fail(w, wrong)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, _, wrong := try(ctx, &t, func(conn *wire.Conn, g *genome.Genome, m *genome.Method) (*opened, error) {
		if m.Out == nil || m.In != nil {
			return nil, &failure{Code: unimplemented, Message: m.Name + " has no stream of events to read"}
		}
		request, err := encode(g, m, media, body)
		if err != nil {
			return nil, err
		}
		s, err := conn.Open(ctx, t.call(m, request), false, true)
		return &opened{s, g, m}, err
	})
	if wrong != nil {
		d.fail(w, wrong)
		return
	}
	defer s.Close()
	h := w.Header()
	h.Set("Content-Type", eventStream)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies that would collect the items
	if d.write(w, []byte(": "+s.m.Name+"\n\n")) != nil {
		return
	}
	enough := make(chan struct{})
	defer close(enough)
	items := s.read(enough)
	beat := time.NewTicker(alive)
	defer beat.Stop()
	for {
		var err error
		select {
		case i := <-items:
			if i.last {
				_ = d.write(w, i.event()) // nothing follows, whether it arrives or not
				return
			}
			err = d.write(w, i.event())
		case <-beat.C:
			err = d.write(w, []byte(":\n\n"))
		case <-d.draining:
			_ = d.write(w, (&item{err: closing}).event())
			return
		}
		if err != nil {
			return
		}
	}
}

// write sends what is given now; a client that does not take it in time is given up.
func (d *Door) write(w http.ResponseWriter, b []byte) error {
	d.patience(w)
	if _, err := w.Write(b); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// closing ends the streams of a door that goes away.
var closing = &failure{Code: unavailable, Message: "the door restarts"}

// item is one item of a stream, or its end: the results or an error.
type item struct {
	json json.RawMessage
	err  *failure
	last bool
}

// read reads the stream item by item until nobody takes them any more; the next is read when one was taken. The last one is
// given also when the call's time is over: it says so.
func (s *opened) read(enough <-chan struct{}) <-chan item {
	c := make(chan item)
	go func() {
		for {
			i := s.next()
			select {
			case c <- i:
			case <-enough:
				return
			}
			if i.last {
				return
			}
		}
	}()
	return c
}

func (s *opened) next() item {
	data, err := s.Recv()
	if err == nil {
		out, err := genome.DecodeItem(s.g, s.m, data)
		if err != nil {
			return item{err: &failure{Code: internal, Message: err.Error()}, last: true}
		}
		return item{json: out.JSON}
	}
	if err == io.EOF {
		var result []byte
		if result, err = s.Result(); err == nil {
			out, err := genome.DecodeResults(s.g, s.m, result)
			if err != nil {
				return item{err: &failure{Code: internal, Message: err.Error()}, last: true}
			}
			return item{json: out.JSON, last: true}
		}
	}
	return item{err: failed(s.g, err), last: true}
}

// event is the item as a server-sent event, all of its JSON on one line.
func (i *item) event() []byte {
	var b bytes.Buffer
	switch {
	case i.err != nil:
		b.WriteString("event: failed\nid: " + lastEvent + "\ndata: ")
		b.Write(i.err.json())
	default:
		if i.last {
			b.WriteString("event: end\nid: " + lastEvent + "\n")
		}
		b.WriteString("data: ")
		if json.Compact(&b, i.json) != nil { // what was decoded is JSON; json.RawMessage may come with line breaks
			b.WriteString("null")
		}
	}
	b.WriteString("\n\n")
	return b.Bytes()
}
