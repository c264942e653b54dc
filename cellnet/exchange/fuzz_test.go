package exchange

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/registry"
)

// talk reads what the other side says, and takes what is said to it.
type talk struct {
	io.Reader
	said int
}

func (t *talk) Write(b []byte) (int, error) { t.said += len(b); return len(b), nil }

// FuzzTalk plays a machine that says anything to one that asks, and to one that answers.
func FuzzTalk(f *testing.F) {
	var empty registry.Summary
	message := func(m Message) []byte {
		var b bytes.Buffer
		_ = Send(&b, m)
		return b.Bytes()
	}
	one := empty
	one[3] = 7
	f.Add(message(Message{Same: true}))
	f.Add(append(message(Message{Summary: one.Append(nil)}), append(message(Message{Buckets: []int{3, -1, 999}, Marks: make([]byte, 64)}), message(Message{Records: [][]byte{{1}, nil}})...)...))
	f.Add(append(message(Message{Summary: one.Append(nil)}), message(Message{Wanted: make([]byte, 32), Records: [][]byte{{}}})...))
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		reg := registry.New(identity.Tissue{1}, time.Now)
		_ = Ask(&talk{Reader: bytes.NewReader(b)}, reg)
		c := &talk{Reader: bytes.NewReader(b)}
		var first Message
		if Receive(c, MaxFirst, &first) == nil {
			_, _ = Answer(c, reg, first)
		}
		if reg.Len() != 0 {
			t.Errorf("%q put %d records there", b, reg.Len())
		}
	})
}
