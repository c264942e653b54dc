package broker

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Introduction says who is at the other end of a connection. celld writes one into the connection before it hands it over, so
// it is what the kernel says of the caller and never what that says of itself.
type Introduction struct {
	Cell    string // instance that calls, as in "shop.web:2"; empty for a program that is no cell
	UID     uint32 // user that calls
	Callee  string // instance that is called; nobody else takes the introduction
	Nonce   []byte // of the connection; on no other one is the introduction taken
	Expires time.Time
	Denied  []string // methods that the caller may not call
	Node    string   // name of the machine that the caller is on; empty when it is the callee's own
}

// Limits of an introduction.
const (
	Lifetime  = 10 * time.Minute // the most from its making to its expiry
	nonceSize = 32
	maxDenied = 64
)

// PublicKeyFile is beside celld's socket and holds the key with which introductions are checked, 32 bytes.
const PublicKeyFile = "celld.pub"

// signed goes before what is signed, so that a signature means nothing elsewhere.
const signed = "cell introduction 1\x00"

// Sign writes the introduction: its fields, then 64 bytes of signature.
func (i *Introduction) Sign(key ed25519.PrivateKey) []byte {
	b := appendText(nil, 1, i.Cell)
	b = appendUint(b, 2, uint64(i.UID))
	b = appendText(b, 3, i.Callee)
	b = appendRaw(b, 4, i.Nonce)
	b = appendUint(b, 5, uint64(i.Expires.Unix()))
	for _, m := range i.Denied {
		b = appendText(b, 6, m)
	}
	if i.Node != "" {
		b = appendText(b, 7, i.Node)
	}
	return append(b, ed25519.Sign(key, append([]byte(signed), b...))...)
}

// OpenIntroduction checks the signature of an introduction and reads it. Whether it is for this callee, this connection and
// this time is the caller's to check.
func OpenIntroduction(key ed25519.PublicKey, data []byte) (*Introduction, error) {
	at := len(data) - ed25519.SignatureSize
	if len(key) != ed25519.PublicKeySize || at < 0 || !ed25519.Verify(key, append([]byte(signed), data[:at]...), data[at:]) {
		return nil, errors.New("introduction: the signature is not celld's")
	}
	i, err := parseIntroduction(data[:at])
	if err != nil {
		return nil, fmt.Errorf("introduction: %w", err)
	}
	return i, nil
}

func parseIntroduction(b []byte) (*Introduction, error) {
	i := &Introduction{}
	err := fields(b, func(n protowire.Number, number uint64, text string, raw []byte) {
		switch n {
		case 1:
			i.Cell = text
		case 2:
			i.UID = uint32(number)
		case 3:
			i.Callee = text
		case 4:
			i.Nonce = some(raw)
		case 5:
			i.Expires = time.Unix(int64(number), 0)
		case 6:
			i.Denied = append(i.Denied, text)
		case 7:
			i.Node = text
		}
	})
	switch {
	case err != nil:
		return nil, err
	case i.Callee == "" || len(i.Nonce) != nonceSize:
		return nil, errors.New("it names no callee or no connection")
	case len(i.Denied) > maxDenied:
		return nil, fmt.Errorf("%d methods are denied, at most %d can be told", len(i.Denied), maxDenied)
	}
	return i, nil
}

// Grant is a connection's introduction as the caller knows it.
type Grant struct {
	Target   string        // as the caller named it
	Hash     string        // of the genome that the caller was built with
	Instance string        // that was connected
	Replicas int           // that the cell has
	Takes    time.Duration // what half of the calls took there lately, 0 when that is not known
	Nonce    []byte
	Expires  time.Time
}
