// Package record is the form of what the machines of a tissue tell one another: small facts, each signed by whoever answers for it.
// It is pure, and reads bytes of any origin.
package record

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cell-network/cell/cellnet/identity"
)

// Kind says what a record is about.
type Kind uint8

// The kinds, in the order in which they build on one another.
const (
	Founding   Kind = 1 + iota // of the tissue; its hash is the tissue's id
	Revocation                 // ends the membership of Subject, a key, for good
	Grant                      // lets Subject, a key, take machines in and evict them
	Member                     // makes Subject, a key, one of the tissue's for some days
	Invite                     // lets whoever has the key of Subject, one of WireGuard, ask to be taken in
	Redeemed                   // says that Subject, an invite and a key, has been used
	Node                       // facts of a machine that it states itself
	Cells                      // cells of a machine that it states itself; Subject is the number of the page
)

// kinds is how many there are.
const kinds = Cells

// String names the kind.
func (k Kind) String() string {
	names := [...]string{"", "founding", "revocation", "grant", "member", "invite", "redeemed", "node", "cells"}
	if int(k) < len(names) && k > 0 {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Owned tells whether whoever signs a record of the kind speaks of itself only, so that several may sign such a one.
func (k Kind) Owned() bool { return k == Node || k == Cells || k == Revocation || k == Redeemed }

// MaxSize is the longest record in bytes.
const MaxSize = 4 << 10

// maxSubject is the longest subject in bytes.
const maxSubject = 64

// signed goes before what is signed, so that a signature means nothing elsewhere.
const signed = "cell record 1\x00"

// Record is one signed fact. Of those with the same Slot the one with the higher Version holds.
type Record struct {
	Kind    Kind
	Tissue  identity.Tissue // zero in a founding record
	Signer  identity.Key
	Subject []byte
	Version uint64
	Issued  time.Time // by the signer's clock, which decides nothing
	Expires time.Time // zero for never
	Body    []byte    // a message of the kind

	raw []byte
}

// Sign makes the record: its fields, then 64 bytes of signature. Signer is set to the key's public part.
func (r *Record) Sign(key ed25519.PrivateKey) *Record {
	r.Signer = identity.KeyOf(key)
	r.Issued, r.Expires = r.Issued.Truncate(time.Second), r.Expires.Truncate(time.Second)
	b := appendUint(nil, 1, uint64(r.Kind))
	b = appendBytes(b, 2, r.Tissue[:])
	b = appendBytes(b, 3, r.Signer[:])
	b = appendBytes(b, 4, r.Subject)
	b = appendUint(b, 5, r.Version)
	b = appendUint(b, 6, uint64(r.Issued.Unix()))
	if !r.Expires.IsZero() {
		b = appendUint(b, 7, uint64(r.Expires.Unix()))
	}
	b = appendBytes(b, 8, r.Body)
	r.raw = append(b, ed25519.Sign(key, append([]byte(signed), b...))...)
	return r
}

// Raw are the bytes of a record that was signed or parsed.
func (r *Record) Raw() []byte { return r.raw }

// Parse reads a record and checks its signature. What it says, and whether its signer may say that, is for others to check.
func Parse(data []byte) (*Record, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("read record: %d bytes, allowed are %d", len(data), MaxSize)
	}
	at := len(data) - ed25519.SignatureSize
	if at < 0 {
		return nil, errors.New("read record: it is too short")
	}
	r := &Record{raw: bytes.Clone(data)}
	err := Fields(r.raw[:at], func(n protowire.Number, v uint64, b []byte) error {
		switch n {
		case 1:
			r.Kind = Kind(min(v, 255))
		case 2:
			return fixed(r.Tissue[:], b)
		case 3:
			return fixed(r.Signer[:], b)
		case 4:
			r.Subject = b
		case 5:
			r.Version = v
		case 6:
			r.Issued = unix(v)
		case 7:
			r.Expires = unix(v)
		case 8:
			r.Body = b
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("read record: %w", err)
	case r.Kind == 0 || r.Kind > kinds:
		return nil, fmt.Errorf("read record: %v is not known", r.Kind)
	case len(r.Subject) > maxSubject:
		return nil, fmt.Errorf("read record: a subject of %d bytes, allowed are %d", len(r.Subject), maxSubject)
	case !ed25519.Verify(r.Signer[:], append([]byte(signed), r.raw[:at]...), r.raw[at:]):
		return nil, errors.New("read record: the signature is not its signer's")
	}
	return r, nil
}

// Slot is what a record is about, as 16 bytes: of two records with the same one only the newer holds.
type Slot [16]byte

// Slot of the record.
func (r *Record) Slot() (s Slot) {
	h := sha256.New()
	h.Write([]byte{byte(r.Kind)})
	if r.Kind.Owned() {
		h.Write(r.Signer[:])
	}
	h.Write(r.Subject)
	copy(s[:], h.Sum(nil))
	return s
}

// Mark is a hash of the record as a whole.
func (r *Record) Mark() uint64 {
	sum := sha256.Sum256(r.raw)
	return binary.BigEndian.Uint64(sum[:])
}

// Newer tells whether the record takes the place of another one with the same slot. Of two with one version the one with the
// greater hash holds, at every machine.
func (r *Record) Newer(than *Record) bool {
	if r.Version != than.Version {
		return r.Version > than.Version
	}
	return r.Mark() > than.Mark()
}

// Key is the subject of a record that is about a machine.
func (r *Record) Key() (k identity.Key, ok bool) {
	return k, fixed(k[:], r.Subject) == nil
}

func fixed(into, b []byte) error {
	if len(b) != len(into) {
		return fmt.Errorf("%d bytes, wanted are %d", len(b), len(into))
	}
	copy(into, b)
	return nil
}

// farthest keeps times within what time.Time can hold.
const farthest = 1 << 40

func unix(v uint64) time.Time { return time.Unix(int64(min(v, farthest)), 0) }

func appendUint(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func appendBytes(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

func appendText(b []byte, n protowire.Number, v string) []byte { return appendBytes(b, n, []byte(v)) }

// Fields calls f for every number and every string of bytes; it checks and skips the rest.
func Fields(b []byte, f func(n protowire.Number, v uint64, b []byte) error) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		if size = protowire.ConsumeFieldValue(n, kind, b); size < 0 {
			return fmt.Errorf("field %d: %w", n, protowire.ParseError(size))
		}
		var err error
		switch kind {
		case protowire.VarintType:
			v, _ := protowire.ConsumeVarint(b)
			err = f(n, v, nil)
		case protowire.BytesType:
			v, _ := protowire.ConsumeBytes(b)
			err = f(n, 0, v)
		}
		if err != nil {
			return fmt.Errorf("field %d: %w", n, err)
		}
		b = b[size:]
	}
	return nil
}
