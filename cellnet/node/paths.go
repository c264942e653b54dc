package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/cell-network/cell/cellnet/exchange"
	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/lan"
	"github.com/cell-network/cell/cellnet/link"
	"github.com/cell-network/cell/cellnet/paths"
	"github.com/cell-network/cell/cellnet/registry"
	"github.com/cell-network/cell/cellnet/relay"
	"github.com/cell-network/cell/cellnet/wg"
)

const (
	// restless is how often paths are looked at while something is tried, calm how often otherwise.
	restless, calm = 200 * time.Millisecond, 2 * time.Second
	// measured is how often a path that is used is measured, and what it looks like from the other side is asked.
	measured = 30 * time.Second
	// keepalive is how often WireGuard itself writes to helpers, so that they reach this machine while no daemon runs.
	keepalive = 25 * time.Second
)

func listenPaths(ctx context.Context, at netip.AddrPort) (*net.UDPConn, error) {
	c := net.ListenConfig{Control: freely}
	l, err := c.ListenPacket(ctx, "udp6", at.String())
	if err != nil {
		return nil, fmt.Errorf("listen on %v: %w", at, err)
	}
	return l.(*net.UDPConn), nil
}

// want keeps a path to a machine for a while; n.mu is held.
func (n *Node) want(k identity.Key, d time.Duration) {
	n.paths.Want(k, time.Now().Add(d))
	if how, _ := n.paths.How(k); how < paths.Direct {
		n.kick()
	}
}

func (n *Node) kick() {
	select {
	case n.kicked <- struct{}{}:
	default:
	}
}

// reached waits until a machine that is wanted is reached.
func (n *Node) reached(ctx context.Context, k identity.Key, within time.Duration) bool {
	limit := time.NewTimer(within)
	defer limit.Stop()
	for {
		n.mu.Lock()
		how, _ := n.paths.How(k)
		stepped := n.stepped
		n.mu.Unlock()
		if how >= paths.Direct {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-limit.C:
			return false
		case <-stepped:
		}
	}
}

// keepPaths looks at all paths again and again.
func (n *Node) keepPaths(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	news := make(chan struct{}, 1)
	if err := link.Watch(ctx, news); err != nil {
		n.Log.Warn(err.Error())
	}
	stopLAN := n.findLAN(ctx)
	defer func() { stopLAN() }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-n.kicked:
		case <-news:
		}
		next, moved, err := n.stepPaths(ctx)
		if err != nil {
			n.Log.Warn("look at paths", "error", err)
		}
		if moved {
			stopLAN()
			stopLAN = n.findLAN(ctx)
		}
		t.Reset(next)
	}
}

