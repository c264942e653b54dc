// Package paths decides how other machines are reached: directly, after both have opened their NATs for one another, or through a
// third machine that passes ciphertext on. It is pure: what the device and others say comes in, what is to be done goes out, and the
// time is given to it.
//
// A change of path is a change of the endpoint of a WireGuard peer and nothing else. WireGuard itself answers to where authentic packets
// come from last, so that each side may try without the other's leave.
package paths

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/cell-network/cell/cellnet/identity"
)

const (
	// session is how long after a handshake WireGuard has one (REJECT_AFTER_TIME).
	session = 180 * time.Second
	// quiet is how long a machine that is wanted may say nothing before it is asked; a helper may for helperQuiet, which also keeps
	// NATs open: Linux forgets a UDP mapping after 30 s.
	quiet, helperQuiet = 5 * time.Second, 25 * time.Second
	// unanswered is after how many questions, pingEvery apart, a path counts as broken.
	unanswered = 3
	pingEvery  = 2 * time.Second
	// relayAfter is how many attempts are made for each candidate before a relay is asked for.
	relayAfter = 2
	// relayHold is how long a relay has to bring the first packet.
	relayHold = 6 * time.Second
	// upgradeFirst is when a relayed path is first tried directly, upgradeMost how far such tries come apart.
	upgradeFirst, upgradeMost = 10 * time.Second, 10 * time.Minute
	// upgradeTry is how long one takes; what is sent in that time may be lost.
	upgradeTry = time.Second
	// restFirst and restMost are how long a machine that is not reached is left alone.
	restFirst, restMost = 4 * time.Second, time.Minute
	// hintGood is how long another's word on an endpoint is followed.
	hintGood = 20 * time.Second
	// maxHelpers is how many machines keep a NAT open for this one.
	maxHelpers = 3
	// seenGood is how long an observation of this machine's own endpoint counts.
	seenGood = 10 * time.Minute
)

// How a machine is reached.
type How uint8

// The ways.
const (
	Not     How = iota // nobody wants it, or it is not known whether it is
	Trying             // not now
	Direct             // by an endpoint of its own
	Relayed            // through Via
)

// Peer is what the device says of another machine.
type Peer struct {
	Endpoint  netip.AddrPort // that it sends to; the zero one for none
	Handshake time.Time      // zero for none
	Received  int64          // bytes
	Sent      int64          // bytes
}

// Facts are what the registry says of another machine.
type Facts struct {
	Candidates func() []netip.AddrPort // where it may be reached, the most likely first
	Helpers    []identity.Key          // machines to which it keeps a path
}

// Action is something to be done for a machine. Fields that are zero ask for nothing.
type Action struct {
	For      identity.Key
	Endpoint netip.AddrPort // is the one to send to from now on
	Anew     bool           // no session: what WireGuard remembers of tries that failed is in the way
	Ping     bool           // send it a question, which makes WireGuard shake hands
	Knock    []identity.Key // machines that are to tell it to try this one
	Relay    identity.Key   // machine that is to pass packets on
}

// View is what a step decides from.
type View struct {
	Now   time.Time
	Peers map[identity.Key]Peer
	// Facts tells of a machine; false when it is no member.
	Facts func(identity.Key) (Facts, bool)
	// Open are members that say that no NAT is before them.
	Open []identity.Key
}

// Paths are those to all other machines. The zero value is none, and not safe for concurrent use.
type Paths struct {
	peers map[identity.Key]*path
	seen  map[identity.Key]sighting // of this machine, by others
}

type path struct {
	how    How
	until  time.Time // when nobody wants it any more
	helper bool

	heard          time.Time // when something came last
	received, sent int64
	stuck          time.Time // since when it is sent to and says nothing
	pinged         time.Time
	unanswered     int
	direct         netip.AddrPort // where it was reached last

	began, since time.Time // of the tries, and of the present one
	attempt      int
	rest         time.Time // until when none is made
	rests        time.Duration
	fruitless    int // relays that were asked

	hint     netip.AddrPort
	hinted   time.Time
	via      identity.Key
	relayed  netip.AddrPort // at the relay
	relays   []carriage     // that were offered, the newest last
	relayAt  time.Time
	upgrade  time.Time // when a relayed path is tried directly
	upgrades time.Duration
	tries    int
	trying   netip.AddrPort // directly, while it is relayed
	tried    time.Time
	before   int64            // received when that began
	places   []netip.AddrPort // candidates, when they were looked at last
}

// carriage is an endpoint at which a machine passes packets on.
type carriage struct {
	at  netip.AddrPort
	via identity.Key
}

// maxRelays is how many such endpoints are remembered for a machine.
const maxRelays = 8

