package paths

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cell-network/cell/cellnet/identity"
)

// kind is one of a NAT.
type kind int

const (
	none              kind = iota
	fullCone               // whoever writes to the mapping comes through
	addressRestricted      // whose address was written to
	portRestricted         // whose address and port were written to
	symmetric              // as before, and another mapping for each of them
)

func (k kind) String() string {
	return [...]string{"open", "full cone", "address-restricted", "port-restricted", "symmetric"}[k]
}

const port = 23550

// world is an internet with machines, each behind a NAT of its own, on a clock of its own.
type world struct {
	t     *testing.T
	now   time.Time
	nodes map[identity.Key]*machine
	boxes map[netip.Addr]*box
	queue []packet
	lost  func(from, to netip.AddrPort) bool
}

// box is a NAT, or the address of a machine without one.
type box struct {
	kind kind
	in   *machine
	next uint16
	maps map[string]uint16                    // of source and, where symmetric, destination
	to   map[uint16]uint16                    // port outside to port inside
	open map[uint16]map[netip.AddrPort]string // whom a mapping wrote to
}

type packet struct {
	from identity.Key // who has sealed it
	for_ identity.Key
	src  netip.AddrPort // as who receives it sees it
	dst  netip.AddrPort
	what string // "init", "resp" or "data"
	msg  func(at *machine, from identity.Key)
}

type machine struct {
	w       *world
	key     identity.Key
	box     *box
	address netip.Addr // outside
	inside  netip.AddrPort
	paths   Paths
	peers   map[identity.Key]*sealed
	relays  map[uint16]*half
	open    bool
	moves   int
}

// sealed is a peer of WireGuard.
type sealed struct {
	Peer
	asked  time.Time
	waits  []packet
	paired time.Time
}

// half is one side of a relay.
type half struct {
	other   uint16
	peer    netip.AddrPort
	waiting *packet
}

func newWorld(t *testing.T) *world {
	return &world{t: t, now: time.Unix(1e9, 0), nodes: map[identity.Key]*machine{}, boxes: map[netip.Addr]*box{}}
}

func (w *world) machine(n byte, k kind) *machine {
	m := &machine{
		w: w, key: identity.Key{n}, address: netip.AddrFrom4([4]byte{198, 18, 0, n}), peers: map[identity.Key]*sealed{}, relays: map[uint16]*half{}, open: k == none,
	}
	m.inside = netip.AddrPortFrom(m.address, port)
	if k != none {
		m.inside = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, n, 0, 2}), port)
	}
	m.plug(k)
	for _, o := range w.nodes {
		o.peers[m.key], m.peers[o.key] = &sealed{}, &sealed{}
	}
	w.nodes[m.key] = m
	return m
}

func (m *machine) plug(k kind) {
	m.box = &box{kind: k, in: m, next: 40000, maps: map[string]uint16{}, to: map[uint16]uint16{}, open: map[uint16]map[netip.AddrPort]string{}}
	m.w.boxes[m.address] = m.box
}

// send puts a packet on the wire from a port of a machine.
func (m *machine) send(from uint16, p packet) {
	out := from
	if b := m.box; b.kind != none {
		key := fmt.Sprint(from)
		if b.kind == symmetric {
			key += p.dst.String()
		}
		if b.maps[key] == 0 {
			b.next++
			b.maps[key] = b.next
			b.to[b.next] = from
			b.open[b.next] = map[netip.AddrPort]string{}
		}
		out = b.maps[key]
		b.open[out][p.dst] = ""
	}
	p.src = netip.AddrPortFrom(m.address, out)
	m.w.queue = append(m.w.queue, p)
}

// deliver brings the packets on the wire to where they go.
func (w *world) deliver() {
	all := w.queue
	w.queue = nil
	for _, p := range all {
		b := w.boxes[p.dst.Addr()]
		if b == nil || w.lost != nil && w.lost(p.src, p.dst) {
			continue
		}
		in := p.dst.Port()
		if b.kind != none {
			to, ok := b.to[in]
			allowed := false
			for o := range b.open[in] {
				allowed = allowed || o == p.src || b.kind == addressRestricted && o.Addr() == p.src.Addr() || b.kind == fullCone
			}
			if !ok || !allowed {
				continue
			}
			in = to
		}
		b.in.receive(in, p)
	}
}

