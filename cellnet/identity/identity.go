// Package identity says who a machine is and which addresses that gives it: everything is computed from keys, nothing is announced
// and nothing can be claimed. It is pure.
package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Key is the Ed25519 public key of a machine, and so its identity. It signs and is used for nothing else.
type Key [ed25519.PublicKeySize]byte

// Scheme is what a key's text begins with.
const Scheme = "cell://"

// String is the key as people see it.
func (k Key) String() string { return Scheme + base64.RawURLEncoding.EncodeToString(k[:]) }

// Short is enough of the key to tell machines of a tissue apart.
func (k Key) Short() string { return hex.EncodeToString(k[:4]) }

// Compare orders keys.
func (k Key) Compare(other Key) int { return strings.Compare(string(k[:]), string(other[:])) }

// KeyOf is the public part of a private key.
func KeyOf(private ed25519.PrivateKey) (k Key) {
	copy(k[:], private.Public().(ed25519.PublicKey))
	return k
}

// NewKey makes a private key.
func NewKey() ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	_, _ = rand.Read(seed) // never fails
	return ed25519.NewKeyFromSeed(seed)
}

// Tissue is the id of a set of machines that trust one another: the beginning of the SHA-256 of the record that founded it.
type Tissue [16]byte

// String is the id in hexadecimal.
func (t Tissue) String() string { return hex.EncodeToString(t[:]) }

// TissueOf is the id of the tissue that a record founds.
func TissueOf(record []byte) (t Tissue) {
	sum := sha256.Sum256(record)
	copy(t[:], sum[:])
	return t
}

// tagBits are those after which the addresses of a tissue differ. They only route: the whole id is in each node's part.
const (
	tagBits  = 32
	nodeBits = 112
)

// Prefix has the addresses of a tissue: fd, 24 bits that most likely differ from those of other tissues, and the rest.
func (t Tissue) Prefix() netip.Prefix {
	var a [16]byte
	sum := sha256.Sum256(append([]byte("cell tissue 1\x00"), t[:]...))
	a[0] = 0xfd
	copy(a[1:4], sum[:3])
	return netip.PrefixFrom(netip.AddrFrom16(a), tagBits)
}

// Node has the addresses of a machine and of its cells: the tissue's prefix and 80 bits of a hash of the tissue and the key.
// To find another key with the same ones takes 2^80 tries.
func (t Tissue) Node(k Key) netip.Prefix {
	a := t.Prefix().Addr().As16()
	sum := sha256.Sum256(append(append([]byte("cell address 1\x00"), t[:]...), k[:]...))
	copy(a[4:14], sum[:10])
	return netip.PrefixFrom(netip.AddrFrom16(a), nodeBits)
}

// Numbers within the addresses of a node.
const (
	NodeItself = 1      // of the machine: its daemon, and programs that are no cells
	FirstCell  = 16     // those before it are kept for the machine
	FirstUser  = 0xe000 // those from it on are of its users' programs
)

// Address is the one with a number among those of a node.
func Address(node netip.Prefix, number uint16) netip.Addr {
	a := node.Addr().As16()
	binary.BigEndian.PutUint16(a[14:], number)
	return netip.AddrFrom16(a)
}

// Number is that of an address among those of its node.
func Number(a netip.Addr) uint16 {
	b := a.As16()
	return binary.BigEndian.Uint16(b[14:])
}

// Of is the prefix of the node that an address belongs to.
func Of(a netip.Addr) netip.Prefix {
	p, _ := a.Prefix(nodeBits) // the address is one of IPv6
	return p
}

// ErrName tells that something cannot be a node's name.
var ErrName = errors.New("a name has small letters, digits and -, begins with a letter and is at most 63 characters long")

// CheckName tells whether s may be the name of a node or of a tissue: it is a label of DNS.
func CheckName(s string) error {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '-') {
			return fmt.Errorf("%q: %w", s, ErrName)
		}
	}
	if s == "" || len(s) > 63 || s[len(s)-1] == '-' {
		return fmt.Errorf("%q: %w", s, ErrName)
	}
	return nil
}

// NameFrom makes a name of whatever a machine is called.
func NameFrom(host string) string {
	host, _, _ = strings.Cut(strings.ToLower(host), ".")
	b := []byte{}
	for _, c := range []byte(host) {
		if c < '0' || c > '9' && c < 'a' || c > 'z' {
			c = '-'
		}
		if len(b) == 0 && (c < 'a' || c > 'z') {
			continue
		}
		b = append(b, c)
	}
	if name := strings.TrimRight(string(b[:min(len(b), 60)]), "-"); CheckName(name) == nil {
		return name
	}
	return "node"
}
