package exchange

import (
	"crypto/ed25519"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/record"
	"github.com/cell-network/cell/cellnet/registry"
)

// tissue is many machines on a network in memory and on a clock of its own: the registry and the exchange are those that run, and
// between them is latency, loss, and links that are cut.
type tissue struct {
	t        *testing.T
	nodes    []*machine
	root     ed25519.PrivateKey
	id       identity.Tissue
	end      chan struct{}
	latency  time.Duration
	loss     float64
	messages atomic.Int64
	bytes    atomic.Int64
}

type machine struct {
	key   ed25519.PrivateKey
	reg   *registry.Registry
	side  atomic.Int32 // of a network that is cut; below zero it is switched off
	news  chan struct{}
	about atomic.Int64 // comparisons under way
}

func newTissue(t *testing.T, n int) *tissue {
	s := &tissue{t: t, end: make(chan struct{}), latency: 30 * time.Millisecond, loss: 0.02}
	s.root = key(0)
	founding := (&record.Record{Kind: record.Founding, Version: 1, Issued: time.Now(), Body: record.FoundingBody{Name: "home", Nonce: make([]byte, 16)}.Append(nil)}).Sign(s.root)
	s.id = identity.TissueOf(founding.Raw())
	all := []*record.Record{founding}
	for i := range n {
		m := &machine{key: key(i), reg: registry.New(s.id, time.Now), news: make(chan struct{}, 1)}
		s.nodes = append(s.nodes, m)
		all = append(all, s.member(m.key, i), s.facts(m, 1))
	}
	for _, m := range s.nodes {
		for _, r := range all {
			s.put(m, r)
		}
	}
	return s
}

func key(i int) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	seed[0], seed[1], seed[2] = byte(i), byte(i>>8), 1
	return ed25519.NewKeyFromSeed(seed)
}

func (s *tissue) member(of ed25519.PrivateKey, i int) *record.Record {
	k := identity.KeyOf(of)
	body := record.MemberBody{Name: fmt.Sprintf("n%d", i), Role: record.RoleMember}
	return (&record.Record{Kind: record.Member, Tissue: s.id, Subject: k[:], Version: 1, Issued: time.Now(), Expires: time.Now().Add(registry.Membership), Body: body.Append(nil)}).Sign(s.root)
}

// facts are what a machine states of itself.
func (s *tissue) facts(m *machine, version uint64) *record.Record {
	body := record.NodeBody{WireGuard: record.WireGuardKey{1}, Version: "1.0", Cores: 4, Memory: 8 << 30}
	return (&record.Record{Kind: record.Node, Tissue: s.id, Version: version, Issued: time.Now(), Expires: time.Now().Add(registry.Facts), Body: body.Append(nil)}).Sign(m.key)
}

func (s *tissue) put(m *machine, r *record.Record) {
	if _, err := m.reg.Put(r); err != nil {
		s.t.Fatal(err)
	}
}

// state makes a machine say something new.
func (s *tissue) state(i int, version uint64) {
	s.put(s.nodes[i], s.facts(s.nodes[i], version))
	s.nodes[i].tell()
}

func (m *machine) tell() {
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// run is what each machine does.
func (s *tissue) run() {
	for i := range s.nodes {
		go func() {
			time.Sleep(rand.N(Round))
			t := time.NewTicker(Round)
			defer t.Stop()
			for {
				most := Some
				select {
				case <-s.end:
					return
				case <-t.C:
				case <-s.nodes[i].news:
					most = Many
					time.Sleep(20 * time.Millisecond)
				}
				others := slices.Delete(slices.Clone(s.nodes), i, i+1)
				for _, other := range Choose(others, most) {
					go s.contact(s.nodes[i], other)
				}
			}
		}()
	}
}

func (s *tissue) apart(a, b *machine) bool {
	return a.side.Load() < 0 || b.side.Load() < 0 || a.side.Load() != b.side.Load()
}

// datagram is a question or an answer with what IPv6, UDP and WireGuard add.
const datagram = 59 + 40 + 8 + 32 + 40 + 8

// contact is a question of one machine to another one, and an exchange when they do not have the same.
func (s *tissue) contact(a, b *machine) {
	if s.apart(a, b) || rand.Float64() < s.loss {
		return
	}
	s.count(2, 2*datagram)
	time.Sleep(2 * s.latency)
	if rand.Float64() < s.loss || a.reg.Mark() == b.reg.Mark() || a.about.Load() >= Many {
		return
	}
	a.about.Add(1)
	defer a.about.Add(-1)
	near, far := net.Pipe()
	x, y := &wire{near, s, a, b}, &wire{far, s, b, a}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		var first Message
		if Receive(y, MaxMessage, &first) == nil {
			if news, err := Answer(y, b.reg, first); err == nil && news > 0 {
				b.tell()
			}
		}
	}()
	time.Sleep(2 * s.latency) // for the connection
	before := a.reg.Change()
	_ = Ask(x, a.reg)
	near.Close()
	<-done
	if a.reg.Change() != before {
		a.tell()
	}
}