func (m *machine) receive(in uint16, p packet) {
	if h := m.relays[in]; h != nil {
		o := m.relays[h.other]
		h.peer = p.src
		if h.waiting != nil {
			h.waiting.dst = h.peer
			m.send(in, *h.waiting)
			h.waiting = nil
		}
		if p.dst = o.peer; p.dst.IsValid() {
			m.send(h.other, p)
		} else {
			o.waiting = &p
		}
		return
	}
	s := m.peers[p.from]
	if in != port || p.for_ != m.key || s == nil {
		return
	}
	s.Endpoint, s.Received = p.src, s.Received+100
	switch p.what {
	case "init":
		s.paired = m.w.now
		m.write(p.from, packet{what: "resp"})
	case "resp":
		s.Handshake = m.w.now
		for _, q := range s.waits {
			m.write(p.from, q)
		}
		s.waits = nil
	case "data":
		if s.paired.After(s.Handshake) {
			s.Handshake = s.paired
		}
		if p.msg != nil {
			p.msg(m, p.from)
		}
	}
}

// write seals a packet and sends it to where the peer is.
func (m *machine) write(to identity.Key, p packet) {
	s := m.peers[to]
	if !s.Endpoint.IsValid() {
		return
	}
	p.from, p.for_, p.dst = m.key, to, s.Endpoint
	s.Sent += 100
	m.send(port, p)
}

// say sends a message within the tunnel.
func (m *machine) say(to identity.Key, msg func(at *machine, from identity.Key)) {
	s := m.peers[to]
	q := packet{what: "data", msg: msg}
	if m.w.now.Sub(s.Handshake) < session {
		m.write(to, q)
		return
	}
	s.waits = append(s.waits, q)
	if m.w.now.Sub(s.asked) >= 5*time.Second {
		s.asked = m.w.now
		m.write(to, packet{what: "init"})
	}
}

func ping(at *machine, from identity.Key) {
	e := at.peers[from].Endpoint
	at.say(from, func(at *machine, from identity.Key) { at.paths.Seen(from, e, at.w.now) })
}

func (m *machine) act(a Action) {
	s := m.peers[a.For]
	if a.Endpoint.IsValid() {
		if a.Anew {
			s.asked = time.Time{}
		}
		if s.Endpoint != a.Endpoint {
			m.moves++
		}
		s.Endpoint = a.Endpoint
	}
	for _, h := range a.Knock {
		m.say(h, func(at *machine, from identity.Key) {
			if e := at.peers[from].Endpoint; at.w.now.Sub(at.peers[a.For].Handshake) < session {
				at.say(a.For, func(at *machine, _ identity.Key) { at.paths.Hint(from, e, at.w.now) })
			}
		})
	}
	if a.Relay != (identity.Key{}) {
		m.say(a.Relay, func(at *machine, from identity.Key) {
			if at.w.now.Sub(at.peers[a.For].Handshake) >= session {
				return
			}
			at.box.next += 2
			one, two := at.box.next, at.box.next+10000
			at.relays[one], at.relays[two] = &half{other: two}, &half{other: one}
			tell := func(to, about identity.Key, p uint16) {
				at.say(to, func(m *machine, relay identity.Key) {
					for _, a := range m.paths.Carried(about, relay, netip.AddrPortFrom(m.peers[relay].Endpoint.Addr(), p), m.w.now) {
						m.act(a)
					}
				})
			}
			tell(from, a.For, one)
			tell(a.For, from, two)
		})
	}
	if a.Ping {
		m.say(a.For, ping)
	}
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(50 * time.Millisecond)
		w.deliver()
		for _, n := range slices.SortedFunc(func(yield func(*machine) bool) {
			for _, n := range w.nodes {
				if !yield(n) {
					return
				}
			}
		}, func(a, b *machine) int { return a.key.Compare(b.key) }) {
			n.step()
		}
	}
}

