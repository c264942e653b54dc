package node

import (
	"fmt"
	"time"

	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/paths"
	"github.com/cell-network/cell/cellnet/registry"
	"github.com/cell-network/cell/cellnet/wg"
	"github.com/cell-network/cell/internal/durable"
	"github.com/cell-network/cell/sdk/api"
)

// A machine turns to another key of WireGuard from time to time, and states beforehand which one: the others have that as a peer that may
// shake hands and nothing else, and move the machine's addresses to it as soon as it does. Who was away meanwhile knows it, too.

const (
	// keyLife is how long a key is used.
	keyLife = 30 * 24 * time.Hour
	// turnWithin is how long others look closely after a machine has said that it turns; turnNotice how long it waits until they do.
	turnWithin, turnNotice = 10 * time.Second, 300 * time.Millisecond
)

// devicePeers are the peers as the device has them; what it shook hands on before this machine turned to its key is void.
func (n *Node) devicePeers() (map[wg.Key]wg.State, error) {
	has, err := n.dev.Peers()
	for k, s := range has {
		if s.Handshake.Before(n.state.Keyed) {
			s.Handshake = time.Time{}
			has[k] = s
		}
	}
	return has, err
}

// keyOf is the key of WireGuard that a machine uses, and otherKeyOf the one that it does not; zero where that is another machine's, for
// which there is no peer. n.mu is held.
func (n *Node) keyOf(m registry.Member) wg.Key {
	if n.hasTurned(m) {
		return n.claimed(m, wg.Key(m.Node.Next))
	}
	return n.claimed(m, wg.Key(m.Node.WireGuard))
}

func (n *Node) otherKeyOf(m registry.Member) wg.Key {
	if n.hasTurned(m) {
		return n.claimed(m, wg.Key(m.Node.WireGuard))
	}
	return n.claimed(m, wg.Key(m.Node.Next))
}

// hasTurned tells whether a machine uses the key that its record says comes next.
func (n *Node) hasTurned(m registry.Member) bool {
	k := n.turned[m.Key]
	return k != (wg.Key{}) && k == wg.Key(m.Node.Next)
}

func (n *Node) claimed(m registry.Member, k wg.Key) wg.Key {
	if n.claims[k] != m.Key {
		return wg.Key{}
	}
	return k
}

// lookTurned moves a machine's addresses to its next key when it has shaken hands with that; n.mu is held.
func (n *Node) lookTurned(m registry.Member, has map[wg.Key]wg.State) {
	now, next := has[n.keyOf(m)], has[n.otherKeyOf(m)]
	if n.hasTurned(m) || next.Handshake.IsZero() || next.Handshake.Before(now.Handshake) {
		return
	}
	n.turned[m.Key] = wg.Key(m.Node.Next)
	n.Log.Info("a node has turned to its next key", "node", m.Name)
	var err error
	if old := n.otherKeyOf(m); old != (wg.Key{}) {
		err = n.dev.Set(wg.Peer{Key: old})
	}
	if err == nil {
		err = n.dev.Set(wg.Peer{Key: n.keyOf(m), Allowed: m.Prefix, Keepalive: n.keepalive(m.Key)})
	}
	if err != nil {
		n.Log.Warn("take the next key of a node", "node", m.Name, "error", err)
	}
}

// Rotate turns to the next key of WireGuard.
func (n *Node) Rotate() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reg == nil {
		return noTissue()
	}
	if n.reg.Revoked(n.self()) {
		return failure(api.ErrDenied, "this machine was evicted from the tissue %s", n.reg.Name())
	}
	return n.turn()
}

// turn turns to the next key, within which time nothing is lost but what TCP sends again; n.mu is held.
func (n *Node) turn() error {
	has, err := n.devicePeers()
	if err != nil {
		return err
	}
	var near []registry.Member
	for _, m := range n.reg.Members() {
		if m.Key != n.self() && m.Stated && has[n.keyOf(m)].Alive(time.Now()) {
			near = append(near, m)
			n.say(m.Key, paths.Message{Kind: paths.Turn})
		}
	}
	time.Sleep(turnNotice)
	// First on disk: who starts again goes on with a key that the others know, either one.
	key, next := n.next, wg.NewKey()
	if err := durable.Write(n.path("wireguard.key"), key[:], 0o600); err != nil {
		return fmt.Errorf("turn to the next key: %w", err)
	}
	if err := durable.Write(n.path("wireguard.next"), next[:], 0o600); err != nil {
		return fmt.Errorf("turn to the next key: %w", err)
	}
	if err := n.dev.SetKey(key); err != nil {
		return err
	}
	n.secret, n.next, n.state.Keyed = key, next, time.Now()
	n.turning = n.state.Keyed.Add(turnWithin)
	for _, m := range near {
		n.peer(m.Key).greetings = greetings
		n.ping(m)
	}
	if err := n.save(); err != nil {
		return err
	}
	n.Log.Info("turned to the next key", "nodes", len(near))
	return n.restate()
}

// greetings is how many questions a machine is sent after this one has turned: it drops what comes before it has taken the key.
const greetings = 10

// greet sends the questions that are due; n.mu is held.
func (n *Node) greet(k identity.Key, m registry.Member) {
	if p := n.peer(k); p.greetings > 0 {
		p.greetings--
		n.ping(m)
	}
}