func (s *tissue) count(messages, bytes int) {
	s.messages.Add(int64(messages))
	s.bytes.Add(int64(bytes))
}

// wire takes time, and is counted.
type wire struct {
	net.Conn
	s         *tissue
	from, end *machine
}

func (w *wire) Write(b []byte) (int, error) {
	if w.s.apart(w.from, w.end) {
		w.Close()
		return 0, net.ErrClosed
	}
	w.s.count(1+len(b)/1300, len(b)+(1+len(b)/1300)*(40+20+32+40+8))
	time.Sleep(w.s.latency)
	return w.Conn.Write(b)
}

// until waits until so many of the machines have what the one has, and tells how long that took.
func (s *tissue) until(part float64, which func(*machine) bool, has func(*machine) bool) time.Duration {
	s.t.Helper()
	begun := time.Now()
	for time.Since(begun) < 10*time.Minute {
		n, of := 0, 0
		for _, m := range s.nodes {
			if which != nil && !which(m) {
				continue
			}
			if of++; has(m) {
				n++
			}
		}
		if float64(n) >= part*float64(of) {
			return time.Since(begun).Round(10 * time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatal("it does not come to an end")
	return 0
}

func (s *tissue) has(i int, version uint64) func(*machine) bool {
	probe := &record.Record{Kind: record.Node, Signer: identity.KeyOf(s.nodes[i].key)}
	return func(m *machine) bool { return m.reg.Version(probe) > version }
}

// rate is messages and bytes of each machine in a second of the time that passes in f.
func (s *tissue) rate(f func()) string {
	messages, bytes, begun := s.messages.Load(), s.bytes.Load(), time.Now()
	f()
	of := time.Since(begun).Seconds() * float64(len(s.nodes))
	return fmt.Sprintf("%.1f messages and %.0f bytes a second and machine", float64(s.messages.Load()-messages)/of, float64(s.bytes.Load()-bytes)/of)
}

// News reach everybody within seconds, halves that were apart and machines that were away have the same afterwards, and who has nothing new
// says next to nothing. CELL_SIM_NODES is how many machines there are.
func TestMany(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	n := 150
	if v, err := strconv.Atoi(os.Getenv("CELL_SIM_NODES")); err == nil {
		n = v
	}
	synctest.Test(t, func(t *testing.T) {
		s := newTissue(t, n)
		s.run()
		defer func() {
			close(s.end)
			time.Sleep(time.Minute)
		}()
		time.Sleep(10 * time.Second)
		t.Logf("%d machines, at rest: %s", n, s.rate(func() { time.Sleep(30 * time.Second) }))

		var most, all time.Duration
		rate := s.rate(func() {
			s.state(1, 2)
			most = s.until(0.99, nil, s.has(1, 2))
			all = most + s.until(1, nil, s.has(1, 2))
		})
		t.Logf("a record: 99 %% after %v, all after %v; %s", most, all, rate)
		if most > 15*time.Second {
			t.Errorf("a record took %v", most)
		}

		// Two halves, both of which change something.
		for i, m := range s.nodes {
			m.side.Store(int32(i % 2))
		}
		for i := range 20 {
			s.state(i, 10)
		}
		time.Sleep(time.Minute)
		for i := range 20 {
			if i%2 == 1 && s.has(i, 10)(s.nodes[0]) {
				t.Fatal("the network is not cut")
			}
		}
		same := func(m *machine) bool { return m.reg.Mark() == s.nodes[0].reg.Mark() }
		for _, m := range s.nodes {
			m.side.Store(0)
		}
		rate = s.rate(func() { all = s.until(1, nil, same) })
		t.Logf("halves with 10 changes each: the same after %v; %s", all, rate)
		for i := range 20 {
			if !s.has(i, 10)(s.nodes[0]) || !s.has(i, 10)(s.nodes[1]) {
				t.Errorf("the change of machine %d is lost", i)
			}
		}

		// A tenth is away while a fifth changes something, and one is evicted.
		for _, m := range s.nodes[:n/10] {
			m.side.Store(-1)
		}
		for i := n / 2; i < n/2+n/5; i++ {
			s.state(i, 20)
		}
		gone := identity.KeyOf(s.nodes[n-1].key)
		s.put(s.nodes[n/2], (&record.Record{
			Kind: record.Revocation, Tissue: s.id, Subject: gone[:], Version: 1, Issued: time.Now(), Body: record.RevocationBody{Keeps: s.nodes[n/2].reg.SignedBy(gone)}.Append(nil),
		}).Sign(s.root))
		s.nodes[n/2].tell()
		there := func(m *machine) bool { return m.side.Load() == 0 }
		evicted := func(m *machine) bool { return m.reg.Revoked(gone) }
		most = s.until(0.99, there, evicted)
		t.Logf("an eviction: 99 %% after %v, all after %v", most, most+s.until(1, there, evicted))
		time.Sleep(time.Minute)
		for _, m := range s.nodes[:n/10] {
			m.side.Store(0)
		}
		all = s.until(1, nil, same)
		t.Logf("a tenth that was away: the same after %v", all)
		if all > time.Minute {
			t.Errorf("who was away took %v", all)
		}
	})
}