func (m *machine) step() {
	w := m.w
	v := View{Now: w.now, Peers: map[identity.Key]Peer{}}
	for k, s := range m.peers {
		v.Peers[k] = s.Peer
		if w.nodes[k].open {
			v.Open = append(v.Open, k)
		}
	}
	slices.SortFunc(v.Open, identity.Key.Compare)
	own := []netip.AddrPort{m.inside}
	v.Facts = func(k identity.Key) (f Facts, ok bool) {
		o := w.nodes[k]
		f.Candidates = func() []netip.AddrPort {
			outside, _, _ := o.paths.Outside([]netip.AddrPort{o.inside}, w.now)
			return append(outside, o.inside)
		}
		for h, x := range o.paths.peers {
			if x.helper {
				f.Helpers = append(f.Helpers, h)
			}
		}
		slices.SortFunc(f.Helpers, identity.Key.Compare)
		return f, true
	}
	m.paths.Helpers(own, v.Open)
	for _, a := range m.paths.Step(v) {
		m.act(a)
	}
}

// pair is two machines and a third one, to which both keep a path.
func pair(t *testing.T, a, b kind) (w *world, x, y, m *machine) {
	w = newWorld(t)
	m, x, y = w.machine(3, none), w.machine(1, a), w.machine(2, b)
	for _, n := range []*machine{x, y} {
		n.paths.Want(m.key, w.now.Add(10*time.Second))
	}
	w.run(20 * time.Second)
	return w, x, y, m
}

// Which pairs reach each other directly, and which through a relay.
func TestPairs(t *testing.T) {
	for a := none; a <= symmetric; a++ {
		for b := none; b <= symmetric; b++ {
			w, x, y, m := pair(t, a, b)
			begun := w.now
			for w.now.Sub(begun) < time.Minute && w.how(x, y) < Direct {
				x.paths.Want(y.key, w.now.Add(time.Second))
				w.run(100 * time.Millisecond)
			}
			took := w.now.Sub(begun)
			for range 30 { // goes on, and takes what is better
				x.paths.Want(y.key, w.now.Add(time.Minute))
				w.run(time.Second)
			}
			want := Direct
			if a == symmetric && b >= portRestricted || b == symmetric && a >= portRestricted {
				want = Relayed
			}
			how, via := x.paths.How(y.key)
			if how != want || want == Relayed && via != m.key {
				t.Errorf("%v to %v: %v through %x after %v, want %v", a, b, how, via[:1], took, want)
			}
			if limit := map[How]time.Duration{Direct: 4 * time.Second, Relayed: 15 * time.Second}[want]; took > limit {
				t.Errorf("%v to %v took %v", a, b, took)
			}
		}
	}
}

func (w *world) how(x, y *machine) How { h, _ := x.paths.How(y.key); return h }

// want keeps wanting, as somebody does who calls.
func (w *world) want(x, y *machine, d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		x.paths.Want(y.key, w.now.Add(time.Minute))
		w.run(time.Second)
	}
}

// A path that breaks is found again, through a relay when nothing else works, and becomes a direct one when it can.
func TestBreaks(t *testing.T) {
	w, x, y, m := pair(t, portRestricted, portRestricted)
	w.want(x, y, 10*time.Second)
	if w.how(x, y) != Direct {
		t.Fatal("no direct path")
	}
	blocked := true
	w.lost = func(from, to netip.AddrPort) bool {
		return blocked && (from.Addr() == x.address && to.Addr() == y.address || from.Addr() == y.address && to.Addr() == x.address)
	}
	w.want(x, y, 40*time.Second)
	if how, via := x.paths.How(y.key); how != Relayed || via != m.key {
		t.Fatalf("nothing goes directly, and the path is %v", how)
	}
	blocked = false
	w.want(x, y, 60*time.Second)
	if w.how(x, y) != Direct {
		t.Error("the path stays with the relay")
	}
	if moves := x.moves; true {
		w.want(x, y, 5*time.Minute)
		if x.moves != moves {
			t.Errorf("a path that works was changed %d times", x.moves-moves)
		}
	}
}

