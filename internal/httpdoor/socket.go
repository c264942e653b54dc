package httpdoor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/cell-network/cell/sdk/genome"
	"github.com/cell-network/cell/sdk/wire"
)

// said is what a client sends over a WebSocket: first the request, then, where the method takes a stream, its items and
// their end.
type said struct {
	Request json.RawMessage `json:"request"`
	Timeout int64           `json:"timeoutMs"` // of the whole call, beside the request
	Item    json.RawMessage `json:"item"`
	End     bool            `json:"end"`
}

// told is what the client is sent: items, then the result or an error.
type told struct {
	Item   json.RawMessage `json:"item,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *failure        `json:"error,omitempty"`
}

// socket makes one call over a WebSocket, with streams in both directions.
func (d *Door) socket(ctx context.Context, w http.ResponseWriter, r *http.Request, t target) {
	d.sockets.Add(1)
	defer d.sockets.Done()
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{subprotocol}, InsecureSkipVerify: true, // the origin is admit's to check
	})
	if err != nil {
		return // Accept has answered
	}
	defer ws.CloseNow()
	ws.SetReadLimit(d.MaxBody)
	c := &conversation{d: d, ws: ws, t: &t}
	if c.say(c.talk(ctx)) == nil {
		_ = ws.Close(websocket.StatusNormalClosure, "") // the call is over; a client that has gone is no error
	}
}

// conversation is a call over a WebSocket. The end of a context that reading or writing is given ends the connection, and
// with it what could be said of a call whose time is over: neither gets the call's.
type conversation struct {
	d  *Door
	ws *websocket.Conn
	t  *target
}

// talk makes the call and returns the last word: the result or an error.
func (c *conversation) talk(ctx context.Context) told {
	first, wrong := c.first(ctx)
	if wrong != nil {
		return told{Error: wrong}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if first.Timeout > 0 {
		var done func()
		ctx, done = context.WithTimeout(ctx, time.Duration(first.Timeout)*time.Millisecond)
		defer done()
	}
	s, _, wrong := try(ctx, c.t, func(conn *wire.Conn, g *genome.Genome, m *genome.Method) (*opened, error) {
		request, err := encode(g, m, typeJSON, first.Request)
		if err != nil {
			return nil, err
		}
		if m.OneWay {
			_, err := conn.Do(ctx, c.t.call(m, request))
			return &opened{nil, g, m}, err
		}
		s, err := conn.Open(ctx, c.t.call(m, request), m.In != nil, m.Out != nil)
		return &opened{s, g, m}, err
	})
	switch {
	case wrong != nil:
		return told{Error: wrong}
	case s.Stream == nil:
		return told{Result: json.RawMessage("{}")}
	}
	defer s.Close()
	fault := make(chan *failure, 1)
	go func() { fault <- c.listen(s, cancel) }()
	enough := make(chan struct{})
	defer close(enough)
	items := s.read(enough)
	for {
		select {
		case i := <-items:
			switch {
			case i.err != nil:
				select {
				case f := <-fault: // the reason that the call was given up, when there is one
					if f != nil {
						return told{Error: f}
					}
				default:
				}
				return told{Error: i.err}
			case i.last:
				return told{Result: i.json}
			}
			if c.say(told{Item: i.json}) != nil {
				return told{Error: errGone}
			}
		case f := <-fault:
			if f != nil {
				return told{Error: f}
			}
			fault = nil
		case <-c.d.draining:
			return told{Error: closing}
		}
	}
}

// first reads the request, which has to come in time.
func (c *conversation) first(ctx context.Context) (said, *failure) {
	ctx, cancel := context.WithTimeout(ctx, c.d.Stall)
	defer cancel()
	go func() {
		select {
		case <-c.d.draining:
			cancel()
		case <-ctx.Done():
		}
	}()
	v, wrong := c.hear(ctx)
	switch {
	case wrong != nil:
		return v, wrong
	case v.Request == nil || v.Item != nil || v.End:
		return v, invalid(`the first message has to be {"request": {…}}`)
	case v.Timeout < 0 || v.Timeout > 9_999_999_999:
		return v, invalid("timeoutMs: %d is not a number of at most ten digits", v.Timeout)
	}
	return v, nil
}

// errGone is a client that closed its WebSocket.
var errGone = &failure{Code: canceled, Message: "the client is gone"}

func (c *conversation) hear(ctx context.Context) (v said, _ *failure) {
	kind, data, err := c.ws.Read(ctx)
	switch {
	case errors.Is(err, websocket.ErrMessageTooBig):
		return v, c.d.tooLarge()
	case err != nil:
		return v, errGone
	case kind != websocket.MessageText:
		return v, invalid("messages have to be text")
	}
	release, wrong := c.d.hold(int64(len(data)))
	defer release()
	if wrong != nil {
		return v, wrong
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, invalid("a message is no JSON object: %v", err)
	}
	return v, nil
}

// listen hands the client's items on, as fast as the cell takes them, until the client is gone or says what makes no sense.
// It ends the call when the client does.
func (c *conversation) listen(s *opened, cancel func()) *failure {
	ended := s.m.In == nil
	for {
		v, wrong := c.hear(context.Background()) // until the connection ends
		if wrong == errGone {
			cancel()
			return nil
		}
		switch {
		case wrong != nil:
			return wrong
		case ended:
			return invalid("nothing may follow: %s", map[bool]string{true: "the items have ended", false: "the method takes no items"}[s.m.In != nil])
		case v.End && v.Item == nil && v.Request == nil:
			ended = true
			if err := s.CloseSend(); err != nil && err != io.EOF {
				return nil // Recv tells
			}
		case v.Item != nil && !v.End && v.Request == nil:
			data, err := genome.EncodeItem(s.g, s.m, v.Item)
			if err != nil {
				return invalid("%s: %v", s.m.Name, err)
			}
			if s.Send(data) != nil {
				return nil // Recv tells
			}
		default:
			return invalid(`send {"item": …} or {"end": true}`)
		}
	}
}

// say sends a message; a client that does not take it in time is given up.
func (c *conversation) say(v told) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.d.Stall)
	defer cancel()
	return c.ws.Write(ctx, websocket.MessageText, data)
}
