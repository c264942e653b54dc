// Package join has the token with which a machine is taken into a tissue. It is pure.
package join

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/record"
	"github.com/cell-network/cell/cellnet/wg"
)

// Token is what a person carries from one machine to another. Whoever has it can ask to be taken in, until it has expired or was
// used: it holds the private key of the invite.
type Token struct {
	Tissue  identity.Tissue
	Name    string // of the tissue
	Secret  wg.Key // private key of WireGuard, of the invite
	Expires time.Time
	Seeds   []Seed
}

// Seed is a machine that may take the joining one in.
type Seed struct {
	Node      identity.Key
	WireGuard wg.Key
	Endpoints []netip.AddrPort
}

const (
	prefix   = "cell1."
	maxToken = 4 << 10
	maxSeeds = 8
)

// String is the token as a person sees it. Its last bytes are a checksum, so that one that was not copied whole is told from one
// that is not accepted.
func (t Token) String() string {
	b := appendBytes(nil, 1, t.Tissue[:])
	b = appendBytes(b, 2, []byte(t.Name))
	b = appendBytes(b, 3, t.Secret[:])
	b = protowire.AppendVarint(protowire.AppendTag(b, 4, protowire.VarintType), uint64(t.Expires.Unix()))
	for _, s := range t.Seeds[:min(len(t.Seeds), maxSeeds)] {
		var m []byte
		m = appendBytes(m, 1, s.Node[:])
		m = appendBytes(m, 2, s.WireGuard[:])
		for _, e := range s.Endpoints {
			m = appendBytes(m, 3, record.AppendEndpoint(e))
		}
		b = appendBytes(b, 5, m)
	}
	sum := sha256.Sum256(b)
	return prefix + base64.RawURLEncoding.EncodeToString(append(b, sum[:4]...))
}

func appendBytes(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

// Parse reads a token of any origin.
func Parse(s string) (t Token, err error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(s), prefix)
	if !ok || len(text) > maxToken {
		return t, fmt.Errorf("that is not a token of cell invite, which begins with %q", prefix)
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < 4 {
		return t, errors.New("the token was not copied whole")
	}
	sum := sha256.Sum256(b[:len(b)-4])
	if string(sum[:4]) != string(b[len(b)-4:]) {
		return t, errors.New("the token was not copied whole")
	}
	err = record.Fields(b[:len(b)-4], func(n protowire.Number, v uint64, b []byte) error {
		switch n {
		case 1:
			return fixed(t.Tissue[:], b)
		case 2:
			t.Name = string(b)
			return identity.CheckName(t.Name)
		case 3:
			return fixed(t.Secret[:], b)
		case 4:
			t.Expires = time.Unix(int64(min(v, 1<<40)), 0)
		case 5:
			seed, err := parseSeed(b)
			if len(t.Seeds) < maxSeeds {
				t.Seeds = append(t.Seeds, seed)
			}
			return err
		}
		return nil
	})
	switch {
	case err != nil:
		return t, fmt.Errorf("read the token: %w", err)
	case t.Secret == wg.Key{} || len(t.Seeds) == 0 || t.Name == "":
		return t, errors.New("the token names nobody who could take this machine in")
	}
	return t, nil
}

func parseSeed(b []byte) (s Seed, err error) {
	err = record.Fields(b, func(n protowire.Number, _ uint64, b []byte) error {
		switch n {
		case 1:
			return fixed(s.Node[:], b)
		case 2:
			return fixed(s.WireGuard[:], b)
		case 3:
			e, err := record.ParseEndpoint(b)
			if err == nil && len(s.Endpoints) < 8 {
				s.Endpoints = append(s.Endpoints, e)
			}
		}
		return nil
	})
	return s, err
}

func fixed(into, b []byte) error {
	if len(b) != len(into) {
		return fmt.Errorf("%d bytes, wanted are %d", len(b), len(into))
	}
	copy(into, b)
	return nil
}
