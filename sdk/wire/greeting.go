package wire

import (
	"encoding/binary"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Version is the version of the protocol that this package speaks.
const Version = 1

const (
	magic        = "CELL"
	greetingSize = len(magic) + 2
	maxName      = 255 // bytes of a name, a version or a hash in a greeting
	maxAccepts   = 64  // hashes of older schemas in a greeting
	maxAccepted  = 64  // bytes of each
)

// Hello is what one side tells the other about itself when a connection begins.
type Hello struct {
	Protocol uint16 // version of the protocol; filled in by this package
	MaxFrame uint64 // longest frame taken, in bytes after the header; 0 when not told
	MaxCalls uint64 // calls at once for one connection; 0 when not told
	Name     string // of the cell
	Version  string // of the cell
	Hash     string // wire hash of the cell's genome, hexadecimal

	// Accepts are the wire hashes of older schemas whose callers the server still answers; a client tells none. At most 64
	// of at most 64 bytes are told, longer ones are left out.
	Accepts []string
}

func appendHello(b []byte, h *Hello) []byte {
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint16(b, h.Protocol)
	b = appendUint(b, 1, h.MaxFrame)
	b = appendUint(b, 2, h.MaxCalls)
	b = appendText(b, 3, cut(h.Name, maxName))
	b = appendText(b, 4, cut(h.Version, maxName))
	b = appendText(b, 5, cut(h.Hash, maxName))
	left := maxAccepts
	for _, hash := range h.Accepts {
		if len(hash) <= maxAccepted && left > 0 {
			b = appendText(b, 6, hash)
			left--
		}
	}
	return b
}

func parseHello(b []byte) (*Hello, error) {
	if len(b) < greetingSize || string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("read greeting: the other side does not speak the protocol of cells")
	}
	h := &Hello{Protocol: binary.LittleEndian.Uint16(b[len(magic):])}
	if h.Protocol == 0 {
		return nil, fmt.Errorf("read greeting: protocol version 0")
	}
	err := eachField(b[greetingSize:], func(n protowire.Number, number uint64, data []byte) error {
		if len(data) > maxName && n >= 3 && n <= 5 {
			return fmt.Errorf("field %d has %d bytes, allowed are %d", n, len(data), maxName)
		}
		switch n {
		case 1:
			h.MaxFrame = number
		case 2:
			h.MaxCalls = number
		case 3:
			h.Name = text(data)
		case 4:
			h.Version = text(data)
		case 5:
			h.Hash = text(data)
		case 6:
			if len(data) > maxAccepted || len(h.Accepts) == maxAccepts {
				return fmt.Errorf("field 6 has %d bytes for the %dth time, allowed are %d bytes %d times",
					len(data), len(h.Accepts)+1, maxAccepted, maxAccepts)
			}
			h.Accepts = append(h.Accepts, text(data))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read greeting: %w", err)
	}
	return h, nil
}

// eachField calls f for every varint and every length-delimited field of b; it checks and skips the others. data aliases b.
func eachField(b []byte, f func(n protowire.Number, number uint64, data []byte) error) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return fmt.Errorf("malformed field: %v", protowire.ParseError(size))
		}
		b = b[size:]
		var number uint64
		var data []byte
		switch kind {
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			data, size = protowire.ConsumeBytes(b)
		default:
			size = protowire.ConsumeFieldValue(n, kind, b)
		}
		if size < 0 {
			return fmt.Errorf("malformed field %d: %v", n, protowire.ParseError(size))
		}
		b = b[size:]
		if kind == protowire.VarintType || kind == protowire.BytesType {
			if err := f(n, number, data); err != nil {
				return err
			}
		}
	}
	return nil
}

func appendUint(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func appendText(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func text(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

// cut shortens s to at most n bytes, not within a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
