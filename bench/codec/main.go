// Command codec measures the code that cell build makes side by side with protobuf-go and vtprotobuf, in one run: the same
// messages, byte for byte.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cell-network/cell/bench/codec/pb"
	"github.com/cell-network/cell/sdk/wire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func main() {
	rounds := flag.Int("rounds", 101, "how often each rival runs")
	only := flag.String("only", "", "what is measured, by a part of its name")
	flag.Parse()
	if flag.NArg() > 0 { // a cell has no arguments
		serve()
	}
	for _, m := range matches() {
		if strings.Contains(m.what, *only) {
			contest(os.Stdout, m.what, *rounds, m.rivals)
		}
	}
}

// match is what is measured, and who does it.
type match struct {
	what   string
	rivals []rival
}

// message is what the rivals' messages have in common.
type message interface {
	proto.Message
	SizeVT() int
	MarshalVT() ([]byte, error)
	MarshalToSizedBufferVT([]byte) (int, error)
	UnmarshalVT([]byte) error
	UnmarshalVTUnsafe([]byte) error
}

// subject is a message as Cell has it, and as the rivals do. What Cell does are calls without detours, as in generated code.
type subject struct {
	name                                string
	data                                []byte
	append                              func(b []byte)
	marshal, decode, decodeView, reused func()
	pb                                  message
	fresh                               func() message
	reset                               func(message) // keeps what can be used again
}

// sink keeps what is made from being made on the stack.
var sink []byte

func subjects() []subject {
	p, o := Pair{A: 3, B: -4}, order()
	small, large := cellAppendPair(nil, &p), cellAppendOrder(nil, &o)
	var smallRoom, largeRoom wire.Room
	var pair Pair
	viewPair := func() {
		f := wire.NewView(small)
		pair = Pair{}
		cellReadPair(f, &pair)
		check(f)
	}
	var first, again Order
	return []subject{
		{
			name: "2 integers", data: small, pb: &pb.Pair{A: p.A, B: p.B},
			append:  func(b []byte) { cellAppendPair(b, &p) },
			marshal: func() { sink = smallRoom.Done(cellAppendPair(smallRoom.Buffer(), &p)) },
			decode: func() {
				f := wire.NewFields(small)
				pair = Pair{}
				cellReadPair(f, &pair)
				check(f)
			},
			decodeView: viewPair, reused: viewPair,
			fresh: func() message { return &pb.Pair{} }, reset: func(m message) { m.(*pb.Pair).Reset() },
		},
		{
			name: "order", data: large, pb: orderPB(&o),
			append:  func(b []byte) { cellAppendOrder(b, &o) },
			marshal: func() { sink = largeRoom.Done(cellAppendOrder(largeRoom.Buffer(), &o)) },
			decode: func() {
				f := wire.NewFields(large)
				first = Order{}
				cellReadOrder(f, &first)
				check(f)
			},
			decodeView: func() {
				f := wire.NewView(large)
				first = Order{}
				cellReadOrder(f, &first)
				check(f)
			},
			reused: func() {
				f := wire.NewView(large)
				cellResetOrder(f, &again)
				cellReadOrder(f, &again)
				check(f)
			},
			fresh: func() message { return &pb.Order{} }, reset: func(m message) { m.(*pb.Order).ResetVT() },
		},
	}
}

func matches() (all []match) {
	for _, s := range subjects() {
		all = append(all, s.matches()...)
	}
	return all
}

func (s subject) matches() []match {
	buffer := make([]byte, 2*len(s.data))
	plain, reused, view, usual := s.fresh(), s.fresh(), s.fresh(), s.fresh()
	return []match{
		{s.name + ": append", []rival{
			{"cell", func() { s.append(buffer[:0]) }},
			{"vtprotobuf", func() { must(s.pb.MarshalToSizedBufferVT(buffer[:s.pb.SizeVT()])) }},
			{"protobuf-go", func() { must(proto.MarshalOptions{}.MarshalAppend(buffer[:0], s.pb)) }},
		}},
		{s.name + ": marshal", []rival{
			{"cell", s.marshal},
			{"vtprotobuf", func() { sink = must(s.pb.MarshalVT()) }},
			{"protobuf-go", func() { sink = must(proto.Marshal(s.pb)) }},
		}},
		{s.name + ": decode", []rival{
			{"cell", s.decode},
			{"vtprotobuf", func() { plain = s.fresh(); try(plain.UnmarshalVT(s.data)) }},
			{"protobuf-go", func() { plain = s.fresh(); try(proto.Unmarshal(s.data, plain)) }},
		}},
		{s.name + ": decode, view", []rival{
			{"cell", s.decodeView},
			{"vtprotobuf", func() { plain = s.fresh(); try(plain.UnmarshalVTUnsafe(s.data)) }},
		}},
		{s.name + ": decode, view, reuse", []rival{
			{"cell", s.reused},
			{"vtprotobuf", func() { s.reset(view); try(view.UnmarshalVTUnsafe(s.data)) }},
			{"vtprotobuf, copy", func() { s.reset(reused); try(reused.UnmarshalVT(s.data)) }},
			{"protobuf-go, copy", func() { try(proto.Unmarshal(s.data, usual)) }},
		}},
	}
}

func check(f *wire.Fields) {
	if !f.OK() {
		panic(f.Err())
	}
}

func must[T any](v T, err error) T {
	try(err)
	return v
}

func try(err error) {
	if err != nil {
		panic(err)
	}
}

// order is a message as a shop would have it. No field is empty or zero: protobuf leaves such out.
func order() Order {
	note := "Ring twice; the dog is friendly."
	o := Order{
		ID: "2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d", Number: 1_204_771, Customer: "Ada Lovelace", Status: 3, Weight: 12.75,
		Placed: time.Unix(1_785_000_000, 123_456_789).UTC(), Labels: map[string]string{"channel": "web"}, Note: &note,
		Signature: []byte(strings.Repeat("\x00\xff\x5a\xa5", 16)), Ratings: []int64{5, 4, -1, 300, 2, 70_000, 5, 5},
		Tags: []string{"priority", "gift", "grüße"},
	}
	for i := range 20 {
		o.Lines = append(o.Lines, Line{
			SKU: fmt.Sprintf("SKU-%06d", 7919*i), Name: "Analytical engine, part " + fmt.Sprint(i), Quantity: int64(i + 1),
			Price: int64(1999 * (i + 1)), Gift: true,
		})
	}
	return o
}

// orderPB is o as the rivals have it.
func orderPB(o *Order) *pb.Order {
	out := &pb.Order{
		Id: o.ID, Number: o.Number, Customer: o.Customer, Status: o.Status, Weight: o.Weight, Placed: timestamppb.New(o.Placed),
		Labels: o.Labels, Note: o.Note, Signature: o.Signature, Ratings: o.Ratings, Tags: o.Tags,
	}
	for _, l := range o.Lines {
		out.Lines = append(out.Lines, &pb.Line{Sku: l.SKU, Name: l.Name, Quantity: l.Quantity, Price: l.Price, Gift: l.Gift})
	}
	return out
}
