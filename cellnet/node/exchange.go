package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/cell-network/cell/cellnet/exchange"
	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/paths"
	"github.com/cell-network/cell/cellnet/registry"
	"github.com/cell-network/cell/cellnet/wg"
)

func signature(key ed25519.PrivateKey, invite wg.Key) []byte {
	return ed25519.Sign(key, append([]byte(proof), invite[:]...))
}

func proven(k identity.Key, invite wg.Key, sig []byte) bool {
	return ed25519.Verify(k[:], append([]byte(proof), invite[:]...), sig)
}

// synchronize makes both sides have what either had.
func synchronize(ctx context.Context, reg *registry.Registry, m registry.Member) error {
	to := netip.AddrPortFrom(identity.Address(m.Prefix, identity.NodeItself), portSync)
	return talk(ctx, to, 5*time.Second, func(c net.Conn) error {
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		return exchange.Ask(c, reg)
	})
}

// exchange asks some machines every round whether they have the same records, and many when there are news.
func (n *Node) exchange(ctx context.Context) {
	t := time.NewTicker(exchange.Round)
	defer t.Stop()
	for {
		most := exchange.Some
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-n.news:
			most = exchange.Many
			select { // what happens together is told together
			case <-ctx.Done():
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
		n.mu.Lock()
		reg := n.reg
		if reg == nil || n.dev == nil {
			n.mu.Unlock()
			continue
		}
		var partners []registry.Member
		for _, m := range reg.Members() {
			if m.Key != n.self() && m.Stated {
				partners = append(partners, m)
			}
		}
		for _, m := range exchange.Choose(partners, most) {
			n.want(m.Key, 5*exchange.Round)
			if how, _ := n.paths.How(m.Key); how >= paths.Direct {
				n.ping(m) // its answer tells whether it has the same
			}
		}
		n.mu.Unlock()
	}
}

// compare exchanges records with a machine that has others; n.mu is held. One exchange at a time is under way with each.
func (n *Node) compare(m registry.Member) {
	p, reg, ctx := n.peer(m.Key), n.reg, n.upCtx
	if p.comparing || n.comparing >= exchange.Many {
		return
	}
	p.comparing = true
	n.comparing++
	go func() {
		before := reg.Change()
		if err := synchronize(ctx, reg, m); err != nil {
			n.Log.Debug("compare records", "node", m.Name, "error", err)
		}
		n.learnt(reg, before)
		n.mu.Lock()
		defer n.mu.Unlock()
		p.comparing = false
		n.comparing--
	}()
}

// learnt does what follows from records that came.
func (n *Node) learnt(reg *registry.Registry, before uint64) {
	if reg.Change() == before {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reg != reg {
		return
	}
	if reg.Revoked(n.self()) {
		n.Log.Warn("this machine was evicted from the tissue", "tissue", reg.Name())
	}
	err := n.apply()
	if err == nil {
		err = n.write()
	}
	if err != nil {
		n.Log.Warn("take records", "error", err)
	}
	n.tell()
}

// listen opens the ports; n.mu is held.
func (n *Node) listen(ctx context.Context) error {
	self := identity.Address(n.reg.Tissue().Node(n.self()), identity.NodeItself)
	reg := n.reg
	for _, l := range []struct {
		port  uint16
		serve func(net.Conn)
	}{
		{portJoin, n.admit},
		{portSync, func(c net.Conn) {
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			var asked exchange.Message
			if err := exchange.Receive(c, exchange.MaxFirst, &asked); err != nil {
				return
			}
			if asked.Why != nil {
				_ = exchange.Send(c, n.judge(ctx, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(), asked.Why))
				return
			}
			before := reg.Change()
			if news, err := exchange.Answer(c, reg, asked); err != nil {
				n.Log.Debug("answer a comparison of records", "from", c.RemoteAddr(), "error", err)
			} else if news > 0 {
				n.learnt(reg, before)
			}
		}},
	} {
		listener, err := listenOn(ctx, netip.AddrPortFrom(self, l.port))
		if err != nil {
			return err
		}
		n.listeners = append(n.listeners, listener)
		go accept(listener, maxRequests, maxEach, l.serve)
	}
	return nil
}

// Bounds on connections that are served at once: of a port of the daemon, of one machine there, and of a cell.
const (
	maxRequests, maxEach = 256, 8
	maxConns             = 4096
)

// accept serves connections, at most of them at once and each of one machine.
func accept(l net.Listener, most, each int, serve func(net.Conn)) {
	var mu sync.Mutex
	of := map[netip.Prefix]int{}
	take := func(p netip.Prefix, n int) bool {
		mu.Lock()
		defer mu.Unlock()
		if n > 0 && of[p] >= each {
			return false
		}
		if of[p] += n; of[p] == 0 {
			delete(of, p)
		}
		return true
	}
	slots := make(chan struct{}, most)
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(50 * time.Millisecond) // out of descriptors
			continue
		}
		from := identity.Of(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
		if !take(from, 1) {
			c.Close()
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			take(from, -1)
			c.Close()
			continue
		}
		go func() {
			defer func() { take(from, -1); <-slots }()
			defer c.Close()
			serve(c)
		}()
	}
}
