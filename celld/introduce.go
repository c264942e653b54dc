package celld

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/internal/durable"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/broker"
	"github.com/cell-network/cell/sdk/wire"
)

// OpenKey reads the key that introductions are signed with from the directory of celld's state, and makes one where there is
// none; cells find its public part beside celld's socket. The key outlives celld, so that a celld that restarts is believed.
func OpenKey(state, hub string) (ed25519.PrivateKey, error) {
	path := filepath.Join(state, "key")
	seed, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		seed = make([]byte, ed25519.SeedSize)
		_, _ = rand.Read(seed) // never fails
		err = durable.Write(path, seed, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("open the key of introductions: %w", err)
	}
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("open the key of introductions: %s has %d bytes, wanted are %d", path, len(seed), ed25519.SeedSize)
	}
	key := ed25519.NewKeyFromSeed(seed)
	if err := durable.Write(filepath.Join(hub, broker.PublicKeyFile), key.Public().(ed25519.PublicKey), 0o644); err != nil {
		return nil, fmt.Errorf("write the public key of introductions: %w", err)
	}
	return key, nil
}

// Introduced is a connection to a cell on which its caller was introduced.
type Introduced struct {
	Replicas int           // that the cell has
	Takes    time.Duration // what calls took there, as far as is known
	File     *os.File
	Confined bool // it leads to the instance and nowhere else, whatever its holder does
	Instance string
	Nonce    []byte // nil when the cell speaks http or tcp, which nothing is written to
	Expires  time.Time
}

// stream is what an introduction is written to.
type stream interface {
	io.Writer
	SetWriteDeadline(t time.Time) error
}

// nonce is that of a connection. Its second half says that this celld, or one before it, granted the connection to that caller
// and callee: nobody has to remember it for a renewal.
func (s *Server) nonce(random []byte, who Caller, instance string) []byte {
	mac := hmac.New(sha256.New, s.Key.Seed())
	fmt.Fprintf(mac, "nonce\\x00%s\\x00%d\\x00%s\\x00%s\\x00%x", who.Cell, who.UID, who.Node, instance, random)
	return append(bytes.Clone(random), mac.Sum(nil)[:16]...)
}

// introduction signs who calls which instance over the connection.
func (s *Server) introduction(who Caller, instance string, nonce []byte, denied []string) ([]byte, time.Time) {
	lifetime := broker.Lifetime
	if s.Lifetime > 0 {
		lifetime = min(lifetime, s.Lifetime)
	}
	i := broker.Introduction{
		Cell: who.Cell, UID: uint32(who.UID), Node: who.Node, Callee: instance, Nonce: nonce, Denied: denied,
		Expires: time.Now().Add(lifetime).Truncate(time.Second),
	}
	return i.Sign(s.Key), i.Expires
}

// introduce writes into a connection who is about to use it.
func (s *Server) introduce(c stream, who Caller, instance string, denied []string) (nonce []byte, expires time.Time, err error) {
	random := make([]byte, 16)
	_, _ = rand.Read(random) // never fails
	nonce = s.nonce(random, who, instance)
	data, expires := s.introduction(who, instance, nonce, denied)
	_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // nothing was written before: it does not wait
	if _, err := c.Write(wire.AppendIntroduction(nil, data)); err != nil {
		return nil, expires, failure(api.ErrNotReady, "introduce %s to %s: %v", who, instance, err)
	}
	return nonce, expires, c.SetWriteDeadline(time.Time{})
}

// Renew makes the introduction of a connection that was granted to the caller anew, as far as the caller may still call.
func (s *Server) Renew(ctx context.Context, who Caller, target, hash, instance string, nonce []byte) ([]byte, time.Time, error) {
	if strings.Contains(instance, "@") {
		if _, ok := s.elsewhere(who, target); !ok {
			return nil, time.Time{}, failure(api.ErrDenied, "%s no longer names %s, or this machine has left the tissue", who, target)
		}
		return s.renewElsewhere(ctx, who, instance, hash, nonce)
	}
	name, err := s.reaches(who, target, hash)
	if err != nil {
		return nil, time.Time{}, err
	}
	if unit.Base(instance) != unit.Base(name) {
		return nil, time.Time{}, failure(api.ErrDenied, "%s is no instance of %s", instance, name)
	}
	if len(nonce) != 32 || !hmac.Equal(nonce, s.nonce(nonce[:16], who, instance)) {
		return nil, time.Time{}, failure(api.ErrDenied, "the connection to %s was not granted to %s", instance, who)
	}
	denied, err := s.mayCall(who, instance)
	if err != nil {
		return nil, time.Time{}, err
	}
	data, expires := s.introduction(who, instance, nonce, denied)
	return data, expires, nil
}
