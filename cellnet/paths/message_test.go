package paths

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/cell-network/cell/cellnet/identity"
)

func FuzzParse(f *testing.F) {
	for _, m := range []Message{
		{Kind: Ping, Nonce: 7, Mark: 1 << 60},
		{Kind: Pong, Nonce: 7, At: netip.MustParseAddrPort("203.0.113.1:23550")},
		{Kind: Try, Key: identity.Key{1}, At: netip.MustParseAddrPort("[2001:db8::1]:1")},
		{Kind: Carry, Key: identity.Key{1}, Port: 23560},
	} {
		f.Add(m.Append(nil))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(m.Append(nil))
		if err != nil || again != m || len(b) > MaxMessage {
			t.Errorf("%x: %+v, then %+v: %v", b, m, again, err)
		}
	})
}

// What nobody can be reached at is not passed on.
func TestParse(t *testing.T) {
	for _, e := range []string{"0.0.0.0:1", "127.0.0.1:1", "224.0.0.1:1", "[ff02::1]:1", "[::1]:1", "198.18.0.1:0", "[::ffff:127.0.0.1]:1"} {
		m := Message{Kind: Try, At: netip.MustParseAddrPort(e)}
		if got, err := Parse(m.Append(nil)); err == nil {
			t.Errorf("%s: %+v", e, got)
		}
	}
	m := Message{Kind: Knock, Key: identity.Key{9}}
	if b := m.Append(nil); len(b) != fixed || !bytes.Equal(b[19:], m.Key[:]) {
		t.Errorf("%x", b)
	}
	for _, bad := range [][]byte{nil, make([]byte, fixed), (Message{Kind: Try}).Append(nil), (Message{Kind: Carry}).Append(nil), append((Message{Kind: Ping}).Append(nil), 1)} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("%x: %+v", bad, got)
		}
	}
}
