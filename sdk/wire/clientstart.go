package wire

import (
	"context"
	"errors"
)

// Started is a call that is under way: Do in two halves, for who waits for several at once. It ends with Result or Abandon, one
// of them once. The zero Started is no call.
type Started struct {
	c  *Conn
	p  *pending
	id uint64
}

// Start makes a call and returns without its answer; errors are those of Do before a call is sent. The timeout of ctx is sent
// along, but nobody waits for the end of ctx.
func (c *Conn) Start(ctx context.Context, call Call) (Started, error) {
	if call.OneWay {
		return Started{}, &NotSent{errors.New("a one-way call is not waited for")}
	}
	p := pendingPool.Get().(*pending)
	p.elsewhere = true
	id, _, err := c.begin(ctx, p, &call, 0)
	if err != nil {
		_, _ = p.finished()
		return Started{}, err
	}
	return Started{c, p, id}, nil
}

// Done gets one value when the call has ended; for no call it is nil.
func (s Started) Done() <-chan struct{} {
	if s.p == nil {
		return nil
	}
	return s.p.done
}

// Result is what Do returns. It may be called when Done has given its value.
func (s Started) Result() ([]byte, error) { return s.p.finished() }

// Abandon gives the call up: the server is told unless it has answered.
func (s Started) Abandon() {
	if s.c.take(s.id) != nil {
		s.c.send(header{kind: typeCancel, id: s.id}, nil)
		s.c.endIfUnused()
	} else {
		<-s.p.done // the answer came at the same moment, or before
	}
	_, _ = s.p.finished()
}

// finished takes what settle left, and p is used for other calls.
func (p *pending) finished() ([]byte, error) {
	result, err := p.result, p.err
	p.result, p.err, p.elsewhere = nil, nil, false
	pendingPool.Put(p)
	return result, err
}
