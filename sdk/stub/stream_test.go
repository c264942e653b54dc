package stub

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/cell-network/cell/sdk"
	"github.com/cell-network/cell/sdk/internal/unixtest"
	"github.com/cell-network/cell/sdk/replicas"
	"github.com/cell-network/cell/sdk/wire"
)

// batch is an item of a stream, read as generated code reads one.
type batch struct{ Names []string }

func readBatch(f *wire.Fields, v *batch) {
	if f.ID != 1 {
		return
	}
	if f.Stale() {
		v.Names = v.Names[:0]
	}
	end := f.Enter()
	for f.Next() {
		if f.ID == 1 {
			*wire.Add(f, &v.Names) = wire.GetString[string](f, "Names")
		}
	}
	f.Leave(end, "")
}

// connected is a client of a server that answers with handle.
func connected(t testing.TB, handle wire.Handler) *Client {
	t.Helper()
	return clientOn("batches", unixtest.Serve(t, handle))
}

// Items share memory only when that is asked for.
func TestReuse(t *testing.T) {
	const items = 50
	c := connected(t, func(_ context.Context, r wire.Request) ([]byte, error) {
		for i := range items {
			if i == items/2 { // an item that is nothing, beside a field that is not known
				if err := r.Stream.Send(wire.AppendInt(nil, 9, 1)); err != nil {
					return nil, err
				}
				continue
			}
			b, mark := wire.Begin(nil, 1)
			for j := range 3 + i%5 {
				b = wire.AppendString(b, 1, fmt.Sprint("name ", i, ".", j))
			}
			if err := r.Stream.Send(wire.End(b, mark)); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
	for _, reuse := range []bool{false, true} {
		ctx := t.Context()
		if reuse {
			ctx = sdk.Reuse(ctx)
		}
		n, memory := 0, map[*string]bool{}
		for item, err := range Receive(ctx, c, 1, "Batches", nil, readBatch) {
			if err != nil {
				t.Fatal(err)
			}
			if n == items/2 {
				if n++; len(item.Names) > 0 {
					t.Errorf("reuse %v: an item without anything is %q", reuse, item.Names)
				}
				continue
			}
			var want []string
			for j := range 3 + n%5 {
				want = append(want, fmt.Sprint("name ", n, ".", j))
			}
			if !slices.Equal(item.Names, want) {
				t.Errorf("reuse %v: item %d is %q", reuse, n, item.Names)
			}
			memory[&item.Names[0]] = true
			n++
		}
		if n != items || reuse != (len(memory) < items/2) {
			t.Errorf("reuse %v: %d items in %d places", reuse, n, len(memory))
		}
	}
}

// clientOn is a client that has a connection and cannot make another.
func clientOn(need string, conn *wire.Conn) *Client {
	c := replicas.New(&Remote{Need: need}, need, nowhere{})
	c.Add(replicas.Reached{Conn: conn, Instance: need, Instances: 1})
	return c
}

// nowhere is a celld that does not answer.
type nowhere struct{}

func (nowhere) Connect(context.Context, []string) (replicas.Reached, error) {
	return replicas.Reached{}, &wire.NotSent{Err: net.ErrClosed}
}
func (nowhere) Greeted(context.Context, *wire.Conn) error { return nil }
