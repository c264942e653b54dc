package paths

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cell-network/cell/cellnet/identity"
)

// Kind is one of a message.
type Kind uint8

// The kinds of messages between machines, which go through the tunnel: who sends one is known.
const (
	Ping  Kind = 1 + iota // a question
	Pong                  // its answer: At is where the one that asked is seen; both have a hash of the sender's records as Mark
	Knock                 // the receiver is to tell Key to try the sender
	Try                   // Key wants to be reached, and its packets come from At
	Relay                 // the receiver is to pass packets on between the sender and Key
	Carry                 // the sender passes packets of the receiver on to Key, from its UDP port Port
	Turn                  // the sender is about to turn to its next key of WireGuard
	kinds
)

// Message is one datagram.
type Message struct {
	Kind  Kind
	Nonce uint64 // of a question, and of its answer
	Key   identity.Key
	At    netip.AddrPort
	Port  uint16
	Mark  uint64
}

// fixed is how long a message without an endpoint is: kind, nonce, mark, port, key. An endpoint is an address of 4 or 16 bytes and a port.
const fixed = 1 + 8 + 8 + 2 + 32

// Append appends the message.
func (m Message) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(append(b, byte(m.Kind)), m.Nonce)
	b = binary.BigEndian.AppendUint64(b, m.Mark)
	b = append(binary.BigEndian.AppendUint16(b, m.Port), m.Key[:]...)
	if m.At.IsValid() {
		b = binary.BigEndian.AppendUint16(append(b, m.At.Addr().AsSlice()...), m.At.Port())
	}
	return b
}

// MaxMessage is the longest message in bytes.
const MaxMessage = fixed + 16 + 2

// Parse reads a message.
func Parse(b []byte) (m Message, err error) {
	if len(b) < fixed || Kind(b[0]) == 0 || Kind(b[0]) >= kinds {
		return m, errors.New("read message: it is none of a path")
	}
	m.Kind, m.Nonce, m.Mark, m.Port = Kind(b[0]), binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint64(b[9:]), binary.BigEndian.Uint16(b[17:])
	copy(m.Key[:], b[19:])
	if b = b[fixed:]; len(b) > 0 {
		a, ok := netip.AddrFromSlice(b[:max(0, len(b)-2)])
		if !ok {
			return m, fmt.Errorf("read message: an endpoint of %d bytes", len(b))
		}
		m.At = netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(b[len(b)-2:]))
		if a := m.At.Addr(); m.At.Port() == 0 || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return m, fmt.Errorf("read message: %v is no endpoint", m.At)
		}
	}
	if m.Kind == Try && !m.At.IsValid() || m.Kind == Carry && m.Port == 0 {
		return m, errors.New("read message: it lacks an endpoint")
	}
	return m, nil
}