// A machine moves to another network, behind another NAT.
func TestRoams(t *testing.T) {
	for _, to := range []kind{none, portRestricted, symmetric} {
		w, x, y, _ := pair(t, none, portRestricted)
		w.want(x, y, 10*time.Second)
		delete(w.boxes, x.address)
		x.address = netip.AddrFrom4([4]byte{198, 19, 0, 1})
		x.inside, x.open = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 77, 0, 2}), port), to == none
		if to == none {
			x.inside = netip.AddrPortFrom(x.address, port)
		}
		x.plug(to)
		x.paths.Changed(w.now)
		w.want(x, y, 3*time.Second)
		if heard := x.paths.Heard(y.key); to != symmetric && w.now.Sub(heard) > 3*time.Second {
			t.Errorf("to a network that is %v: nothing is heard for %v", to, w.now.Sub(heard))
		}
		w.want(x, y, 40*time.Second)
		if how := w.how(x, y); how == Trying || w.now.Sub(x.paths.Heard(y.key)) > 10*time.Second {
			t.Errorf("to a network that is %v: %v", to, how)
		}
	}
}

// A machine that nobody wants costs nothing, one that is away little, and the helpers of a machine behind a NAT keep hearing of it.
func TestQuiet(t *testing.T) {
	w, x, y, m := pair(t, portRestricted, addressRestricted)
	w.want(x, y, 5*time.Second)
	w.run(2 * time.Minute)
	sent, helped := x.peers[y.key].Sent, m.peers[x.key].Received
	w.run(5 * time.Minute)
	if now := x.peers[y.key].Sent; now != sent {
		t.Errorf("%d bytes to one that nobody wants", now-sent)
	}
	if got := m.peers[x.key].Received - helped; got < 10*100 || got > 50*100 {
		t.Errorf("%d bytes to the helper in five minutes", got)
	}
	if how, _ := x.paths.How(y.key); how != Not {
		t.Errorf("how: %v", how)
	}
	delete(w.boxes, y.address)
	w.want(x, y, 2*time.Minute)
	sent = x.peers[y.key].Sent
	w.want(x, y, 10*time.Minute)
	if n := (x.peers[y.key].Sent - sent) / 100; n < 5 || n > 200 {
		t.Errorf("%d packets in ten minutes to one that is away", n)
	}
}

// A machine knows how it looks from outside.
func TestOutside(t *testing.T) {
	var p Paths
	now := time.Unix(1e9, 0)
	e := netip.MustParseAddrPort
	own := []netip.AddrPort{e("10.0.0.2:1")}
	p.Seen(identity.Key{1}, e("10.0.0.2:1"), now)
	if at, nat, _ := p.Outside(own, now); len(at) != 0 || nat {
		t.Error("within its own network:", at, nat)
	}
	p.Seen(identity.Key{2}, e("203.0.113.1:7"), now)
	p.Seen(identity.Key{3}, e("203.0.113.1:7"), now)
	if at, nat, sym := p.Outside(own, now); fmt.Sprint(at) != "[203.0.113.1:7]" || !nat || sym {
		t.Error("from outside:", at, nat, sym)
	}
	p.Seen(identity.Key{3}, e("203.0.113.1:8"), now)
	if at, nat, sym := p.Outside(own, now); len(at) != 0 || !nat || !sym {
		t.Error("each sees another:", at, nat, sym)
	}
	if at, nat, _ := p.Outside(own, now.Add(time.Hour)); len(at) != 0 || nat {
		t.Error("long ago:", at, nat)
	}
}

// Who is reached directly, and begins to send through a relay, is not taken to be at the relay.
func TestOneSidedRelay(t *testing.T) {
	w, x, y, m := pair(t, portRestricted, portRestricted)
	w.want(x, y, 10*time.Second)
	relay := netip.AddrPortFrom(m.address, 50000)
	if do := x.paths.Carried(y.key, m.key, relay, w.now); w.how(x, y) != Direct || do != nil {
		t.Errorf("a path that works is given up: %v", do)
	}
	x.peers[y.key].Endpoint = relay
	x.peers[y.key].Received += 100
	x.step()
	if how, via := x.paths.How(y.key); how != Relayed || via != m.key {
		t.Errorf("it comes through the relay, and the path is %v through %x", how, via[:1])
	}
}
