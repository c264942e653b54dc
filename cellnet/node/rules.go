package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cell-network/cell/cellnet/exchange"
	"github.com/cell-network/cell/cellnet/firewall"
	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/record"
	"github.com/cell-network/cell/cellnet/registry"
	"github.com/cell-network/cell/sdk/api"
)

// allow adds what may reach this machine's cells to the rules: celld decides on each call, and the kernel keeps away what it could only
// refuse. It returns where cells are reached; n.mu is held.
func (n *Node) allow(want *firewall.Wanted) (doors []netip.AddrPort) {
	node := n.reg.Tissue().Node(n.self())
	for _, c := range n.cells {
		number, ok := n.state.Numbers[c.Name]
		if !ok {
			continue
		}
		at := []netip.AddrPort{netip.AddrPortFrom(identity.Address(node, number), portCall)}
		if c.Port > 0 {
			at = append(at, netip.AddrPortFrom(identity.Address(node, number), uint16(c.Port)))
		}
		doors = append(doors, at...)
		open := c.Open
		for _, who := range c.Callers { // a user's cells are not told apart from others on that machine
			open = open || strings.HasPrefix(who, "user:")
		}
		if open {
			want.Open = append(want.Open, at...)
		}
		for _, m := range n.reg.Members() {
			if m.Key == n.self() || !n.reg.Current(m) || m.Role == record.RoleDonor {
				continue
			}
			for _, from := range sources(m, c, open) {
				for _, to := range at {
					want.Pairs = append(want.Pairs, firewall.Pair{From: from, To: to})
				}
			}
		}
	}
	slices.SortFunc(want.Open, netip.AddrPort.Compare)
	want.Pairs = disjoint(want.Pairs)
	return doors
}

// sources are the addresses of a machine from which a cell of this one may be called, beside those of open.
func sources(m registry.Member, c api.Announced, open bool) (all []netip.Prefix) {
	if slices.Contains(c.Callers, "node:"+m.Name) && (!open || m.Role != record.RoleMember) {
		return []netip.Prefix{m.Prefix}
	}
	if open || m.Role != record.RoleMember {
		return nil
	}
	one := func(number uint16) { all = append(all, netip.PrefixFrom(identity.Address(m.Prefix, number), 128)) }
	one(identity.NodeItself) // its owner's programs may call it, whatever [auth] says
	for _, u := range m.Node.Users {
		if u.Name == c.Owner {
			one(u.Number)
		}
	}
	for _, other := range m.Cells {
		if slices.ContainsFunc(c.Callers, func(who string) bool {
			name, ok := strings.CutPrefix(who, "cell:")
			below, star := strings.CutSuffix(name, ".*")
			return ok && (name == other.Name || star && strings.HasPrefix(other.Name, below+"."))
		}) {
			one(other.Number)
		}
	}
	return all
}

// disjoint sorts pairs and leaves out those that others hold, as a set of the kernel's must not have overlapping ones.
func disjoint(all []firewall.Pair) (out []firewall.Pair) {
	slices.SortFunc(all, func(a, b firewall.Pair) int {
		if c := a.To.Compare(b.To); c != 0 {
			return c
		}
		if c := a.From.Addr().Compare(b.From.Addr()); c != 0 {
			return c
		}
		return a.From.Bits() - b.From.Bits()
	})
	for _, p := range all {
		if last := len(out) - 1; last >= 0 && out[last].To == p.To && out[last].From.Overlaps(p.From) {
			continue
		}
		out = append(out, p)
	}
	return out
}

// cellSlice is the control group that all cells of the manager that runs this daemon are below.
func cellSlice() firewall.Slice {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return firewall.Slice{}
	}
	for line := range bytes.Lines(own) {
		path, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "0::")
		if !ok {
			continue
		}
		manager := filepath.Dir(filepath.Dir(path)) // of the daemon's slice
		info, err := os.Stat(filepath.Join("/sys/fs/cgroup", manager, "cell.slice"))
		if err != nil {
			return firewall.Slice{}
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return firewall.Slice{}
		}
		level := 1
		if manager != "/" {
			level += strings.Count(manager, "/")
		}
		return firewall.Slice{ID: stat.Ino, Level: uint32(level)}
	}
	return firewall.Slice{}
}

// refused is who was refused by the rules, and where.
type refused struct {
	from netip.Addr
	to   netip.AddrPort
}

// refuse writes down whom the rules have refused since it was asked last; n.mu is held.
func (n *Node) refuse() {
	if n.applied == "" {
		return
	}
	all, err := firewall.Refusals()
	if err != nil {
		return
	}
	if n.refusals == nil {
		n.refusals = map[refused]uint64{}
	}
	for _, r := range all {
		k := refused{r.From, r.To}
		if r.Packets > n.refusals[k] {
			n.Log.Warn("refused by the rules", "caller", n.nameOf(r.From), "cell", n.nameOf(r.To.Addr()), "port", r.To.Port(), "times", r.Packets-n.refusals[k])
			n.refusals[k] = r.Packets
		}
	}
}

