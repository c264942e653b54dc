package sdk

import (
	"context"
	"errors"
	"testing"

	"github.com/cell-network/cell/sdk/internal/generated"
	"github.com/cell-network/cell/sdk/internal/unixtest"
	"github.com/cell-network/cell/sdk/stats"
	"github.com/cell-network/cell/sdk/wire"
)

// Each call is counted once, as what it ended with.
func TestCounts(t *testing.T) {
	call := func(f func() error) func(context.Context, []byte) ([]byte, error) {
		return func(context.Context, []byte) ([]byte, error) { return []byte("1234"), f() }
	}
	g := &generated.Genome{
		Name: "counted",
		Methods: []generated.Method{
			{ID: 7, Name: "Good", Call: call(func() error { return nil })},
			{ID: 9, Name: "Bad", Call: call(func() error { return errors.New("secret") })},
			{ID: 3, Name: "Own", Call: call(func() error { return errors.ErrUnsupported })},
			{ID: 4, Name: "Panic", Call: call(func() error { panic("x") })},
		},
		Error: func(err error) (string, string, []byte, bool) { return "E", "e", nil, err == errors.ErrUnsupported },
	}
	table, err := stats.New([]string{"Good", "Bad", "Own", "Panic"})
	if err != nil {
		t.Fatal(err)
	}
	handle, err := handler(g, newGate("counted", ""), table)
	if err != nil {
		t.Fatal(err)
	}
	c := unixtest.Serve(t, handle)
	for range 3 {
		for _, id := range []uint32{7, 9, 3, 4, 1} {
			_, _ = c.Call(t.Context(), id, []byte("ab"))
		}
	}
	r, err := stats.Open(int(table.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i, code := range []wire.Code{0, wire.CodeRemote, wire.CodeApplication, wire.CodeRemote} {
		m, want := r.Read()[i], [stats.Codes]uint64{}
		want[code] = 3
		out := uint64(0)
		if code == 0 {
			out = 12
		}
		if m.Ended != want || m.BytesIn != 6 || m.BytesOut != out || m.InFlight != 0 || m.Latency.Quantile(1) == 0 {
			t.Errorf("%+v", m)
		}
	}
}

// Other cells are not told what this one chose among replicas.
func TestRacesAreDenied(t *testing.T) {
	if data, err := races(wire.Request{Peer: &peer{Identity: Identity{Cell: "other"}}}); err == nil {
		t.Errorf("another cell was told %s", data)
	}
	if data, err := races(wire.Request{}); err != nil || string(data) != "[]" {
		t.Errorf("%s, %v", data, err)
	}
}
