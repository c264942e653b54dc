// Package statement says of an image of a donor which version it is and what its bytes are, signed by whoever made it.
package statement

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Suffix is what the statement's file has behind the name of the image.
const Suffix = ".sig"

// MaxSize is more than any statement has, in bytes.
const MaxSize = 4096

// Statement is what is signed.
type Statement struct {
	Version uint64
	Size    int64 // bytes
	SHA256  [sha256.Size]byte
}

// first begins the text, so that nothing else that a key has signed is taken for one.
const first = "cell-donor"

// errStatement says that a text is none.
var errStatement = errors.New("it is no signed statement of an image")

func (s Statement) line() string {
	return fmt.Sprintf("%s %d %d %x\n", first, s.Version, s.Size, s.SHA256)
}

// Of reads an image to its end and states it.
func Of(version uint64, image io.Reader) (Statement, error) {
	s, h := Statement{Version: version}, sha256.New()
	n, err := io.Copy(h, image)
	s.Size = n
	h.Sum(s.SHA256[:0])
	return s, err
}

// Sign makes the statement's file: its line and, on another, the signature in base64.
func (s Statement) Sign(key ed25519.PrivateKey) []byte {
	return fmt.Appendf(nil, "%s%s\n", s.line(), base64.StdEncoding.EncodeToString(ed25519.Sign(key, []byte(s.line()))))
}

// Verify reads a statement's file that a key has to have signed.
func Verify(file []byte, key ed25519.PublicKey) (Statement, error) {
	line, sig, ok := bytes.Cut(file, []byte("\n"))
	signature, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(sig)))
	if !ok || err != nil || len(file) > MaxSize || len(key) != ed25519.PublicKeySize {
		return Statement{}, errStatement
	}
	if !ed25519.Verify(key, append(line, '\n'), signature) {
		return Statement{}, errors.New("the image is not signed by this key")
	}
	words := strings.Split(string(line), " ")
	if len(words) != 4 || words[0] != first {
		return Statement{}, errStatement
	}
	version, verr := strconv.ParseUint(words[1], 10, 64)
	size, zerr := strconv.ParseInt(words[2], 10, 64)
	sum, herr := hex.DecodeString(words[3])
	if errors.Join(verr, zerr, herr) != nil || len(sum) != sha256.Size {
		return Statement{}, errStatement
	}
	s := Statement{Version: version, Size: size, SHA256: [sha256.Size]byte(sum)}
	if s.line() != string(line)+"\n" { // one way to write it, and no other
		return Statement{}, errStatement
	}
	return s, nil
}

// PrivateKey reads one of Ed25519 in PEM, as openssl genpkey -algorithm ed25519 makes it.
func PrivateKey(text []byte) (ed25519.PrivateKey, error) {
	if b, _ := pem.Decode(text); b != nil {
		if k, err := x509.ParsePKCS8PrivateKey(b.Bytes); err == nil {
			if key, ok := k.(ed25519.PrivateKey); ok {
				return key, nil
			}
		}
	}
	return nil, errors.New("it is no private key of Ed25519 in PEM (make one with openssl genpkey -algorithm ed25519)")
}

// PublicKey writes the public part in PEM.
func PublicKey(key ed25519.PrivateKey) ([]byte, error) {
	b, err := x509.MarshalPKIXPublicKey(key.Public())
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: b}), err
}

// ParsePublicKey reads what PublicKey wrote, or takes the public part of what PrivateKey reads.
func ParsePublicKey(text []byte) (ed25519.PublicKey, error) {
	if b, _ := pem.Decode(text); b != nil {
		if k, err := PrivateKey(text); err == nil {
			return k.Public().(ed25519.PublicKey), nil
		}
		if k, err := x509.ParsePKIXPublicKey(b.Bytes); err == nil {
			if key, ok := k.(ed25519.PublicKey); ok {
				return key, nil
			}
		}
	}
	return nil, errors.New("it is no key of Ed25519 in PEM")
}
