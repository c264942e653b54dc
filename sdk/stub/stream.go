package stub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cell-network/cell/sdk"
	"github.com/cell-network/cell/sdk/internal/meta"
	"github.com/cell-network/cell/sdk/internal/spans"
	"github.com/cell-network/cell/sdk/replicas"
	"github.com/cell-network/cell/sdk/wire"
)

// itemField is the number of the field that holds an item.
const itemField = 1

// missedField is the number of the field, beside the item's own, that says how many items before it were left out.
const missedField = 2

// Receive calls a method that streams items to the caller. The call is made when the range begins; leaving the range cancels
// it at the provider. After an error there are no more items, except after a *Missed.
func Receive[T any](ctx context.Context, c *Client, id uint32, method string, request []byte, read func(*wire.Fields, *T)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		s, err := open(ctx, c, id, method, request, false)
		if err != nil {
			var none T
			yield(none, err)
			return
		}
		defer s.close()
		receive(ctx, c, method, s, read, yield)
	}
}

// Listen is Receive for a topic, which has no end of its own: when the provider ends it the error is a *Down.
func Listen[T any](ctx context.Context, c *Client, id uint32, method string, request []byte, read func(*wire.Fields, *T)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for v, err := range Receive(ctx, c, id, method, request, read) {
			if !yield(v, err) {
				return
			}
			if _, missed := errors.AsType[*sdk.Missed](err); err != nil && !missed {
				return
			}
		}
		var none T
		yield(none, &sdk.Down{Cell: c.Target, Err: errTopicEnded})
	}
}

var errTopicEnded = errors.New("the cell stopped publishing")

// Send calls a method that takes a stream of items, and returns its encoded results. An error among the items gives the call
// up.
func Send[T any](ctx context.Context, c *Client, id uint32, method string, request []byte, items iter.Seq2[T, error], appendItem func([]byte, T) []byte) ([]byte, error) {
	s, err := open(ctx, c, id, method, request, true)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if own, ok := errors.AsType[*itemError](sendAll(s.Stream.Stream, items, appendItem)); ok { // any other end is in the result
		fail(s.span, own)
		return nil, fmt.Errorf("call %s of cell %s: %w", method, c.Target, own.err)
	}
	result, err := s.Result()
	err = broken(c, method, err)
	fail(s.span, err)
	return result, err
}

