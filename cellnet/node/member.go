package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cell-network/cell/cellnet/exchange"
	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/join"
	"github.com/cell-network/cell/cellnet/link"
	"github.com/cell-network/cell/cellnet/record"
	"github.com/cell-network/cell/cellnet/registry"
	"github.com/cell-network/cell/cellnet/wg"
	"github.com/cell-network/cell/sdk/api"
)

// maxInvite is the longest time that an invite is good for.
const maxInvite = 30 * 24 * time.Hour

func (n *Node) named(name string) (string, error) {
	if name != "" {
		return name, invalid(identity.CheckName(name))
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("ask for the host's name: %w", err)
	}
	return identity.NameFrom(host), nil
}

func invalid(err error) error {
	if err == nil {
		return nil
	}
	return failure(api.ErrInvalid, "%v", err)
}

// Create founds a tissue of this machine alone.
func (n *Node) Create(name, node string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.create(name, node)
}

func (n *Node) create(name, node string) error {
	if n.reg != nil {
		return failure(api.ErrExists, "this machine is in the tissue %s already: cell leave", n.reg.Name())
	}
	if name == "" {
		name = "home"
	}
	if err := invalid(identity.CheckName(name)); err != nil {
		return err
	}
	node, err := n.named(node)
	if err != nil {
		return err
	}
	if err := n.keys(); err != nil {
		return err
	}
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails
	founding := (&record.Record{Kind: record.Founding, Version: 1, Issued: time.Now(), Body: record.FoundingBody{Name: name, Nonce: nonce}.Append(nil)}).Sign(n.key)
	tissue := identity.TissueOf(founding.Raw())
	n.reg = registry.New(tissue, time.Now)
	_, err = n.reg.Put(founding)
	if err == nil {
		err = n.certify(n.self(), node, record.RoleMember)
	}
	if err == nil {
		n.state.Tissue, n.state.Name = tissue.String(), node
		err = n.begin()
	}
	return err
}

// begin writes down the tissue that this machine is now in and brings the mesh up, or leaves no trace of it.
func (n *Node) begin() error {
	err := n.write()
	if err == nil {
		err = n.save()
	}
	if err == nil {
		err = n.up()
	}
	if err != nil {
		n.state = saved{Port: n.state.Port}
		return errors.Join(err, n.down(), n.save(), os.RemoveAll(n.path("registry")))
	}
	return n.write()
}

