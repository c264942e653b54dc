package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

const (
	// window is the credit with which each direction of a call begins, in bytes.
	window = 256 << 10
	// mostWindow is what it grows to for a receiver that is as fast as its sender.
	mostWindow = 2 << 20
	// itemCost is what an item costs above its bytes: empty items fill a queue too.
	itemCost = 16
	// maxCredit is where credit stops growing, whatever the other side grants.
	maxCredit = 1 << 40
)

var (
	errOverrun      = errors.New("the other side sent more items than it had credit for")
	errOneDirection = errors.New("send item: the call has no items in this direction")
	errSendEnded    = errors.New("send item: after CloseSend")
	errClientOnly   = errors.New("only the client can do this with a stream")
	errStreamClosed = errors.New("stream closed")
)

// Stream carries the items of one call beside its request and its result: the client has it from Conn.Open, the server from
// Request.Stream. Its methods may be used by many goroutines at once.
type Stream struct {
	ctx             context.Context
	w               *writer
	id              uint64
	client          *Conn       // nil on the server
	server          *serverConn // nil on the client
	sends, receives bool        // which directions the call has

	// Whoever holds mu takes neither w.mu nor the mu of the connection.
	mu   sync.Mutex
	over bool // the call has ended: no item is sent or comes in any more

	credit  int64         // that this side may send
	sendErr error         // why it may not
	granted chan struct{} // closed when credit or sendErr changed; nil when nobody waits

	items    queue
	window   int64         // what is granted at most, and not consumed
	room     int64         // that the other side may send
	consumed int64         // that it is to be granted again
	recvErr  error         // what comes behind the items
	arrived  chan struct{} // closed when items or recvErr changed; nil when nobody waits

	result []byte      // client: of the call
	stop   func() bool // client: no longer waits for the end of ctx
	fault  *Error      // server: what the call ends with whatever its handler returns
}

func newStream(ctx context.Context, w *writer, sends, receives bool) *Stream {
	s := &Stream{ctx: ctx, w: w, sends: sends, receives: receives, credit: window, window: window, room: window}
	if !sends {
		s.sendErr = errOneDirection
	}
	return s
}

// Send sends an item, of at most 16 MiB; item may be used again afterwards. It waits while the other side has not consumed
// what it got before. On the client the error is io.EOF when the call has been answered, which Recv or Result then tell;
// otherwise it is *Abandoned, *NotSent or *Lost. On the server it is the cause of the context's end.
func (s *Stream) Send(item []byte) error {
	if len(item) > leastFrame { // below it every peer takes them
		if most := s.most(); len(item) > most {
			code := CodeInvalidRequest
			if s.server != nil {
				code = CodeRemote
			}
			return &Error{Code: code, Message: fmt.Sprintf("the item has %d bytes, allowed are %d", len(item), most)}
		}
	}
	return s.put(typeData, item)
}

// put queues a DATA or an END when there is credit for it. That is looked at with w.mu held, so nothing comes behind the END
// or, on the server, behind the answer.
func (s *Stream) put(kind frameType, item []byte) error {
	if s.ctx.Err() != nil {
		s.contextEnded()
	}
	for {
		if err := s.sendable(kind); err != nil {
			return err
		}
		if s.w.lock(s.ctx) != nil {
			return s.sendEnd() // the context or the connection has ended, and the stream with it
		}
		s.mu.Lock()
		if s.sendErr == nil && (s.credit > 0 || kind == typeEnd) {
			break
		}
		s.mu.Unlock()
		s.w.mu.Unlock()
	}
	if kind == typeEnd {
		s.sendErr = errSendEnded
		ring(&s.granted)
	} else {
		s.credit -= int64(len(item)) + itemCost
	}
	s.mu.Unlock()
	s.w.add(header{kind: kind, id: s.id}, nil, item, false)
	if len(item) < copyBelow {
		s.w.unlock(false) // others may follow at once: together they are cheaper
	} else {
		s.w.unlockAndWait()
	}
	return nil
}

// sendable waits for credit.
func (s *Stream) sendable(kind frameType) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.sendErr == nil && s.credit <= 0 && kind == typeData {
		s.wait(&s.granted)
	}
	return s.sendErr
}

// sendEnd waits for why nothing can be sent any more.
func (s *Stream) sendEnd() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.sendErr == nil {
		s.wait(&s.granted)
	}
	return s.sendErr
}

