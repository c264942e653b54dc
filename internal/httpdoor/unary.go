package httpdoor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"time"

	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/wire"
)

const typeJSON, typeProto = "application/json", "application/proto"

// unary is one call with one answer, in Connect's form.
func (d *Door) unary(ctx context.Context, w http.ResponseWriter, r *http.Request, t target) {
	media, body, release, wrong := d.body(w, r)
	defer release()
	if wrong != nil {
		d.fail(w, wrong)
		return
	}
	result, _, wrong := try(ctx, &t, func(conn *wire.Conn, g *genome.Genome, m *genome.Method) ([]byte, error) {
		if m.In != nil || m.Out != nil {
			return nil, &failure{Code: unimplemented, Message: m.Name + " streams: accept " + eventStream + ", or use a WebSocket"}
		}
		request, err := encode(g, m, media, body)
		if err != nil {
			return nil, err
		}
		result, err := conn.Do(ctx, t.call(m, request))
		if err != nil || media == typeProto {
			return result, err
		}
		if m.OneWay {
			return []byte("{}"), nil
		}
		out, err := genome.DecodeResults(g, m, result)
		if err != nil {
			return nil, &failure{Code: internal, Message: err.Error()}
		}
		return out.JSON, nil
	})
	if wrong != nil {
		d.fail(w, wrong)
		return
	}
	d.patience(w)
	w.Header().Set("Content-Type", media)
	_, _ = w.Write(result)
}

// encode makes a request of a body. One of protocol buffers is what cells take anyway, and the cell checks it.
func encode(g *genome.Genome, m *genome.Method, media string, body []byte) ([]byte, error) {
	if media == typeProto {
		return body, nil
	}
	request, err := genome.EncodeJSON(g, m, body)
	if err != nil {
		return nil, invalid("%s: %v", m.Name, err)
	}
	return request, nil
}

// body reads a request's body. release gives back the room that it took, also after an error.
func (d *Door) body(w http.ResponseWriter, r *http.Request) (media string, body []byte, release func(), _ *failure) {
	release = func() {}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch v := r.Header.Get("Connect-Protocol-Version"); {
	case err != nil || media != typeJSON && media != typeProto:
		w.Header().Set("Accept-Post", typeJSON+", "+typeProto)
		return "", nil, release, &failure{Code: invalidArgument, status: http.StatusUnsupportedMediaType, Message: "the content type has to be " + typeJSON + " or " + typeProto}
	case v != "" && v != "1":
		return "", nil, release, invalid("Connect-Protocol-Version: %.10q is not 1", v)
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		w.Header().Set("Accept-Encoding", "identity")
		return "", nil, release, &failure{Code: unimplemented, Message: "compressed requests are not taken"}
	}
	if r.ContentLength > d.MaxBody {
		return "", nil, release, d.tooLarge()
	}
	// A body whose length is not told counts as the longest.
	room := r.ContentLength
	if room < 0 {
		room = d.MaxBody
	}
	release, wrong := d.hold(room)
	if wrong != nil {
		return "", nil, release, wrong
	}
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(d.Stall)) // fails only where there is no connection, as in a test
	body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, d.MaxBody))
	_ = c.SetReadDeadline(time.Time{})
	if _, long := errors.AsType[*http.MaxBytesError](err); long {
		return "", nil, release, d.tooLarge()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.Header().Set("Connection", "close")
		return "", nil, release, &failure{Code: deadlineExceeded, status: http.StatusRequestTimeout, Message: "the request's body did not come in time"}
	}
	if err != nil {
		return "", nil, release, invalid("read the request's body: %v", err)
	}
	return media, body, release, nil
}

func (d *Door) tooLarge() *failure {
	return &failure{Code: resourceExhausted, status: http.StatusRequestEntityTooLarge, Message: fmt.Sprintf("more than %d bytes", d.MaxBody)}
}

// hold takes room for a body.
func (d *Door) hold(n int64) (release func(), _ *failure) {
	if d.held.Add(n) > d.MaxHeld {
		d.held.Add(-n)
		return func() {}, &failure{Code: resourceExhausted, Message: "the door holds too much already"}
	}
	return func() { d.held.Add(-n) }, nil
}

// patience gives the client a while to take what is written next.
func (d *Door) patience(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d.Stall)) // fails only where there is no connection
}
