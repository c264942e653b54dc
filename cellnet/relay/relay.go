// Package relay passes packets of WireGuard on between two machines that cannot reach one another. It cannot read them, and nobody else
// can use it: it takes packets of WireGuard alone, from the addresses that the two are known to have.
package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/cell-network/cell/cellnet/identity"
)

const (
	// FirstPort is the UDP port that is tried first; LastPort is the last one.
	FirstPort, LastPort = 23560, 24559
	// maxPairs is how many pairs are served at once, maxEach in how many of them one machine may be.
	maxPairs, maxEach = 256, 64
	// idle is how long a pair without packets is kept.
	idle = 3 * time.Minute
	// rate is how many bytes a second each side may send, burst how many at once.
	rate, burst = 16 << 20, 4 << 20
)

// Side is one of two machines.
type Side struct {
	Key  identity.Key
	From netip.Addr // that its packets come from
}

// Relay is safe for concurrent use. The zero value serves nobody yet.
type Relay struct {
	mu    sync.Mutex
	pairs map[[2]identity.Key]*pair
	next  uint16
}

type pair struct {
	sides [2]*side
	ended sync.Once
}

type side struct {
	key  identity.Key
	conn *net.UDPConn

	mu      sync.Mutex
	from    netip.Addr
	peer    netip.AddrPort // where its packets come from
	waiting []byte         // the newest packet for it, while that is not known
	credit  int
	filled  time.Time
	used    time.Time
}

// Open serves two machines, which may be served already, and tells the port that each is to send to.
func (r *Relay) Open(a, b Side) (portA, portB uint16, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	flip := a.Key.Compare(b.Key) > 0
	if flip {
		a, b = b, a
	}
	if a.Key == b.Key {
		return 0, 0, errors.New("relay: one machine is no pair")
	}
	if r.pairs == nil {
		r.pairs = map[[2]identity.Key]*pair{}
	}
	of := [2]identity.Key{a.Key, b.Key}
	p := r.pairs[of]
	if p == nil {
		if p, err = r.open(a, b); err != nil {
			return 0, 0, err
		}
		r.pairs[of] = p
		for i := range p.sides {
			go r.pass(of, p, p.sides[i], p.sides[1-i])
		}
	}
	for i, s := range []Side{a, b} {
		p.sides[i].expect(s.From)
	}
	portA, portB = p.sides[0].port(), p.sides[1].port()
	if flip {
		portA, portB = portB, portA
	}
	return portA, portB, nil
}

func (r *Relay) open(a, b Side) (*pair, error) {
	each := map[identity.Key]int{}
	for of := range r.pairs {
		each[of[0]]++
		each[of[1]]++
	}
	if len(r.pairs) >= maxPairs || each[a.Key] >= maxEach || each[b.Key] >= maxEach {
		return nil, errors.New("relay: it serves as many as it may")
	}
	p := &pair{}
	for i, s := range []Side{a, b} {
		conn, err := r.listen()
		if err != nil {
			p.close()
			return nil, err
		}
		p.sides[i] = &side{key: s.Key, conn: conn, credit: burst, filled: time.Now(), used: time.Now()}
	}
	return p, nil
}

func (r *Relay) listen() (*net.UDPConn, error) {
	for range LastPort - FirstPort + 1 {
		if r.next < FirstPort || r.next >= LastPort {
			r.next = FirstPort - 1
		}
		r.next++
		if c, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(r.next)}); err == nil {
			return c, nil
		}
	}
	return nil, fmt.Errorf("relay: none of the UDP ports %d to %d is free", FirstPort, LastPort)
}

func (p *pair) close() {
	p.ended.Do(func() {
		for _, s := range p.sides {
			if s != nil {
				s.conn.Close()
			}
		}
	})
}

func (s *side) port() uint16 { return uint16(s.conn.LocalAddr().(*net.UDPAddr).Port) }

// expect takes packets from an address alone; who has moved is told of by another Open.
func (s *side) expect(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.from != from {
		s.from, s.peer = from, netip.AddrPort{}
	}
}

// wireguard tells whether a packet has the form of one of WireGuard's four messages.
func wireguard(b []byte) bool {
	if len(b) < 32 {
		return false
	}
	kind := binary.LittleEndian.Uint32(b)
	return kind >= 1 && kind <= 4
}

// came takes note of a packet from an address, and tells whether it may pass; waiting is one for whoever sent it.
func (s *side) came(b []byte, from netip.AddrPort, now time.Time) (pass bool, waiting []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from.Addr() != s.from || !wireguard(b) {
		return false, nil
	}
	s.credit = min(burst, s.credit+int(now.Sub(s.filled).Seconds()*rate))
	s.filled = now
	if s.credit < len(b) {
		return false, nil
	}
	s.credit -= len(b)
	s.peer, s.used = from, now
	waiting, s.waiting = s.waiting, nil
	return true, waiting
}

// to is where a packet for the side goes; while that is not known, the newest one waits.
func (s *side) to(b []byte) (netip.AddrPort, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.peer.IsValid() {
		s.waiting = append([]byte(nil), b...)
		return netip.AddrPort{}, false
	}
	return s.peer, true
}

func (s *side) unused(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(s.used) > idle
}

// pass passes on what comes from one side to the other one, until nothing has come from either for a while.
func (r *Relay) pass(of [2]identity.Key, p *pair, s, other *side) {
	defer r.end(of, p)
	b := make([]byte, 1<<16)
	for {
		_ = s.conn.SetReadDeadline(time.Now().Add(idle / 2))
		n, from, err := s.conn.ReadFromUDPAddrPort(b)
		now := time.Now()
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			if s.unused(now) && other.unused(now) {
				return
			}
			continue
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error about a packet that was sent
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		pass, waiting := s.came(b[:n], from, now)
		if !pass {
			continue
		}
		if waiting != nil {
			_, _ = s.conn.WriteToUDPAddrPort(waiting, from)
		}
		if to, ok := other.to(b[:n]); ok {
			_, _ = other.conn.WriteToUDPAddrPort(b[:n], to) // as any network it may lose packets
		}
	}
}

func (r *Relay) end(of [2]identity.Key, p *pair) {
	p.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pairs[of] == p {
		delete(r.pairs, of)
	}
}

// Keep ends the service of pairs of which a machine is none of those that may have it.
func (r *Relay) Keep(may func(identity.Key) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for of, p := range r.pairs {
		if !may(of[0]) || !may(of[1]) {
			p.close()
			delete(r.pairs, of)
		}
	}
}

// Pairs is how many pairs are served.
func (r *Relay) Pairs() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pairs)
}

// Close ends all service.
func (r *Relay) Close() { r.Keep(func(identity.Key) bool { return false }) }