// carriedBy tells whether an endpoint is at a relay.
func (x *path) carriedBy(e netip.AddrPort) (via identity.Key, ok bool) {
	for _, c := range x.relays {
		if c.at == e {
			return c.via, true
		}
	}
	return via, false
}

type sighting struct {
	at   netip.AddrPort
	when time.Time
}

func (p *Paths) path(k identity.Key) *path {
	if p.peers == nil {
		p.peers = map[identity.Key]*path{}
	}
	x := p.peers[k]
	if x == nil {
		x = &path{}
		p.peers[k] = x
	}
	return x
}

// Want keeps a path to a machine until then.
func (p *Paths) Want(k identity.Key, until time.Time) {
	if x := p.path(k); until.After(x.until) {
		x.until = until
	}
}

// How tells how a machine is reached, and through which other one.
func (p *Paths) How(k identity.Key) (How, identity.Key) {
	if x := p.peers[k]; x != nil {
		return x.how, x.via
	}
	return Not, identity.Key{}
}

// Via tells through which machine another one is reached, when the device sends to an endpoint at a relay.
func (p *Paths) Via(k identity.Key, at netip.AddrPort) (via identity.Key, ok bool) {
	if x := p.peers[k]; x != nil {
		return x.carriedBy(at)
	}
	return via, false
}

// Restless tells whether something is being tried, so that the next step is due soon.
func (p *Paths) Restless(now time.Time) bool {
	for _, x := range p.peers {
		if x.how == Trying && !now.Before(x.rest) || x.trying.IsValid() {
			return true
		}
	}
	return false
}

// Heard is when something came from a machine last.
func (p *Paths) Heard(k identity.Key) time.Time {
	if x := p.peers[k]; x != nil {
		return x.heard
	}
	return time.Time{}
}

// Hint takes another's word that a machine wants to be reached, and from where its packets come.
func (p *Paths) Hint(k identity.Key, at netip.AddrPort, now time.Time) {
	x := p.path(k)
	p.Want(k, now.Add(hintGood))
	if x.how == Direct && now.Sub(x.heard) < quiet && (at == x.direct || now.Sub(x.hinted) < hintGood/2) {
		return // it works, and who passes words on shall not be able to keep it from working
	}
	x.hint, x.hinted = at, now
	x.rest, x.rests = time.Time{}, 0
	switch x.how {
	case Direct, Trying:
		x.begin(now)
	case Relayed:
		x.upgrade = now
	}
}

// Carried tells that a relay passes on what comes to an endpoint of its.
func (p *Paths) Carried(k, via identity.Key, at netip.AddrPort, now time.Time) (do []Action) {
	x := p.path(k)
	p.Want(k, now.Add(hintGood))
	// Also when it is of no use here: the other side may send that way, and then it must not be taken for a place where that side is.
	x.relays = append(slices.DeleteFunc(x.relays, func(c carriage) bool { return c.at == at }), carriage{at, via})
	x.relays = x.relays[max(0, len(x.relays)-maxRelays):]
	if x.how >= Direct && now.Sub(x.heard) < 2*quiet {
		return nil
	}
	if x.how != Relayed {
		x.how, x.began = Trying, now
	}
	x.via, x.relayed, x.relayAt, x.since, x.rest = via, at, now, now, time.Time{}
	return []Action{{For: k, Endpoint: at, Anew: now.Sub(x.heard) >= session, Ping: true}}
}

// Changed tells that this machine's own addresses are others than before: what was learnt of paths may not hold.
func (p *Paths) Changed(now time.Time) {
	p.seen = nil
	for _, x := range p.peers {
		x.rest, x.rests, x.upgrades, x.tries, x.hinted = time.Time{}, 0, 0, 0, time.Time{}
		if x.how != Not {
			x.begin(now)
		}
	}
}

// Seen notes at which endpoint another machine sees this one.
func (p *Paths) Seen(by identity.Key, at netip.AddrPort, now time.Time) {
	if p.seen == nil {
		p.seen = map[identity.Key]sighting{}
	}
	p.seen[by] = sighting{at, now}
}

// Outside are the endpoints at which others see this machine that are none of its own. Such a one is of use to everybody only when all
// see the same; sym tells that they do not, as before a NAT that has another one for each.
func (p *Paths) Outside(own []netip.AddrPort, now time.Time) (at []netip.AddrPort, nat, sym bool) {
	ports := map[netip.Addr][]uint16{}
	for by, s := range p.seen {
		if now.Sub(s.when) > seenGood {
			delete(p.seen, by)
			continue
		}
		if slices.ContainsFunc(own, func(o netip.AddrPort) bool { return o.Addr() == s.at.Addr() }) {
			continue
		}
		nat = true
		if a := s.at.Addr(); !slices.Contains(ports[a], s.at.Port()) {
			ports[a] = append(ports[a], s.at.Port())
		}
	}
	for a, of := range ports {
		if len(of) == 1 {
			at = append(at, netip.AddrPortFrom(a, of[0]))
		} else {
			sym = true
		}
	}
	slices.SortFunc(at, netip.AddrPort.Compare)
	return at, nat, sym
}

