package sdk

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/sdk/broker"
	"github.com/cell-network/cell/sdk/internal/meta"
)

// Identity is who calls, as the kernel told celld, or the cell itself when the caller connected directly.
type Identity struct {
	Cell string // full name of the cell that calls, as in "shop.web"; empty for a program that is no cell
	UID  int    // user on whose behalf it runs: the one of the same name where the caller is on another machine, 65534 when there is none
	Node string // name of the machine that it is on; empty for the cell's own
}

// Caller is who made the call that is being served; false outside of a call.
func Caller(ctx context.Context) (Identity, bool) {
	if p, ok := meta.Of(ctx).Caller.(*peer); ok {
		return p.Identity, true
	}
	return Identity{}, false
}

// peer is who is at the other end of a connection.
type peer struct {
	Identity
	instance string // of the cell
	nonce    string // of the connection; empty when nobody was introduced
	expires  time.Time
	denied   []string // methods
}

// instanceOf is the instance of a cell at the other end of a connection; empty when that is no cell.
func instanceOf(who any) string {
	if p, _ := who.(*peer); p != nil {
		return p.instance
	}
	return ""
}

// gate says who may be served: it reads introductions.
type gate struct {
	name string // of this instance
	hub  string // directory of celld's socket and public key; empty where there is none

	mu   sync.Mutex
	key  ed25519.PublicKey
	seen map[string]time.Time // nonces of connections, until their first introduction would have expired
	next time.Time            // when those that expired are dropped

	asked time.Time // when celld was last looked for
	there bool
}

func newGate(instance, brokerSocket string) *gate {
	g := &gate{name: strings.TrimSuffix(instance, ":bridge"), seen: map[string]time.Time{}}
	if brokerSocket != "" {
		g.hub = filepath.Dir(brokerSocket)
	}
	return g
}

// accepted is a client that nobody has introduced: whoever may open the socket's file, which is its owner's.
func (g *gate) accepted(c net.Conn) (any, error) {
	p := &peer{Identity: Identity{UID: os.Geteuid()}}
	if u, ok := c.(*net.UnixConn); ok {
		raw, err := u.SyscallConn()
		if err != nil {
			return nil, err
		}
		var cred *unix.Ucred
		if cerr := raw.Control(func(fd uintptr) {
			cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		}); cerr != nil || err != nil {
			return nil, fmt.Errorf("ask who connected: %w", errors.Join(cerr, err))
		}
		p.UID = int(cred.Uid)
	}
	return p, nil
}

// introduce reads what celld says of a client. A copy of an introduction is worth nothing: it is for one connection.
func (g *gate) introduce(before any, data []byte) (any, error) {
	i, err := g.open(data)
	if err != nil {
		return nil, err
	}
	was, _ := before.(*peer)
	now := time.Now()
	switch {
	case i.Callee != g.name:
		return nil, fmt.Errorf("introduction: it is for %s", i.Callee)
	case now.After(i.Expires):
		return nil, errors.New("introduction: it has expired")
	case i.Expires.Sub(now) > broker.Lifetime:
		return nil, errors.New("introduction: it expires too late")
	case was != nil && was.nonce != "" && (was.nonce != string(i.Nonce) || was.instance != i.Cell || was.UID != int(i.UID) || was.Node != i.Node):
		return nil, errors.New("introduction: it is for another connection")
	case (was == nil || was.nonce == "") && !g.first(string(i.Nonce), i.Expires, now):
		return nil, errors.New("introduction: it was used before")
	}
	cell, _, _ := strings.Cut(i.Cell, ":")
	return &peer{
		Identity: Identity{Cell: cell, UID: int(i.UID), Node: i.Node}, instance: i.Cell,
		nonce: string(i.Nonce), expires: i.Expires, denied: i.Denied,
	}, nil
}

// open checks the signature. The key is read again when it does not fit: celld may have another one.
func (g *gate) open(data []byte) (*broker.Introduction, error) {
	g.mu.Lock()
	key := g.key
	g.mu.Unlock()
	if i, err := broker.OpenIntroduction(key, data); err == nil {
		return i, nil
	}
	if g.hub == "" {
		return nil, errors.New("introduction: there is no celld whose it could be")
	}
	key, err := os.ReadFile(filepath.Join(g.hub, broker.PublicKeyFile))
	if err != nil {
		return nil, fmt.Errorf("introduction: read celld's key: %w", err)
	}
	g.mu.Lock()
	g.key = key
	g.mu.Unlock()
	return broker.OpenIntroduction(key, data)
}

// first tells whether no connection with that nonce was introduced before.
func (g *gate) first(nonce string, expires, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.After(g.next) {
		for n, until := range g.seen {
			if now.After(until) {
				delete(g.seen, n)
			}
		}
		g.next = now.Add(time.Minute)
	}
	_, known := g.seen[nonce]
	g.seen[nonce] = expires
	return !known
}

// admits tells why a caller may not call a method, "" when it may. What has expired is good for as long as celld is away, which
// could not renew it.
func (g *gate) admits(p *peer, method string) string {
	switch {
	case p == nil:
	case slices.Contains(p.denied, method):
		return "[auth.methods] does not allow it"
	case p.nonce != "" && time.Now().After(p.expires) && g.celldThere():
		return "its introduction has expired"
	}
	return ""
}

// lookAgain is how long the gate believes what it knows of celld.
const lookAgain = 5 * time.Second

func (g *gate) celldThere() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.asked) > lookAgain {
		c, err := net.Dial("unixpacket", filepath.Join(g.hub, "celld.sock"))
		if err == nil {
			c.Close()
		}
		g.asked, g.there = time.Now(), err == nil
	}
	return g.there
}
