package relay

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cell-network/cell/cellnet/identity"
)

func packet(kind byte, text string) []byte {
	return append([]byte{kind, 0, 0, 0}, append([]byte(text), make([]byte, 32)...)...)
}

type end struct {
	t *testing.T
	*net.UDPConn
	to netip.AddrPort
}

func newEnd(t *testing.T, at string) *end {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &end{t: t, UDPConn: c}
}

func (e *end) say(b []byte) {
	e.t.Helper()
	if _, err := e.WriteToUDPAddrPort(b, e.to); err != nil {
		e.t.Fatal(err)
	}
}

// hears tells whether a packet comes; silence is told after what comes later.
func (e *end) hears(want []byte) {
	e.t.Helper()
	b := make([]byte, 2048)
	_ = e.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, _, err := e.ReadFromUDPAddrPort(b)
	if err != nil || string(b[:n]) != string(want) {
		e.t.Fatalf("heard %q, %v, want %q", b[:n], err, want)
	}
}

func TestRelay(t *testing.T) {
	var r Relay
	defer r.Close()
	local := netip.MustParseAddr("127.0.0.1")
	a, b, stranger := newEnd(t, "127.0.0.1:0"), newEnd(t, "127.0.0.1:0"), newEnd(t, "127.0.0.2:0")
	one, two := Side{identity.Key{2}, local}, Side{identity.Key{1}, local}
	pa, pb, err := r.Open(one, two)
	if err != nil {
		t.Fatal(err)
	}
	if qa, qb, err := r.Open(one, two); qa != pa || qb != pb || err != nil || r.Pairs() != 1 {
		t.Error("the same pair:", qa, qb, err)
	}
	if qb, qa, err := r.Open(two, one); qa != pa || qb != pb || err != nil {
		t.Error("the same pair, asked for by the other:", qa, qb, err)
	}
	if _, _, err := r.Open(one, one); err == nil {
		t.Error("a machine and itself")
	}
	a.to, b.to = netip.AddrPortFrom(local, pa), netip.AddrPortFrom(local, pb)
	stranger.to = a.to

	// The first packet waits until the other side has shown where it is.
	a.say(packet(1, "hello"))
	time.Sleep(50 * time.Millisecond)
	b.say(packet(2, "answer"))
	b.hears(packet(1, "hello"))
	a.hears(packet(2, "answer"))

	// What is no WireGuard, and what comes from elsewhere, does not pass.
	a.say([]byte("GET / HTTP/1.1 and more than thirty-two bytes"))
	a.say(packet(9, "no kind"))
	a.say([]byte{4, 0, 0, 0})
	stranger.say(packet(4, "forged"))
	a.say(packet(4, "data"))
	b.hears(packet(4, "data"))

	// A machine that has moved is let in again, and its old address no more.
	moved := Side{one.Key, netip.MustParseAddr("127.0.0.2")}
	if _, _, err := r.Open(moved, two); err != nil {
		t.Fatal(err)
	}
	a.say(packet(4, "from where it was"))
	stranger.say(packet(4, "from where it is"))
	b.hears(packet(4, "from where it is"))

	r.Keep(func(k identity.Key) bool { return k != one.Key })
	if r.Pairs() != 0 {
		t.Error("a machine that may no more is served")
	}
}

// One machine takes no more than its part.
func TestBounds(t *testing.T) {
	var r Relay
	defer r.Close()
	a := netip.MustParseAddr("127.0.0.1")
	n := 0
	for ; n < maxPairs; n++ {
		if _, _, err := r.Open(Side{identity.Key{1}, a}, Side{identity.Key{2, byte(n)}, a}); err != nil {
			break
		}
	}
	if n != maxEach {
		t.Errorf("%d pairs of one machine", n)
	}
	s := &side{from: a, credit: 100, filled: time.Unix(1e9, 0)}
	from := netip.AddrPortFrom(a, 1)
	if pass, _ := s.came(packet(4, "x"), from, s.filled); !pass {
		t.Error("within the rate")
	}
	big := append(packet(4, ""), make([]byte, 1000)...)
	if pass, _ := s.came(big, from, s.filled); pass {
		t.Error("over the rate")
	}
	if pass, _ := s.came(big, from, s.filled.Add(time.Second)); !pass {
		t.Error("a second later")
	}
}