// Exchange calls a method that streams in both directions. Items are sent from a goroutine of their own; an error among them
// ends the range with that error.
func Exchange[In, Out any](ctx context.Context, c *Client, id uint32, method string, request []byte, items iter.Seq2[In, error],
	appendItem func([]byte, In) []byte, read func(*wire.Fields, *Out),
) iter.Seq2[Out, error] {
	return func(yield func(Out, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		s, err := open(ctx, c, id, method, request, true)
		if err != nil {
			var none Out
			yield(none, err)
			return
		}
		defer s.close()
		go func() {
			if ours, ok := errors.AsType[*itemError](sendAll(s.Stream.Stream, items, appendItem)); ok {
				cancel(ours)
			}
		}()
		receive(ctx, c, method, s, read, func(v Out, err error) bool {
			if ours, ok := errors.AsType[*itemError](context.Cause(ctx)); ok && err != nil {
				err = fmt.Errorf("call %s of cell %s: %w", method, c.Target, ours.err)
			}
			return yield(v, err)
		})
	}
}

// opened is a stream at a replica.
type opened struct {
	replicas.Stream
	span *spans.Recording
}

// close gives the stream up unless it has ended.
func (o opened) close() {
	o.Close()
	o.span.End()
}

func open(ctx context.Context, c *Client, id uint32, method string, request []byte, in bool) (opened, error) {
	traced, span := spans.Calling(ctx, c.Target, method)
	s, err := c.Open(traced, span, id, request, in)
	if err != nil {
		return opened{}, end(c, method, span, err)
	}
	return opened{s, span}, nil
}

// receive yields the items of a stream until it ends or the caller has enough.
func receive[T any](ctx context.Context, c *Client, method string, s opened, read func(*wire.Fields, *T), yield func(T, error) bool) {
	reuse := meta.Reuses(ctx)
	var item T
	for {
		data, err := s.Recv()
		if err == io.EOF {
			return
		}
		var v T
		if err != nil {
			err = broken(c, method, err)
			fail(s.span, err)
			yield(v, err)
			return
		}
		open := wire.NewFields
		if reuse { // data is this item's own, so a view of it is good as long as anything refers to it
			open, v = wire.NewView, item
		}
		missed, bad := readItem(open(data), &v, read)
		if item = v; !reuse && bad == nil {
			wire.Recycle(data)
		}
		if bad != nil {
			err := BadResult(c.Remote, method, bad)
			fail(s.span, err)
			yield(v, err)
			return
		}
		if missed > 0 {
			var none T
			if !yield(none, &sdk.Missed{Cell: c.Target, Topic: method, Count: missed}) {
				return
			}
		}
		if !yield(v, nil) {
			return
		}
	}
}

func readItem[T any](f *wire.Fields, v *T, read func(*wire.Fields, *T)) (missed uint64, err *wire.FieldError) {
	some := false
	for f.Next() {
		if f.ID == missedField {
			missed = wire.GetUint[uint64](f, "missed")
			continue
		}
		some = some || f.ID == itemField
		read(f, v)
	}
	if !some { // an empty list, say, is not written
		wire.Zero(v)
	}
	return missed, f.Err()
}

// itemError is an error among the items that are to be sent.
type itemError struct{ err error }

func (e *itemError) Error() string { return e.err.Error() }
func (e *itemError) Unwrap() error { return e.err }

// sendAll sends items and says that they end. It returns io.EOF when the call was answered before.
func sendAll[T any](s *wire.Stream, items iter.Seq2[T, error], appendItem func([]byte, T) []byte) error {
	var b []byte
	for v, err := range items {
		if err != nil {
			return &itemError{err}
		}
		b = appendItem(b[:0], v)
		if err := s.Send(b); err != nil {
			return err
		}
	}
	return s.CloseSend()
}

// SendItems streams what a method yields to its caller; it leaves the method's range when the caller is gone.
func SendItems[T any](s *wire.Stream, items iter.Seq2[T, error], appendItem func([]byte, T) []byte) error {
	var b []byte
	for v, err := range items {
		if err != nil {
			return err
		}
		b = appendItem(b[:0], v)
		if err := s.Send(b); err != nil {
			return err
		}
	}
	return nil
}

// ReceiveItems are the items that a caller streams to a method; they can be ranged over once.
func ReceiveItems[T any](s *wire.Stream, read func(*wire.Fields, *T)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			data, err := s.Recv()
			if err == io.EOF {
				return
			}
			var v T
			if err == nil {
				if _, bad := readItem(wire.NewFields(data), &v, read); bad != nil {
					err = &sdk.InvalidRequest{Field: bad.Field, Reason: bad.Reason}
				} else {
					wire.Recycle(data)
				}
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// Subscribe serves a topic to a caller until it leaves or the cell stops.
func Subscribe[T any](ctx context.Context, s *wire.Stream, t *sdk.Topic[T], appendItem func([]byte, T) []byte) error {
	sub := t.Hub.Subscribe()
	defer t.Hub.Leave(sub)
	var b []byte
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.Draining():
			return nil
		case <-sub.Ready():
		}
		items, missed := t.Hub.Take(sub)
		for _, v := range items {
			b = appendItem(b[:0], v)
			if missed > 0 {
				b = protowire.AppendVarint(protowire.AppendTag(b, missedField, protowire.VarintType), missed)
				missed = 0
			}
			if err := s.Send(b); err != nil {
				return err
			}
		}
	}
}
