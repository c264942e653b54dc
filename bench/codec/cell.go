package main

import (
	"context"
	"iter"
	"time"

	"github.com/cell-network/cell/sdk"
)

// Codec is a cell whose generated code is measured.
type Codec struct{}

// Pair is a small message.
type Pair struct{ A, B int64 }

// Order is a message as a shop would have it.
type Order struct {
	ID        string
	Number    int64
	Customer  string
	Status    uint32
	Weight    float64
	Placed    time.Time
	Lines     []Line
	Labels    map[string]string
	Note      *string
	Signature []byte
	Ratings   []int64
	Tags      []string
}

// Line is a part of an order.
type Line struct {
	SKU, Name       string
	Quantity, Price int64
	Gift            bool
}

// Swap makes both messages part of the cell.
func (Codec) Swap(ctx context.Context, p Pair, o Order) (Order, Pair) { return o, p }

// Collect makes a function that resets an order, as it does for the items of streams.
func (Codec) Collect(ctx context.Context, orders iter.Seq2[Order, error]) error { return nil }

// serve is where the generator finds what is served; it is not run here.
func serve() { sdk.Main(Codec{}) }