// findLAN looks for machines on the networks that this one is in now, until stop is called.
func (n *Node) findLAN(ctx context.Context) (stop context.CancelFunc) {
	ctx, stop = context.WithCancel(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lan = map[identity.Key]netip.AddrPort{}
	name, key, port := n.state.Name, n.self(), n.state.Port
	go func() {
		err := lan.Find(ctx, name, key, port, Interface, func(k identity.Key, at netip.AddrPort) {
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.reg == nil || ctx.Err() != nil {
				return
			}
			if _, ok := n.reg.Member(k); ok && n.lan[k] != at {
				n.lan[k] = at
				n.want(k, 5*exchange.Round)
			}
		})
		if err != nil && ctx.Err() == nil {
			n.Log.Info("machines on this network are not looked for", "error", err)
		}
	}()
	return stop
}

// moved notes this machine's own addresses, and does what follows when they are others than before; n.mu is held.
func (n *Node) moved(own []netip.AddrPort) bool {
	before := n.own
	n.own = own
	if before == nil || slices.Equal(own, before) {
		return false
	}
	n.Log.Info("this machine's addresses have changed")
	n.paths.Changed(time.Now())
	if err := n.restate(); err != nil {
		n.Log.Warn("state where this machine is", "error", err)
	}
	return true
}

// addresses are the endpoints that this machine has itself.
func (n *Node) addresses() (all []netip.AddrPort, err error) {
	addrs, err := link.Addresses(n.reg.Tissue().Prefix())
	all = []netip.AddrPort{}
	for _, a := range addrs {
		all = append(all, netip.AddrPortFrom(a, n.state.Port))
	}
	return all, err
}

// stepPaths does what is due. It tells when it is to be called again, and whether this machine's addresses have changed.
func (n *Node) stepPaths(ctx context.Context) (next time.Duration, moved bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer func() {
		close(n.stepped)
		n.stepped = make(chan struct{})
	}()
	if n.reg == nil || n.dev == nil || ctx.Err() != nil {
		return calm, moved, nil
	}
	has, err := n.devicePeers()
	if err != nil {
		return calm, moved, err
	}
	own, err := n.addresses()
	if err != nil {
		return calm, moved, err
	}
	moved = n.moved(own)
	v := paths.View{Now: time.Now(), Peers: map[identity.Key]paths.Peer{}}
	members := map[identity.Key]registry.Member{}
	for _, m := range n.reg.Members() {
		if m.Stated {
			n.lookTurned(m, has)
		}
		s, known := has[n.keyOf(m)]
		if m.Key == n.self() || !m.Stated || !known {
			continue
		}
		members[m.Key], n.seen[m.Key] = m, s.Endpoint
		v.Peers[m.Key] = paths.Peer{Endpoint: s.Endpoint, Handshake: s.Handshake, Received: s.Received, Sent: s.Sent}
		if !m.Node.NAT {
			v.Open = append(v.Open, m.Key)
		}
	}
	// Nearer ones are asked first.
	slices.SortFunc(v.Open, func(a, b identity.Key) int {
		return cmp.Or(cmp.Compare(n.distance(a), n.distance(b)), a.Compare(b))
	})
	v.Facts = func(k identity.Key) (paths.Facts, bool) {
		m, ok := members[k]
		return paths.Facts{Candidates: func() []netip.AddrPort { return n.candidates(m) }, Helpers: m.Node.Helpers}, ok
	}
	changed := n.lookOutside(v)
	for _, a := range n.paths.Step(v) {
		if err := n.act(a, members[a.For], has); err != nil {
			n.Log.Warn("reach a node", "node", members[a.For].Name, "error", err)
		}
	}
	for k, m := range members {
		how, _ := n.paths.How(k)
		if e := has[n.keyOf(m)].Endpoint; how == paths.Direct && e.IsValid() && n.state.Endpoints[k.String()] != e {
			n.remember(k, e)
			changed = true
		}
		p := n.peer(k)
		if how >= paths.Direct && (!p.reached || v.Now.Sub(p.asked) > measured || p.rtt == 0 && v.Now.Sub(p.asked) > calm) {
			n.ping(m)
		}
		if other := n.otherKeyOf(m); how >= paths.Direct && !p.reached && has[other].Endpoint.IsValid() {
			// It was tried with that key, too, and would be for longer.
			if err := errors.Join(n.dev.Remove(other), n.dev.Set(wg.Peer{Key: other})); err != nil {
				n.Log.Warn("leave a key of a node alone", "node", m.Name, "error", err)
			}
		}
		p.reached = how >= paths.Direct
		n.greet(k, m)
		if at := n.paths.Heard(k); !at.IsZero() {
			n.peer(k).seen = at
		}
	}
	if changed {
		if err := n.save(); err != nil {
			return calm, moved, err
		}
	}
	if n.paths.Restless(v.Now) || v.Now.Before(n.turning) {
		return restless, moved, nil
	}
	return calm, moved, nil
}

func (n *Node) distance(k identity.Key) time.Duration {
	if p := n.peers[k]; p != nil && p.rtt > 0 {
		return p.rtt
	}
	return time.Hour
}

// lookOutside sees how this machine looks from outside and who helps it, and states it when that is another way than before.
func (n *Node) lookOutside(v paths.View) (changed bool) {
	outside, nat, sym := n.paths.Outside(n.own, v.Now)
	helpers := n.paths.Helpers(n.own, v.Open)
	if slices.Equal(outside, n.outside) && nat == n.nat && slices.Equal(helpers, n.helpers) {
		return false
	}
	before := n.helpers
	n.outside, n.nat, n.sym, n.helpers = outside, nat, sym, helpers
	for _, k := range append(before, helpers...) { // their keepalive
		if m, ok := n.reg.Member(k); ok && n.keyOf(m) != (wg.Key{}) {
			if err := n.dev.Set(wg.Peer{Key: n.keyOf(m), Allowed: m.Prefix, Keepalive: n.keepalive(k)}); err != nil {
				n.Log.Warn("set a keepalive", "node", m.Name, "error", err)
			}
		}
	}
	if err := n.restate(); err != nil {
		n.Log.Warn("state where this machine is", "error", err)
	}
	return true
}

func (n *Node) keepalive(k identity.Key) time.Duration {
	if slices.Contains(n.helpers, k) {
		return keepalive
	}
	return 0
}

// candidates are where a machine may be, the most likely place first.
func (n *Node) candidates(m registry.Member) (all []netip.AddrPort) {
	if at, ok := n.lan[m.Key]; ok {
		all = append(all, at)
	}
	if last, ok := n.state.Endpoints[m.Key.String()]; ok && !slices.Contains(all, last) {
		all = append(all, last)
	}
	rest := slices.Clone(m.Node.Endpoints)
	slices.SortStableFunc(rest, func(a, b netip.AddrPort) int { return cmp.Compare(unlikely(a.Addr()), unlikely(b.Addr())) })
	for _, e := range rest {
		if routed(e) && !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	return all
}

// unlikely orders addresses: those of a network that this machine is in are nearest, private ones of another network least of use.
func unlikely(a netip.Addr) int {
	switch {
	case onLink(a):
		return 0
	case a.IsPrivate():
		return 2
	}
	return 1
}

// routed tells whether this machine has a route to an endpoint; nothing is sent.
func routed(e netip.AddrPort) bool {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(e))
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// act does what package paths wants done for a machine.
func (n *Node) act(a paths.Action, m registry.Member, has map[wg.Key]wg.State) error {
	key := n.keyOf(m)
	if key == (wg.Key{}) {
		return nil
	}
	if a.Endpoint.IsValid() {
		if a.Anew {
			if err := n.dev.Remove(key); err != nil {
				return err
			}
		}
		if err := n.dev.Set(wg.Peer{Key: key, Allowed: m.Prefix, Endpoint: a.Endpoint, Keepalive: n.keepalive(a.For)}); err != nil {
			return err
		}
	}
	if how, _ := n.paths.How(a.For); how == paths.Trying && a.Endpoint.IsValid() && n.otherKeyOf(m) != (wg.Key{}) {
		other := n.otherKeyOf(m)
		// It may have turned while it was away. A keepalive makes WireGuard shake hands with a peer that has no addresses.
		if err := n.dev.Remove(other); err != nil {
			return err
		}
		if err := n.dev.Set(wg.Peer{Key: other, Endpoint: a.Endpoint, Keepalive: keepalive}); err != nil {
			return err
		}
	}
	if a.Ping && (a.Endpoint.IsValid() || has[key].Endpoint.IsValid()) {
		n.ping(m)
	}
	for _, h := range a.Knock {
		n.say(h, paths.Message{Kind: paths.Knock, Key: a.For})
	}
	if a.Relay != (identity.Key{}) {
		n.say(a.Relay, paths.Message{Kind: paths.Relay, Key: a.For})
	}
	return nil
}

// ping asks a machine, which answers where it sees this one.
func (n *Node) ping(m registry.Member) {
	p := n.peer(m.Key)
	p.nonce, p.asked = rand.Uint64(), time.Now()
	n.say(m.Key, paths.Message{Kind: paths.Ping, Nonce: p.nonce, Mark: n.reg.Mark()})
}

// say sends a message to a machine. As any datagram it may be lost: whoever needs an answer asks again.
func (n *Node) say(k identity.Key, msg paths.Message) {
	if n.control == nil || n.reg == nil {
		return
	}
	to := netip.AddrPortFrom(identity.Address(n.reg.Tissue().Node(k), identity.NodeItself), portPaths)
	_, _ = n.control.WriteToUDPAddrPort(msg.Append(nil), to)
}

// hear takes messages of other machines.
func (n *Node) hear(ctx context.Context, c *net.UDPConn) {
	b := make([]byte, paths.MaxMessage+1)
	limits := map[netip.Addr]*budget{}
	for ctx.Err() == nil {
		size, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			time.Sleep(time.Millisecond)
			continue
		}
		msg, err := paths.Parse(b[:size])
		if err != nil || from.Port() != portPaths || identity.Number(from.Addr()) != identity.NodeItself || !spend(limits, from.Addr()) {
			continue
		}
		n.mu.Lock()
		if n.reg != nil && n.dev != nil {
			if m, ok := n.reg.At(identity.Of(from.Addr())); ok && m.Key != n.self() && n.reg.Current(m) {
				n.heard(m, msg)
			}
		}
		n.mu.Unlock()
	}
}

// budget bounds the messages of one machine.
type budget struct {
	left   float64
	filled time.Time
}

// perSecond is how many messages a second are taken from a machine, and burstOf how many at once.
const perSecond, burstOf = 20, 60

func spend(all map[netip.Addr]*budget, a netip.Addr) bool {
	now := time.Now()
	b := all[a]
	if b == nil {
		if len(all) > 1<<16 {
			clear(all)
		}
		b = &budget{burstOf, now}
		all[a] = b
	}
	b.left = min(burstOf, b.left+now.Sub(b.filled).Seconds()*perSecond)
	b.filled = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// heard does what a message of a machine asks for; n.mu is held.
func (n *Node) heard(m registry.Member, msg paths.Message) {
	now := time.Now()
	if msg.Kind == paths.Pong {
		p := n.peer(m.Key)
		if msg.Nonce == p.nonce && p.nonce != 0 {
			p.nonce = 0
			if rtt := now.Sub(p.asked); p.rtt == 0 || rtt < p.rtt {
				p.rtt = rtt
			} else {
				p.rtt += (rtt - p.rtt) / 4
			}
			if msg.At.IsValid() {
				n.paths.Seen(m.Key, msg.At, now)
			}
			if msg.Mark != n.reg.Mark() {
				n.compare(m)
			}
		}
		return
	}
	if msg.Kind == paths.Turn {
		n.turning = now.Add(turnWithin)
		n.kick()
		return
	}
	if msg.Kind == paths.Try {
		if other, ok := n.reg.Member(msg.Key); ok && other.Key != n.self() && other.Stated {
			n.paths.Hint(msg.Key, msg.At, now)
			n.kick()
		}
		return
	}
	if msg.Kind == paths.Ping {
		n.say(m.Key, paths.Message{Kind: paths.Pong, Nonce: msg.Nonce, At: n.seen[m.Key], Mark: n.reg.Mark()})
		return
	}
	has, err := n.devicePeers()
	if err != nil {
		return
	}
	seen := has[n.keyOf(m)].Endpoint
	switch msg.Kind {
	case paths.Knock:
		if other, ok := n.reg.Member(msg.Key); ok && seen.IsValid() && has[n.keyOf(other)].Alive(now) {
			n.say(msg.Key, paths.Message{Kind: paths.Try, Key: m.Key, At: seen})
		}
	case paths.Relay:
		other, ok := n.reg.Member(msg.Key)
		theirs := has[n.keyOf(other)]
		if !ok || !other.Stated || !seen.IsValid() || !theirs.Alive(now) || !theirs.Endpoint.IsValid() {
			return
		}
		one, two, err := n.relay.Open(relay.Side{Key: m.Key, From: seen.Addr()}, relay.Side{Key: other.Key, From: theirs.Endpoint.Addr()})
		if err != nil {
			n.Log.Warn("pass packets on", "between", m.Name, "and", other.Name, "error", err)
			return
		}
		n.say(other.Key, paths.Message{Kind: paths.Carry, Key: m.Key, Port: two})
		n.say(m.Key, paths.Message{Kind: paths.Carry, Key: other.Key, Port: one})
	case paths.Carry:
		other, ok := n.reg.Member(msg.Key)
		if !ok || other.Key == n.self() || !other.Stated || !seen.IsValid() || msg.Port < relay.FirstPort || msg.Port > relay.LastPort {
			return
		}
		for _, a := range n.paths.Carried(other.Key, m.Key, netip.AddrPortFrom(seen.Addr(), msg.Port), now) {
			if err := n.act(a, other, has); err != nil {
				n.Log.Warn("reach a node", "node", other.Name, "via", m.Name, "error", err)
			}
		}
		n.kick()
	}
}

// how says how a machine with a session is reached, in the words of api.Node; n.mu is held.
func (n *Node) how(m registry.Member, s wg.State) (path, endpoint, via string) {
	if k, ok := n.paths.Via(m.Key, s.Endpoint); ok {
		relay, _ := n.reg.Member(k)
		return "relay", s.Endpoint.String(), relay.Name
	}
	if !s.Endpoint.IsValid() {
		return "none", "", ""
	}
	if onLink(s.Endpoint.Addr()) {
		return "lan", s.Endpoint.String(), ""
	}
	return "direct", s.Endpoint.String(), ""
}