// Recv waits for the next item, which belongs to the caller. The error is io.EOF when no more will come: on the server because
// the client ended its items, on the client because of a RESULT. Other errors are on the client *Error when the server
// answered one, *Abandoned, *NotSent and *Lost; on the server the cause of the context's end.
func (s *Stream) Recv() ([]byte, error) {
	if s.ctx.Err() != nil {
		s.contextEnded()
	}
	s.mu.Lock()
	for s.items.empty() && s.recvErr == nil {
		s.wait(&s.arrived)
	}
	if s.items.empty() {
		defer s.mu.Unlock()
		return nil, s.recvErr
	}
	item := s.items.pop()
	cost := int64(len(item)) + itemCost
	grant := int64(0)
	if s.consumed += cost; s.consumed >= s.window/2 && s.recvErr == nil {
		grant, s.consumed = s.consumed, 0
		if s.items.empty() && s.window < mostWindow { // the sender is what takes time: it may wait for credit
			grant += s.window
			s.window *= 2
		}
		s.room += grant
	}
	s.mu.Unlock()
	if s.server != nil {
		s.server.s.held.Add(-cost)
	}
	if grant > 0 && s.w.lockNow(headerSize+creditSize) == nil { // otherwise the connection is ending
		s.w.add(header{kind: typeCredit, id: s.id}, nil, binary.LittleEndian.AppendUint32(nil, uint32(grant)), true)
		s.w.unlock(true)
	}
	return item, nil
}

// Draining is closed when the server goes away. A stream that goes on for ever must end then: the server waits for it.
func (s *Stream) Draining() <-chan struct{} {
	if s.server != nil {
		return s.server.s.leaving
	}
	return s.client.leaving
}

// most is how many bytes an item may have.
func (s *Stream) most() int {
	if s.server != nil {
		return s.server.most
	}
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.client.maxFrame()
}

// wait waits until bell rings; mu is held, but not meanwhile. The end of ctx ends the stream, which rings.
func (s *Stream) wait(bell *chan struct{}) {
	if *bell == nil {
		*bell = make(chan struct{})
	}
	rung := *bell
	s.mu.Unlock()
	if s.client != nil && s.client.readUntil(s.ctx, rung) {
		s.mu.Lock()
		return
	}
	select {
	case <-rung:
	case <-s.ctx.Done():
		s.contextEnded()
		<-rung // or another goroutine is about to end the stream: with the answer that has just come
	}
	s.mu.Lock()
}

// waitedFor tells whether somebody waits.
func (s *Stream) waitedFor() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arrived != nil || s.granted != nil
}

func ring(bell *chan struct{}) {
	if *bell != nil {
		close(*bell)
		*bell = nil
	}
}

func (s *Stream) contextEnded() {
	if s.client != nil {
		s.abandon(&Abandoned{s.ctx.Err()})
		return
	}
	cause := context.Cause(s.ctx)
	s.end(cause, cause, true)
}

// end ends the stream, with what Send and Recv return from now on; only the first end counts. Items that were not read are
// still there, or dropped.
func (s *Stream) end(send, recv error, drop bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.over, s.recvErr = true, recv
	if s.sendErr == nil {
		s.sendErr = send
	}
	if drop {
		s.drop()
	}
	ring(&s.granted)
	ring(&s.arrived)
}

// drop frees the items that were not read; mu is held.
func (s *Stream) drop() {
	if s.server != nil {
		s.server.s.held.Add(-s.items.cost)
	}
	s.items = queue{}
}

// admit takes the credit for an item that is about to be read. It is false when the item is of no use any more. errOverrun is
// for the stream to end with, any other error for the connection.
func (s *Stream) admit(h header) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.receives:
		return false, noItems(h)
	case s.over:
		return false, nil
	case s.recvErr != nil:
		return false, fmt.Errorf("read frame: DATA for call %d after END", h.id)
	case s.room <= 0:
		return false, errOverrun
	}
	s.room -= int64(h.length) + itemCost
	return true, nil
}

// push queues an item that was admitted; it is false when the stream has ended meanwhile.
func (s *Stream) push(item []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	s.items.push(item)
	ring(&s.arrived)
	return true
}

// addCredit reads a CREDIT; the error ends the connection.
func (s *Stream) addCredit(h header, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.sends {
		return noItems(h)
	}
	s.credit = min(s.credit+int64(binary.LittleEndian.Uint32(b)), maxCredit)
	if s.credit > 0 {
		ring(&s.granted)
	}
	return nil
}

func noItems(h header) error {
	return fmt.Errorf("read frame: %v for call %d, which has no items in that direction", h.kind, h.id)
}
