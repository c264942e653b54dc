package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/cell-network/cell/sdk/wire"
)

// itemField is the number of the field that holds an item.
const itemField = 1

// missedField is the number of the field, beside the item's own, that says how many items before it were left out.
const missedField = 2

type reuseKey struct{}

// Reuse makes the items of streams that are received with the context share memory: an item is good until the next one is asked
// for, and who keeps a part of it copies that. A range over many items then allocates little.
func Reuse(ctx context.Context) context.Context { return context.WithValue(ctx, reuseKey{}, true) }

// Receive calls a method that streams items to the caller. The call is made when the range begins; leaving the range cancels
// it at the provider. After an error there are no more items, except after a *Missed. Generated code calls it.
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
			if _, missed := errors.AsType[*Missed](err); err != nil && !missed {
				return
			}
		}
		var none T
		yield(none, &Down{Cell: c.target, Err: errTopicEnded})
	}
}

var errTopicEnded = errors.New("the cell stopped publishing")

// Send calls a method that takes a stream of items, and returns its encoded results. An error among the items gives the call
// up. Generated code calls it.
func Send[T any](ctx context.Context, c *Client, id uint32, method string, request []byte, items iter.Seq2[T, error], appendItem func([]byte, T) []byte) ([]byte, error) {
	s, err := open(ctx, c, id, method, request, true)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if own, ok := errors.AsType[*itemError](sendAll(s.Stream, items, appendItem)); ok { // any other end is in the result
		s.span.fail(own)
		return nil, fmt.Errorf("call %s of cell %s: %w", method, c.target, own.err)
	}
	result, err := s.Result()
	err = c.broken(method, err)
	s.span.fail(err)
	return result, err
}

// Exchange calls a method that streams in both directions. Items are sent from a goroutine of their own; an error among them
// ends the range with that error. Generated code calls it.
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
			if ours, ok := errors.AsType[*itemError](sendAll(s.Stream, items, appendItem)); ok {
				cancel(ours)
			}
		}()
		receive(ctx, c, method, s, read, func(v Out, err error) bool {
			if ours, ok := errors.AsType[*itemError](context.Cause(ctx)); ok && err != nil {
				err = fmt.Errorf("call %s of cell %s: %w", method, c.target, ours.err)
			}
			return yield(v, err)
		})
	}
}

// opened is a stream at a replica.
type opened struct {
	*wire.Stream
	lane lane
	span *Span
}

// close gives the stream up unless it has ended.
func (o opened) close() {
	o.Close()
	o.lane.release(nil)
	o.span.end(nil)
}

func open(ctx context.Context, c *Client, id uint32, method string, request []byte, in bool) (opened, error) {
	traced, span := c.calling(ctx, method)
	o, err := try(traced, c, method, func(l lane, attempt uint32) (opened, error) {
		span.attempt(l.r.instance)
		s, err := l.conn.Open(traced, c.call(traced, id, request, attempt), in, true)
		if err != nil {
			l.release(err)
		}
		return opened{s, l, span}, err
	})
	if err != nil {
		span.end(err)
	}
	return o, err
}

// receive yields the items of a stream until it ends or the caller has enough.
func receive[T any](ctx context.Context, c *Client, method string, s opened, read func(*wire.Fields, *T), yield func(T, error) bool) {
	reuse := ctx.Value(reuseKey{}) != nil
	var item T
	for {
		data, err := s.Recv()
		if err == io.EOF {
			return
		}
		var v T
		if err != nil {
			err = c.broken(method, err)
			s.span.fail(err)
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
			err := BadResult(c.remote, method, bad)
			s.span.fail(err)
			yield(v, err)
			return
		}
		if missed > 0 {
			var none T
			if !yield(none, &Missed{Cell: c.target, Topic: method, Count: missed}) {
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

// SendItems streams what a method yields to its caller; it leaves the method's range when the caller is gone. Generated code
// calls it.
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

// ReceiveItems are the items that a caller streams to a method; they can be ranged over once. Generated code calls it.
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
					err = &InvalidRequest{Field: bad.Field, Reason: bad.Reason}
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
