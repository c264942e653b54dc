// Package wg owns the WireGuard device of the mesh: the kernel's where it has one, else wireguard-go's in this process. It decides
// nothing: which peers there are is told to it, and only differences are ever written, as to replace all peers drops their sessions.
package wg

import (
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// MTU is what fits into a tunnel over a path of 1500 bytes, IPv6 on both sides.
const MTU = 1420

// Key is a key of WireGuard, a point of Curve25519 or its private scalar.
type Key [32]byte

// NewKey makes a private key.
func NewKey() (k Key) {
	_, _ = rand.Read(k[:]) // never fails
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k
}

// Public is the public part of a private key.
func (k Key) Public() (p Key) {
	private, err := ecdh.X25519().NewPrivateKey(k[:])
	if err == nil { // any 32 bytes are a key
		copy(p[:], private.PublicKey().Bytes())
	}
	return p
}

// Peer is another machine as the device is to know it.
type Peer struct {
	Key       Key
	Endpoint  netip.AddrPort // the zero one leaves what the device has learnt
	Allowed   netip.Prefix   // whose packets it takes from this peer, and sends to it; the zero one for none
	Keepalive time.Duration  // 0 for none
}

// State is what the device knows of a peer.
type State struct {
	Endpoint  netip.AddrPort
	Handshake time.Time // zero for none
	Received  int64     // bytes
	Sent      int64
	Allowed   []netip.Prefix
	Keepalive time.Duration
}

// Device is one interface of WireGuard.
type Device interface {
	Name() string
	Kind() string // "kernel", or "user space" and why
	Port() (uint16, error)
	// SetKey gives the device its private key, if that differs from the one that it has.
	SetKey(private Key) error
	// Set adds peers or changes what differs of them; others stay as they are.
	Set(peers ...Peer) error
	Remove(keys ...Key) error
	Peers() (map[Key]State, error)
	Close() error
}

// Open makes the interface, or takes over the one that an earlier process left in the kernel. Port 0 lets the system choose.
func Open(name string, private Key, port uint16) (Device, error) {
	d, err := openKernel(name, private, port)
	if err == nil || !errors.Is(err, errNoKernel) {
		return d, err
	}
	u, uerr := openUser(name, private, port)
	if uerr != nil {
		return nil, fmt.Errorf("open a WireGuard device: %w; %w", err, uerr)
	}
	return u, nil
}

// errNoKernel tells that the kernel has no WireGuard.
var errNoKernel = errors.New("the kernel has no WireGuard")

// young is how long after a handshake a session carries data (REJECT_AFTER_TIME of WireGuard).
const young = 180 * time.Second

// Alive tells whether there is a session with a peer.
func (s State) Alive(now time.Time) bool { return now.Sub(s.Handshake) < young }

// same tells whether what the device has of a peer is what is wanted.
func (s State) same(p Peer) bool {
	return s.allows(p.Allowed) && s.Keepalive == p.Keepalive &&
		(!p.Endpoint.IsValid() || s.Endpoint == p.Endpoint)
}

// allows tells whether the device takes packets with these addresses, and no others, from a peer.
func (s State) allows(p netip.Prefix) bool {
	if !p.IsValid() {
		return len(s.Allowed) == 0
	}
	return len(s.Allowed) == 1 && s.Allowed[0] == p
}