// Helpers chooses the machines that keep this one reachable behind its NAT: they see it from outside, and have none before
// themselves. Those that were chosen stay as long as they are reached.
func (p *Paths) Helpers(own []netip.AddrPort, open []identity.Key) (all []identity.Key) {
	good := func(k identity.Key) bool {
		s, ok := p.seen[k]
		x := p.peers[k]
		return ok && x != nil && x.how == Direct && slices.Contains(open, k) &&
			!slices.ContainsFunc(own, func(o netip.AddrPort) bool { return o.Addr() == s.at.Addr() })
	}
	for k, x := range p.peers {
		if x.helper && good(k) {
			all = append(all, k)
		}
		x.helper = false
	}
	slices.SortFunc(all, identity.Key.Compare)
	all = all[:min(len(all), maxHelpers)]
	for _, k := range open {
		if len(all) < maxHelpers && good(k) && !slices.Contains(all, k) {
			all = append(all, k)
		}
	}
	for _, k := range all {
		p.peers[k].helper = true
	}
	return all
}

// Step looks at all paths and says what to do now.
func (p *Paths) Step(v View) (do []Action) {
	for k, d := range v.Peers {
		if x := p.peers[k]; x != nil || d.Sent > 0 {
			p.path(k).note(d, v.Now)
		}
	}
	// In order, so that the same things lead to the same ones.
	for _, k := range slices.SortedFunc(maps.Keys(p.peers), identity.Key.Compare) {
		x := p.peers[k]
		facts, member := v.Facts(k)
		d, known := v.Peers[k]
		if !member || !known {
			delete(p.peers, k)
			continue
		}
		if !x.wanted(v.Now) {
			x.how = Not
			continue
		}
		do = append(do, p.step(k, x, d, facts, v)...)
	}
	return do
}

// note takes what the device has counted.
func (x *path) note(d Peer, now time.Time) {
	if d.Received != x.received {
		x.heard, x.unanswered, x.stuck = now, 0, time.Time{}
	} else if d.Sent > x.sent && x.stuck.IsZero() {
		x.stuck = now
	}
	x.received, x.sent = d.Received, d.Sent
}

// wanted tells whether somebody wants the path, or has sent something that nothing came back for.
func (x *path) wanted(now time.Time) bool {
	return x.helper || now.Before(x.until) || !x.stuck.IsZero() && now.Sub(x.stuck) < time.Minute
}

func (p *Paths) step(k identity.Key, x *path, d Peer, f Facts, v View) []Action {
	now := v.Now
	switch x.how {
	case Not:
		if now.Sub(d.Handshake) < session {
			x.how, x.unanswered = Direct, 0
			if _, relay := x.carriedBy(d.Endpoint); relay {
				x.reach(d, now)
			}
			return p.step(k, x, d, f, v)
		}
		x.begin(now)
		return p.step(k, x, d, f, v)
	case Trying:
		if x.heard.After(x.began) && !x.heard.Before(x.since) {
			x.reach(d, now)
			return nil
		}
		return p.attempt(k, x, d, f, v)
	case Relayed:
		if _, relay := x.carriedBy(d.Endpoint); !relay && d.Endpoint.IsValid() && (x.trying != d.Endpoint || d.Received > x.before) {
			x.reach(d, now) // it comes directly
			return nil
		} else if relay && d.Endpoint != x.relayed {
			x.relayed = d.Endpoint // the other side has chosen another one
		}
		if x.trying.IsValid() {
			if now.Sub(x.tried) < upgradeTry {
				return nil
			}
			x.trying = netip.AddrPort{}
			return []Action{{For: k, Endpoint: x.relayed, Ping: true}}
		}
		all := x.candidates(f, now)
		if x.places != nil && !slices.Equal(all, x.places) { // it is somewhere else, or its NAT is another one
			x.upgrade, x.upgrades = now, 0
		}
		x.places = all
		if len(all) > 0 && !now.Before(x.upgrade) {
			x.upgrades = min(max(2*x.upgrades, upgradeFirst), upgradeMost)
			x.upgrade = now.Add(x.upgrades)
			x.trying, x.tried, x.before = all[x.tries%len(all)], now, d.Received
			x.tries++
			return []Action{{For: k, Endpoint: x.trying, Ping: true, Knock: x.knock(p.helpersFor(k, f, v), now)}}
		}
	case Direct:
		if _, relay := x.carriedBy(d.Endpoint); relay {
			x.reach(d, now)
			return nil
		}
		x.direct = d.Endpoint
	}
	silent := quiet
	if x.helper && !now.Before(x.until) {
		silent = helperQuiet
	}
	if now.Sub(x.heard) < silent || now.Sub(x.pinged) < pingEvery {
		return nil
	}
	if x.unanswered >= unanswered {
		x.begin(now)
		return p.attempt(k, x, d, f, v)
	}
	x.pinged = now
	x.unanswered++
	return []Action{{For: k, Ping: true}}
}