// nameOf says whose an address is: CELL@NODE, "user NAME@NODE", or NODE; n.mu is held.
func (n *Node) nameOf(a netip.Addr) string {
	m, ok := n.reg.At(identity.Of(a))
	if !ok {
		return a.String()
	}
	for _, c := range m.Cells {
		if c.Number == identity.Number(a) {
			return c.Name + "@" + m.Name
		}
	}
	for _, u := range m.Node.Users {
		if u.Number == identity.Number(a) {
			return "user " + u.Name + "@" + m.Name
		}
	}
	if number := identity.Number(a); number != identity.NodeItself {
		return fmt.Sprintf("address %d of %s", number, m.Name)
	}
	return m.Name
}

// question asks another machine whether a caller of this one reaches a cell there.
type question struct {
	From netip.Addr `json:"from"`
	api.RemoteCall
}

// judge answers whether a caller reaches a cell of this machine, and what decides that.
func (n *Node) judge(ctx context.Context, asks netip.Addr, text json.RawMessage) (all []api.Reason) {
	var q question
	if err := json.Unmarshal(text, &q); err != nil {
		return nil
	}
	n.mu.Lock()
	m, ok := n.reg.At(identity.Of(asks))
	number, known := n.state.Numbers[q.Target]
	self, rules := n.state.Name, n.rules
	if !ok || !n.reg.Current(m) || identity.Of(q.From) != m.Prefix || !known { // of its own callers alone
		n.mu.Unlock()
		return []api.Reason{{What: "cell on " + self, Text: fmt.Sprintf("%s has no cell %q", self, q.Target)}}
	}
	to := netip.AddrPortFrom(identity.Address(n.reg.Tissue().Node(n.self()), number), portCall)
	n.mu.Unlock()
	rule, through := rules.Judge(q.From, to)
	all = append(all, api.Reason{What: "rule of " + self, Text: rule, Good: through})
	q.Node, q.Role = m.Name, m.Role.String()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	allowed, said, err := n.Cells.JudgeFor(ctx, q.RemoteCall)
	if err != nil {
		said = api.ErrorText(err)
	}
	return append(all, api.Reason{What: "celld of " + self, Text: said, Good: err == nil && allowed})
}

// Why tells what decides whether a caller on this machine reaches a cell on others.
func (n *Node) Why(ctx context.Context, from, target string) (all []api.Reason, err error) {
	q := question{RemoteCall: api.RemoteCall{Target: target}}
	user, isUser := strings.CutPrefix(from, "user:")
	if isUser {
		q.User = user
	} else {
		q.Cell = from
	}
	n.mu.Lock()
	if n.reg == nil {
		n.mu.Unlock()
		return nil, noTissue()
	}
	if _, known := n.state.Numbers[from]; !isUser && !known {
		n.mu.Unlock()
		return nil, failure(api.ErrNotFound, "no cell %q runs on this machine, whose callers alone can be asked about; a user is user:NAME", from)
	}
	for _, c := range n.cells {
		if c.Name == from {
			q.User = c.Owner
		}
	}
	q.From = n.from(q.Cell, q.User)
	places, err := n.places(q.RemoteCall)
	here := slices.ContainsFunc(n.cells, func(c api.Announced) bool { return c.Name == target })
	n.mu.Unlock()
	if here {
		return []api.Reason{{What: "name " + target, Text: "it runs on this machine, and is called without the mesh: cell explain " + target, Good: true}}, nil
	}
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		all = append(all, n.whyAt(ctx, q, p)...)
	}
	return all, nil
}

func (n *Node) whyAt(ctx context.Context, q question, p place) (all []api.Reason) {
	m := p.member
	to := netip.AddrPortFrom(identity.Address(m.Prefix, p.cell.Number), portCall)
	all = append(all, api.Reason{
		What: "name " + p.cell.Name, Text: fmt.Sprintf("%s says that it runs it, as a %s whose certificate is good until %s", m.Name, m.Role, m.Until.Format(time.DateTime)), Good: true,
	}, api.Reason{What: "addresses", Text: fmt.Sprintf("%s calls from %v, %s is at %v", caller(q.RemoteCall), q.From, p.cell.Name, to), Good: true})
	n.mu.Lock()
	n.want(m.Key, wanted)
	n.mu.Unlock()
	reached := n.reached(ctx, m.Key, reach)
	n.mu.Lock()
	has, err := n.devicePeers()
	s := has[n.keyOf(m)]
	path, endpoint, via := n.how(m, s)
	n.mu.Unlock()
	text := fmt.Sprintf("%s, %s", path, endpoint)
	if via != "" {
		text += " through " + via
	}
	if !reached || err != nil {
		return append(all, api.Reason{What: "path to " + m.Name, Text: "none: it answers at none of its endpoints, and no node passes packets on"})
	}
	all = append(all, api.Reason{What: "path to " + m.Name, Text: text + ", last handshake " + s.Handshake.Format(time.TimeOnly), Good: true})
	why, err := json.Marshal(q)
	if err != nil {
		return append(all, api.Reason{What: "answer of " + m.Name, Text: err.Error()})
	}
	var there []api.Reason
	err = talk(ctx, netip.AddrPortFrom(identity.Address(m.Prefix, identity.NodeItself), portSync), connect, func(c net.Conn) error {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if err := exchange.Send(c, exchange.Message{Why: why}); err != nil {
			return err
		}
		return exchange.Receive(c, exchange.MaxMessage, &there)
	})
	if err != nil {
		return append(all, api.Reason{What: "answer of " + m.Name, Text: err.Error()})
	}
	return append(all, there...)
}
