package node

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/cellnet/exchange"
	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/record"
	"github.com/cell-network/cell/cellnet/registry"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/wire"
)

// A call between machines: the caller's cellnetd connects from the address of the calling cell to that of the called one and says
// who calls what. WireGuard has proven which machine that is, so nothing is signed. The called side asks its celld, which decides
// and wakes the cell, answers, and hands the connection over: the bytes that follow pass through no daemon.

// maxCall is the longest request in bytes.
const maxCall = 8 << 10

// called is a request on the port of calls.
type called struct {
	Renew bool `json:"renew,omitempty"`
	api.RemoteCall
}

// verdict is the answer.
type verdict struct {
	Error   string       `json:"error,omitempty"` // a D-Bus error name
	Text    string       `json:"text,omitempty"`
	Reached *api.Reached `json:"reached,omitempty"`
}

// place is a cell on a machine.
type place struct {
	member registry.Member
	cell   record.Cell
	rtt    time.Duration
}

// places are where a cell is called, the best one first; n.mu is held. The error says why there is none.
func (n *Node) places(c api.RemoteCall) ([]place, error) {
	if n.reg == nil {
		return nil, noTissue()
	}
	name, node, _ := strings.Cut(c.Target, "@")
	base, _, _ := strings.Cut(name, ":")
	var all []place
	other := ""
	for _, m := range n.reg.Members() {
		if m.Key == n.self() || node != "" && m.Name != node || !n.reg.Current(m) || node == "" && m.Role != record.RoleMember {
			continue // what a stranger calls its cells must not lead anybody there
		}
		for _, cell := range m.Cells {
			if cell.Name != base {
				continue
			}
			if c.Hash != "" && cell.Hash != "" && c.Hash != cell.Hash && !slices.Contains(cell.Accepts, c.Hash) {
				other = fmt.Sprintf("%s %s on %s does not serve callers that were built like this one", base, cell.Version, m.Name)
				continue
			}
			p := place{m, cell, n.peer(m.Key).rtt}
			if p.rtt == 0 {
				p.rtt = time.Hour
			}
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		if other != "" {
			return nil, failure(api.ErrNotReady, "%s", other)
		}
		return nil, failure(api.ErrNotFound, "no cell %q is known here or on another machine of the tissue %s", base, n.reg.Name())
	}
	slices.SortStableFunc(all, func(a, b place) int {
		return cmp.Or(cmp.Compare(avoided(c, a), avoided(c, b)), cmp.Compare(a.rtt, b.rtt))
	})
	return all, nil
}

func avoided(c api.RemoteCall, p place) int {
	for _, a := range c.Avoid {
		if strings.HasSuffix(a, "@"+p.member.Name) {
			return 1
		}
	}
	return 0
}

// from is the address that a cell of this machine, or a user's program that is none, calls from.
func (n *Node) from(cell, user string) netip.Addr {
	base, _, _ := strings.Cut(cell, ":")
	number, ok := n.state.Numbers[base]
	if cell == "" {
		number, ok = n.state.Users[user]
	}
	if !ok {
		number = identity.NodeItself
	}
	return identity.Address(n.reg.Tissue().Node(n.self()), number)
}

const (
	// reach is how long a path to a machine is looked for, reachNext how long where the cell is on another one, too. A relay is found
	// after some seconds.
	reach, reachNext = 15 * time.Second, 3 * time.Second
	// connect is how long one that is reached may take for a connection.
	connect = 4 * time.Second
	// wanted is how long the path to a machine is kept after a call.
	wanted = 3 * time.Minute
)

// Dial connects to a cell on another machine.
func (n *Node) Dial(ctx context.Context, c api.RemoteCall) (*os.File, api.Reached, error) {
	conn, reached, err := n.carry(ctx, called{RemoteCall: c})
	if err != nil {
		return nil, reached, err
	}
	defer conn.Close()
	f, err := conn.File()
	if err != nil {
		return nil, reached, fmt.Errorf("hand over the connection to %s: %w", reached.Instance, err)
	}
	return f, reached, nil
}

// Renew has an introduction made anew where the called cell is.
func (n *Node) Renew(ctx context.Context, c api.RemoteCall) (api.Reached, error) {
	conn, reached, err := n.carry(ctx, called{Renew: true, RemoteCall: c})
	if err == nil {
		conn.Close()
	}
	return reached, err
}

func (n *Node) carry(ctx context.Context, c called) (*net.TCPConn, api.Reached, error) {
	n.mu.Lock()
	places, err := n.places(c.RemoteCall)
	var from netip.Addr
	if err == nil {
		from = n.from(c.Cell, c.User)
	}
	n.mu.Unlock()
	if err != nil {
		return nil, api.Reached{}, err
	}
	var last error
	instances := 0 // on all machines: a client has connections to some of them
	for _, p := range places {
		instances += int(p.cell.Instances)
	}
	for i, p := range places {
		patience := reach
		if i+1 < len(places) {
			patience = reachNext
		}
		n.mu.Lock()
		n.want(p.member.Key, wanted)
		n.mu.Unlock()
		if !n.reached(ctx, p.member.Key, patience) {
			last = failure(api.ErrNotReady, "%s on %s is not reached: the machine does not answer", p.cell.Name, p.member.Name)
			continue
		}
		conn, reached, err := ask(ctx, from, p, c)
		if err == nil {
			reached.Instance += "@" + p.member.Name
			reached.Replicas = max(reached.Replicas, instances)
			return conn, reached, nil
		}
		if e, ok := errors.AsType[*Error](err); ok && e.Name != api.ErrNotReady && e.Name != api.ErrNotFound {
			return nil, api.Reached{}, err
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return nil, api.Reached{}, last
}

func ask(ctx context.Context, from netip.Addr, p place, c called) (conn *net.TCPConn, reached api.Reached, err error) {
	to := netip.AddrPortFrom(identity.Address(p.member.Prefix, p.cell.Number), portCall)
	dial, cancel := context.WithTimeout(ctx, connect)
	conn, err = dialFrom(dial, from, to)
	cancel()
	if errors.Is(err, syscall.EACCES) { // what its rules answer
		return nil, reached, failure(api.ErrDenied, "%s may not call %s on %s: no rule there lets it through; cell net why shows them", caller(c.RemoteCall), p.cell.Name, p.member.Name)
	}
	if err != nil {
		return nil, reached, failure(api.ErrNotReady, "%s on %s is not reached: %v", p.cell.Name, p.member.Name, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	c.Target, _, _ = strings.Cut(c.Target, "@")
	c.Instance, _, _ = strings.Cut(c.Instance, "@")
	c.Avoid = here(c.Avoid, p.member.Name)
	var v verdict
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if err = exchange.Send(conn, c); err == nil {
		err = exchange.Receive(conn, maxCall, &v)
	}
	if !stop() {
		err = errors.Join(ctx.Err(), err)
	}
	switch {
	case err != nil:
		err = failure(api.ErrNotReady, "%s on %s did not answer: %v", p.cell.Name, p.member.Name, err)
	case v.Reached == nil:
		err = failure(v.Error, "%s", v.Text)
	default:
		return conn, *v.Reached, conn.SetDeadline(time.Time{})
	}
	conn.Close()
	return nil, reached, err
}

// caller names who calls: its cell or its user.
func caller(c api.RemoteCall) string {
	if c.Cell != "" {
		base, _, _ := strings.Cut(c.Cell, ":")
		return base
	}
	return "user " + c.User
}

// here are the instances on a machine, as that names them.
func here(all []string, node string) (out []string) {
	for _, a := range all {
		if instance, ok := strings.CutSuffix(a, "@"+node); ok {
			out = append(out, instance)
		}
	}
	return out
}

// at is the machine that an address belongs to, and its cell or user.
func (n *Node) at(a netip.Addr) (m registry.Member, cell, user string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reg == nil {
		return m, "", "", errors.New("this machine has left the tissue")
	}
	m, ok := n.reg.At(identity.Of(a))
	if !ok || !n.reg.Current(m) {
		return m, "", "", fmt.Errorf("%v is no address of a member", a)
	}
	if m.Role == record.RoleDonor {
		return m, "", "", fmt.Errorf("%s is a donor and calls nothing", m.Name)
	}
	for _, u := range m.Node.Users {
		if u.Number == identity.Number(a) {
			user = u.Name
		}
	}
	for _, c := range m.Cells {
		if c.Number == identity.Number(a) {
			cell = c.Name
		}
	}
	return m, cell, user, nil
}

// called answers a call of another machine.
func (n *Node) called(ctx context.Context, c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	var r called
	if err := exchange.Receive(c, maxCall, &r); err != nil {
		n.Log.Debug("read a call", "from", c.RemoteAddr(), "error", err)
		return
	}
	m, cell, user, err := n.at(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
	switch base, _, _ := strings.Cut(r.Cell, ":"); {
	case err != nil:
	case cell != "" && base != cell:
		err = fmt.Errorf("%s of %s says that it is %s", cell, m.Name, caller(r.RemoteCall))
	case user != "" && (base != "" || r.User != user):
		err = fmt.Errorf("user %s of %s says that it is %s", user, m.Name, caller(r.RemoteCall))
	}
	if err != nil {
		n.Log.Warn("a call was refused", "error", err)
		_ = exchange.Send(c, verdict{Error: api.ErrDenied, Text: err.Error()})
		return
	}
	r.Node, r.Role = m.Name, m.Role.String()
	_ = c.SetDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if r.Renew {
		reached, err := n.Cells.RenewFor(ctx, r.RemoteCall)
		_ = exchange.Send(c, answered(reached, err))
		return
	}
	f, reached, err := n.Cells.ConnectFor(ctx, r.RemoteCall)
	if err != nil {
		_ = exchange.Send(c, answered(reached, err))
		return
	}
	defer f.Close()
	// The answer goes first: what comes behind it is the cell's.
	if err := exchange.Send(c, answered(reached, nil)); err != nil {
		return
	}
	if reached.Speaks == "cell" {
		err = handOver(c.(*net.TCPConn), f)
	} else {
		err = pass(c, f)
	}
	if err != nil {
		n.Log.Warn("hand a call over", "cell", reached.Instance, "from", m.Name, "error", err)
	}
}

func answered(r api.Reached, err error) verdict {
	if err == nil {
		return verdict{Reached: &r}
	}
	v := verdict{Error: api.ErrorName(err), Text: api.ErrorText(err)}
	if v.Error == "" {
		v.Error = api.ErrFailed
	}
	return v
}

// handOver gives a connection to the cell at the other end of a Unix socket.
func handOver(c *net.TCPConn, cell *os.File) error {
	f, err := c.File()
	if err != nil {
		return err
	}
	defer f.Close()
	nc, err := net.FileConn(cell)
	if err != nil {
		return err
	}
	defer nc.Close()
	u, ok := nc.(*net.UnixConn)
	if !ok {
		return errors.New("celld gave no Unix socket")
	}
	_, _, err = u.WriteMsgUnix(wire.AppendHandover(nil), unix.UnixRights(int(f.Fd())), nil)
	return err
}

// pass passes bytes between a connection and a cell that takes no descriptor; the kernel moves them (splice).
func pass(c net.Conn, cell *os.File) error {
	nc, err := net.FileConn(cell)
	if err != nil {
		return err
	}
	defer nc.Close()
	type half interface{ CloseWrite() error }
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(nc, c)
		_ = nc.(half).CloseWrite()
		close(done)
	}()
	_, _ = io.Copy(c, nc)
	_ = c.(half).CloseWrite()
	<-done
	return nil
}

// openDoors listens at the addresses of cells: for calls, and for programs that know nothing of Cell; n.mu is held.
func (n *Node) openDoors(want []netip.AddrPort) {
	if n.doors == nil {
		return
	}
	for at, l := range n.doors {
		if !slices.Contains(want, at) {
			l.Close()
			delete(n.doors, at)
		}
	}
	for _, at := range want {
		if n.doors[at] != nil {
			continue
		}
		l, err := listenOn(n.upCtx, at)
		if err != nil {
			n.Log.Warn("open a cell to programs", "error", err)
			continue
		}
		n.doors[at] = l
		serve, ctx := n.visited, n.upCtx
		if at.Port() == portCall {
			serve = n.called
		}
		go accept(l, maxConns, maxConns, func(c net.Conn) { serve(ctx, c) })
	}
}

// visited serves a program that came to a cell's address: on this machine or another one.
func (n *Node) visited(ctx context.Context, c net.Conn) {
	local, remote := c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
	m, cell, user, err := n.at(remote.Addr())
	if err != nil {
		n.Log.Warn("a program was refused", "error", err)
		return
	}
	if user == "" {
		user = "root" // of others who have no address of their own, no packets pass there
	}
	r := api.RemoteCall{Cell: cell, Node: m.Name, Role: m.Role.String(), User: user}
	n.mu.Lock()
	mine := m.Key == n.self()
	if me, ok := n.reg.Member(n.self()); ok {
		for _, own := range me.Cells {
			if own.Number == identity.Number(local.Addr()) {
				r.Target = own.Name
			}
		}
	}
	n.mu.Unlock()
	if mine {
		if r.User, err = userOf(remote, local); err != nil {
			n.Log.Warn("whose program came to a cell cannot be told", "cell", r.Target, "error", err)
			return
		}
	}
	within, cancel := context.WithTimeout(ctx, time.Minute)
	f, _, err := n.Cells.ConnectFor(within, r)
	cancel()
	if err != nil {
		n.Log.Warn("a program was not let to a cell", "cell", r.Target, "node", m.Name, "error", api.ErrorText(err))
		return
	}
	defer f.Close()
	_ = pass(c, f)
}

// userOf is the name of the user whose socket on this machine has these addresses.
func userOf(own, other netip.AddrPort) (string, error) {
	f, err := os.Open("/proc/net/tcp6")
	if err != nil {
		return "", err
	}
	defer f.Close()
	want := procAddress(own) + " " + procAddress(other)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		w := strings.Fields(lines.Text())
		if len(w) < 8 || w[1]+" "+w[2] != want {
			continue
		}
		uid, err := strconv.Atoi(w[7])
		if err != nil {
			return "", err
		}
		u, err := user.LookupId(strconv.Itoa(uid))
		if err != nil {
			return "", err
		}
		return u.Username, nil
	}
	return "", errors.New("no such socket")
}

// procAddress is an address as /proc/net/tcp6 writes it: four words in the order of the machine's bytes.
func procAddress(a netip.AddrPort) string {
	b := a.Addr().As16()
	for i := 0; i < 16; i += 4 {
		var native [4]byte
		v := uint32(b[i]) | uint32(b[i+1])<<8 | uint32(b[i+2])<<16 | uint32(b[i+3])<<24
		native[0], native[1], native[2], native[3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
		copy(b[i:], native[:])
	}
	return strings.ToUpper(hex.EncodeToString(b[:])) + fmt.Sprintf(":%04X", a.Port())
}