// begin starts to try.
func (x *path) begin(now time.Time) {
	x.how, x.began, x.since, x.attempt, x.fruitless, x.unanswered = Trying, now, time.Time{}, 0, 0, 0
	x.trying = netip.AddrPort{}
}

// reach notes that something came, from the device's endpoint.
func (x *path) reach(d Peer, now time.Time) {
	x.rests, x.unanswered, x.pinged, x.trying = 0, 0, now, netip.AddrPort{}
	if via, relay := x.carriedBy(d.Endpoint); relay {
		if x.how != Relayed {
			x.upgrades, x.upgrade = 0, now.Add(upgradeFirst)
		}
		x.how, x.via, x.relayed = Relayed, via, d.Endpoint
		return
	}
	x.how, x.direct, x.via, x.relayed = Direct, d.Endpoint, identity.Key{}, netip.AddrPort{}
}

// candidates are where a machine may be, the most likely place first.
func (x *path) candidates(f Facts, now time.Time) (all []netip.AddrPort) {
	add := func(e netip.AddrPort) {
		if e.IsValid() && !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	if now.Sub(x.hinted) < hintGood {
		add(x.hint)
	}
	add(x.direct)
	for _, e := range f.Candidates() {
		add(e)
	}
	return all
}

// knock leaves out the request when the other side has asked itself just now.
func (x *path) knock(helpers []identity.Key, now time.Time) []identity.Key {
	if now.Sub(x.hinted) < hintGood/2 {
		return nil
	}
	return helpers[:min(len(helpers), 2)]
}

// helpersFor are the machines that may pass something on to k: those that it keeps a path to, then such as this one reaches.
func (p *Paths) helpersFor(k identity.Key, f Facts, v View) (all []identity.Key) {
	add := func(h identity.Key) {
		if _, known := v.Peers[h]; known && h != k && !slices.Contains(all, h) {
			all = append(all, h)
		}
	}
	for _, h := range f.Helpers {
		add(h)
	}
	for _, h := range v.Open {
		if x := p.peers[h]; x != nil && x.how == Direct {
			add(h)
		}
	}
	return all
}

// attempt tries the next candidate, and asks others for help.
func (p *Paths) attempt(k identity.Key, x *path, d Peer, f Facts, v View) []Action {
	now := v.Now
	if now.Before(x.rest) || now.Sub(x.since) < time.Second {
		return nil
	}
	all, helpers := x.candidates(f, now), p.helpersFor(k, f, v)
	hold := time.Second << min(x.attempt/max(len(all), 1), 2)
	if x.relayed.IsValid() && now.Sub(x.relayAt) < relayHold {
		hold = relayHold
	}
	if now.Sub(x.since) < hold {
		return nil
	}
	x.since = now
	a := Action{For: k, Anew: now.Sub(d.Handshake) >= session}
	if len(all) > 0 {
		a.Endpoint, a.Ping = all[x.attempt%len(all)], true
	}
	if x.attempt%max(len(all), 1) == 0 {
		a.Knock = x.knock(helpers, now)
	}
	x.attempt++
	if x.attempt > relayAfter*max(len(all), 1) && len(helpers) > 0 {
		a.Relay = helpers[x.fruitless%len(helpers)]
		x.fruitless++
	}
	if x.attempt > 2*relayAfter*max(len(all), 1) && x.fruitless >= min(len(helpers), 4) {
		x.rests = min(max(2*x.rests, restFirst), restMost)
		x.rest = now.Add(x.rests)
		x.began, x.attempt, x.fruitless = now, 0, 0
	}
	if !a.Ping && a.Knock == nil && a.Relay == (identity.Key{}) {
		return nil
	}
	for _, h := range append(slices.Clone(a.Knock), a.Relay) {
		if h != (identity.Key{}) {
			p.Want(h, now.Add(hintGood))
		}
	}
	return []Action{a}
}