// Invite makes a token.
func (n *Node) Invite(role string, uses int, lifetime time.Duration) (string, error) {
	r, err := record.ParseRole(role)
	switch {
	case err != nil:
		return "", invalid(err)
	case uses < 1 || uses > 10000:
		return "", failure(api.ErrInvalid, "an invite has 1 to 10000 uses, not %d", uses)
	case lifetime <= 0 || lifetime > maxInvite:
		return "", failure(api.ErrInvalid, "an invite is good for at most %v", maxInvite)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reg == nil {
		if err := n.create("", ""); err != nil {
			return "", err
		}
	}
	if !n.reg.Signs(n.self()) {
		return "", failure(api.ErrDenied, "this machine is a guest of the tissue %s and may not invite", n.reg.Name())
	}
	secret := wg.NewKey()
	public := secret.Public()
	expires := time.Now().Add(lifetime)
	body := record.InviteBody{Role: r, Uses: uint32(uses)}
	if err := n.sign(&record.Record{Kind: record.Invite, Subject: public[:], Body: body.Append(nil), Expires: expires}); err != nil {
		return "", err
	}
	if err := n.restate(); err != nil {
		return "", err
	}
	if err := n.apply(); err != nil {
		return "", err
	}
	t := join.Token{Tissue: n.reg.Tissue(), Name: n.reg.Name(), Secret: secret, Expires: expires}
	for _, m := range n.reg.Members() {
		if n.keyOf(m) == (wg.Key{}) || !m.Signs || len(t.Seeds) == 4 && m.Key != n.self() {
			continue
		}
		seed := join.Seed{Node: m.Key, WireGuard: n.keyOf(m), Endpoints: m.Node.Endpoints}
		if last, ok := n.state.Endpoints[m.Key.String()]; ok {
			seed.Endpoints = append([]netip.AddrPort{last}, seed.Endpoints...)
		}
		if m.Key == n.self() {
			t.Seeds = append([]join.Seed{seed}, t.Seeds...)
		} else {
			t.Seeds = append(t.Seeds, seed)
		}
	}
	return t.String(), n.write()
}

// maxJoin is the longest request in bytes.
const maxJoin = 8 << 10

// request is what a joining machine asks with. WireGuard has proven that it has the invite.
type request struct {
	Record []byte `json:"record"` // what it states of itself
	Name   string `json:"name"`
	Proof  []byte `json:"proof"` // its signature of the invite, so that nobody joins with another's record
}

// admission is the answer.
type admission struct {
	Error   string   `json:"error,omitempty"`
	Name    string   `json:"name,omitempty"`
	Records [][]byte `json:"records,omitempty"`
}

const proof = "cell join 1\x00"

// Join makes this machine one of the tissue's that a token is of.
func (n *Node) Join(ctx context.Context, token, name string) (tissue, called string, err error) {
	t, err := join.Parse(token)
	if err != nil {
		return "", "", invalid(err)
	}
	if name, err = n.named(name); err != nil {
		return "", "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reg != nil {
		return "", "", failure(api.ErrExists, "this machine is in the tissue %s already: cell leave", n.reg.Name())
	}
	if time.Now().After(t.Expires.Add(time.Hour)) {
		return "", "", failure(api.ErrInvalid, "the token has expired on %s: ask for another one, with cell invite", t.Expires.Format(time.DateTime))
	}
	if err := n.keys(); err != nil {
		return "", "", err
	}
	admitted, err := n.ask(ctx, t, name)
	err = errors.Join(err, link.CleanUp(t.Tissue.Prefix())) // the invite's addresses, which are used no more
	if err == nil {
		n.reg = registry.New(t.Tissue, time.Now)
		_, refused := n.reg.Apply(admitted.Records)
		m, ok := n.reg.Member(n.self())
		switch {
		case !ok && len(refused) > 0:
			err = failure(api.ErrFailed, "what the tissue answered does not hold: %v", refused[0].Err)
		case !ok:
			err = failure(api.ErrFailed, "the tissue answered without a certificate")
		default:
			n.state.Tissue, n.state.Name = t.Tissue.String(), m.Name
			err = n.begin()
		}
	}
	if err != nil {
		derr := n.down()
		if derr != nil {
			n.Log.Warn("clean up after joining failed", "error", derr)
		}
		return "", "", err
	}
	return n.reg.Name(), n.state.Name, nil
}

// ask speaks to the machines that the token names, one after the other, as whoever has the invite.
func (n *Node) ask(ctx context.Context, t join.Token, name string) (*admission, error) {
	if err := n.open(t.Secret); err != nil {
		return nil, err
	}
	public := t.Secret.Public()
	prefix := invited(t.Tissue, record.WireGuardKey(public))
	if err := link.Set(Interface, identity.Address(prefix, identity.NodeItself), prefix, t.Tissue.Prefix()); err != nil {
		return nil, err
	}
	body, err := n.facts(t.Tissue)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	own := record.Record{Kind: record.Node, Tissue: t.Tissue, Version: 1, Issued: now, Expires: now.Add(registry.Facts), Body: body.Append(nil)}
	r := request{Record: own.Sign(n.key).Raw(), Name: name, Proof: signature(n.key, public)}
	var tried []string
	for range 3 {
		for _, s := range t.Seeds {
			peer := wg.Peer{Key: s.WireGuard, Allowed: t.Tissue.Node(s.Node)}
			for _, e := range s.Endpoints {
				peer.Endpoint = e
				if err := n.dev.Set(peer); err != nil {
					return nil, err
				}
				var a admission
				err := talk(ctx, netip.AddrPortFrom(identity.Address(peer.Allowed, identity.NodeItself), portJoin), 4*time.Second, func(c net.Conn) error {
					_ = c.SetDeadline(time.Now().Add(30 * time.Second))
					if err := exchange.Send(c, r); err != nil {
						return err
					}
					return exchange.Receive(c, exchange.MaxMessage, &a)
				})
				switch {
				case ctx.Err() != nil:
					return nil, ctx.Err()
				case err == nil && a.Error != "":
					return nil, failure(api.ErrDenied, "%s", a.Error)
				case err == nil:
					n.remember(s.Node, e)
					return &a, nil
				case !slices.Contains(tried, e.String()):
					tried = append(tried, e.String())
				}
			}
			if err := n.dev.Remove(peer.Key); err != nil {
				return nil, err
			}
		}
	}
	return nil, failure(api.ErrNotReady, "nobody of the tissue %s answered at %s (UDP): the token may have expired, or a firewall is in between", t.Name, strings.Join(tried, ", "))
}

// remember notes where another machine was reached; n.mu is held.
func (n *Node) remember(k identity.Key, e netip.AddrPort) {
	if n.state.Endpoints == nil {
		n.state.Endpoints = map[string]netip.AddrPort{}
	}
	n.state.Endpoints[k.String()] = e
}

// talk has a conversation over the mesh.
func talk(ctx context.Context, to netip.AddrPort, within time.Duration, f func(net.Conn) error) error {
	d := net.Dialer{Timeout: within}
	c, err := d.DialContext(ctx, "tcp6", to.String())
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return f(c)
}

// admit answers a machine that asks to be taken in.
func (n *Node) admit(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	var r request
	if err := exchange.Receive(c, maxJoin, &r); err != nil {
		return
	}
	a, err := n.takeIn(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(), r)
	if err != nil {
		n.Log.Warn("a machine was not taken in", "name", r.Name, "error", err)
		a = &admission{Error: err.Error()}
	}
	_ = exchange.Send(c, a)
}

func (n *Node) takeIn(from netip.Addr, r request) (*admission, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reg == nil {
		return nil, errors.New("this machine has left the tissue")
	}
	var invite *registry.Invite
	for _, i := range n.reg.Invites() {
		if invited(n.reg.Tissue(), i.Key) == identity.Of(from) {
			invite = &i
		}
	}
	own, err := record.Parse(r.Record)
	if err != nil {
		return nil, err
	}
	k := own.Signer
	_, err = record.ParseNode(own.Body)
	switch {
	case err != nil:
		return nil, err
	case invite == nil || time.Now().After(invite.Expires):
		return nil, errors.New("the token has expired: ask for another one, with cell invite")
	case own.Kind != record.Node || !proven(k, wg.Key(invite.Key), r.Proof):
		return nil, errors.New("the request is not signed by the machine that it is of")
	case invite.Uses == 0 && !n.reg.Redeemed(invite.Key, k): // a machine that did not get its answer asks again
		return nil, errors.New("the token was used already: ask for another one, with cell invite")
	case n.reg.Revoked(k):
		return nil, errors.New("this machine was evicted from the tissue")
	case !n.reg.Signs(n.self()):
		return nil, errors.New("the machine that was asked is a guest itself: ask another one")
	}
	if err := identity.CheckName(r.Name); err != nil {
		return nil, err
	}
	name := n.free(r.Name, k)
	subject := append(append([]byte{}, invite.Key[:]...), k[:]...)
	err = n.sign(&record.Record{Kind: record.Redeemed, Subject: subject, Expires: invite.Expires})
	if err == nil && invite.Role == record.RoleMember {
		err = n.sign(&record.Record{Kind: record.Grant, Subject: k[:]})
	}
	if err == nil {
		err = n.certify(k, name, invite.Role)
	}
	if err != nil {
		return nil, err
	}
	if _, err := n.reg.Put(own); err != nil {
		return nil, err
	}
	has, err := n.devicePeers()
	if err == nil {
		err = n.apply()
	}
	if m, ok := n.reg.Member(k); err == nil && ok {
		// It is where its request comes from.
		e := has[wg.Key(invite.Key)].Endpoint
		n.remember(k, e)
		if n.keyOf(m) == (wg.Key{}) {
			return nil, errors.New("the machine states a key of WireGuard that is another one's")
		}
		err = n.dev.Set(wg.Peer{Key: n.keyOf(m), Allowed: m.Prefix, Endpoint: e})
	}
	if err == nil {
		err = n.write()
	}
	n.Log.Info("taken in", "node", name, "id", k.String(), "role", invite.Role.String())
	return &admission{Name: name, Records: n.reg.All()}, err
}

// free is a name that no other machine has.
func (n *Node) free(name string, k identity.Key) string {
	taken := map[string]bool{}
	for _, m := range n.reg.Members() {
		taken[m.Name] = m.Key != k
	}
	out := name
	for i := 2; taken[out]; i++ {
		out = fmt.Sprintf("%s-%d", name[:min(len(name), 58)], i)
	}
	return out
}

// find is the machine of that name, or whose id begins so.
func (n *Node) find(word string) (registry.Member, error) {
	var found []registry.Member
	for _, m := range n.reg.Members() {
		if m.Name == word {
			return m, nil
		}
		id := m.Key.String()
		if len(word) >= 4 && (strings.HasPrefix(id, word) || strings.HasPrefix(strings.TrimPrefix(id, identity.Scheme), word)) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return registry.Member{}, failure(api.ErrNotFound, "the tissue %s has no node %q: cell nodes", n.reg.Name(), word)
	}
	return registry.Member{}, failure(api.ErrInvalid, "%q is the beginning of several ids", word)
}

// farewell is how long a machine that is evicted has to hear of it before it is cut off.
const farewell = 2 * time.Second

// Evict ends the membership of another machine.
func (n *Node) Evict(ctx context.Context, word string) error {
	reg, m, err := n.expel(word)
	if err != nil {
		return err
	}
	// Its user shall see why nothing goes on there. Nobody waits for it for longer.
	bye, cancel := context.WithTimeout(ctx, farewell)
	_ = synchronize(bye, reg, m)
	cancel()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reg != reg {
		return nil
	}
	return errors.Join(n.apply(), n.write())
}

func (n *Node) expel(word string) (*registry.Registry, registry.Member, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reg == nil {
		return nil, registry.Member{}, noTissue()
	}
	m, err := n.find(word)
	switch {
	case err != nil:
	case m.Key == n.self():
		err = failure(api.ErrInvalid, "%s is this machine: cell leave", m.Name)
	case !n.reg.Signs(n.self()):
		err = failure(api.ErrDenied, "this machine is a guest of the tissue %s and may not evict", n.reg.Name())
	}
	if err == nil {
		err = n.revoke(m.Key, "evicted by "+n.state.Name)
	}
	if err == nil {
		n.Log.Info("evicted", "node", m.Name, "id", m.Key.String())
	}
	return n.reg, m, err
}

func (n *Node) revoke(k identity.Key, reason string) error {
	body := record.RevocationBody{Keeps: n.reg.SignedBy(k), Reason: reason}
	return n.sign(&record.Record{Kind: record.Revocation, Subject: k[:], Body: body.Append(nil)})
}

// Leave ends this machine's membership, tells others of it where they are reached, and forgets its keys.
func (n *Node) Leave(ctx context.Context) error {
	n.mu.Lock()
	if n.reg == nil {
		n.mu.Unlock()
		return noTissue()
	}
	err := n.revoke(n.self(), "left")
	reg, members := n.reg, n.reg.Members()
	n.mu.Unlock()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	told := make(chan struct{}, len(members))
	for _, m := range members {
		go func() {
			_ = synchronize(ctx, reg, m)
			told <- struct{}{}
		}()
	}
	for range members {
		<-told
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	errs := []error{n.down()}
	n.state = saved{}
	for _, name := range []string{"registry", "node.key", "wireguard.key", "wireguard.next", "state.json"} {
		errs = append(errs, os.RemoveAll(n.path(name)))
	}
	return errors.Join(errs...)
}

func noTissue() error {
	return failure(api.ErrNotFound, "this machine is in no tissue: cell invite makes one, cell join enters one")
}
