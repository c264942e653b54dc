package main

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/cell-network/cell/sdk/wire"
	"google.golang.org/protobuf/proto"
)

// What is compared must be the same.
func TestSameBytes(t *testing.T) {
	for _, s := range subjects() {
		vt, err := s.pb.MarshalVT()
		if err != nil || !bytes.Equal(s.data, vt) {
			t.Errorf("%s: %v\ncell       %x\nvtprotobuf %x", s.name, err, s.data, vt)
		}
		google, err := proto.Marshal(s.pb)
		if err != nil || !bytes.Equal(s.data, google) {
			t.Errorf("%s: %v\ncell        %x\nprotobuf-go %x", s.name, err, s.data, google)
		}
	}
}

func TestDecode(t *testing.T) {
	want := order()
	data := cellAppendOrder(nil, &want)
	var got Order
	for range 2 {
		f := wire.NewView(data)
		cellResetOrder(f, &got)
		if cellReadOrder(f, &got); !f.OK() || !reflect.DeepEqual(got, want) {
			t.Errorf("%v %v", got, f.Err())
		}
	}
}

func TestNoAllocations(t *testing.T) {
	for _, m := range matches() {
		if strings.HasSuffix(m.what, "reuse") || strings.HasSuffix(m.what, "append") {
			if n := testing.AllocsPerRun(100, m.rivals[0].run); n > 0 {
				t.Errorf("%s: %v allocations", m.what, n)
			}
		}
	}
}
