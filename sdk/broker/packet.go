// Package broker asks celld to connect a program to a cell. celld looks who asks, decides, connects and hands over the
// connected descriptor; it is out of the path then. Requests and answers are packets on a Unix socket of type SOCK_SEQPACKET,
// in protobuf's wire format.
package broker

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// MaxPacket is the longest request or answer in bytes.
const MaxPacket = 4 << 10

// maxText keeps texts of an answer within a packet.
const maxText = 2 << 10

// Op says what a request is for.
type Op uint32

// The operations.
const (
	OpConnect   Op = 1 + iota // connect to Target
	OpSpawn                   // start Target and what is below it
	OpStop                    // stop Target and what is below it
	OpReplicate               // run Number replicas of Target
	OpWatch                   // tell what happens to Target and below it, in an answer for each event
	OpRenew                   // make the introduction of a connection to Target anew; Instance and Nonce say which
	OpMeasure                 // read the table of package stats, whose descriptor comes along, until the connection ends
	OpServe                   // take questions for connections to the port that the caller's program insists on, until the connection ends
	OpOwn                     // connect to the caller itself
	OpHealth                  // note how the caller is: well when Number is 1, else as Target says
	OpCopied                  // note that a connection to Target that a program was to have is copied to it
)

// What Number of OpConnect says of who connects in a program's name. The program gets the connection itself where it is of the wished kind.
const (
	WantsTCP  = 1 << iota // it has a TCP socket
	WantsUnix             // it has a Unix socket
	Copies                // it gets a copy of what comes, whatever the kind
)

// Code says how a request ended.
type Code uint32

// The codes, in their values on the wire.
const (
	OK Code = iota
	NotFound
	Denied
	NotReady
	Invalid
	Failed
)

var codeNames = [...]string{"ok", "not found", "denied", "not ready", "invalid request", "failed"}

func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code %d", uint32(c))
}

// Request is one question to celld.
type Request struct {
	Op       Op
	Target   string // as the caller's cell.toml names a cell, or a cell's name in full
	Hash     string // wire hash of the genome that the caller was built with
	Sequence uint64 // comes back in the answer
	Number   uint64
	Instance string
	Nonce    []byte
	Avoid    []string // instances that are connected to only when no other one listens; at most 16 are told
}

const maxAvoid = 16

// Answer is what celld says. With the code OK a descriptor comes along.
type Answer struct {
	Code     Code
	Message  string
	Instance string // name of the instance that was connected, or that an event is about
	Sequence uint64

	// Of an event; its cause is Message.
	Event string
	Time  int64 // nanoseconds since 1970

	// Of a connection to a cell that is introduced to, and of a renewal, which has the signed introduction too.
	Nonce        []byte
	Expires      int64 // seconds since 1970
	Introduction []byte

	Replicas uint64 // that the connected cell has
	Takes    uint64 // nanoseconds that half of the calls took there lately, 0 when that is not known

	// Whether a program may have the connection itself: it leads to the called cell and, whatever is done to it, nowhere else.
	Confined bool
}

// Append appends the packet to b.
func (r *Request) Append(b []byte) []byte {
	b = appendUint(b, 1, uint64(r.Op))
	b = appendText(b, 2, r.Target)
	b = appendText(b, 3, r.Hash)
	b = appendUint(b, 4, r.Sequence)
	b = appendUint(b, 5, r.Number)
	if r.Instance != "" {
		b = appendText(b, 6, r.Instance)
	}
	if len(r.Nonce) > 0 {
		b = appendRaw(b, 7, r.Nonce)
	}
	for _, instance := range r.Avoid[:min(len(r.Avoid), maxAvoid)] {
		b = appendText(b, 8, instance)
	}
	return b
}

// ParseRequest reads a packet of any origin.
func ParseRequest(b []byte) (r Request, err error) {
	err = fields(b, func(n protowire.Number, number uint64, text string, raw []byte) {
		switch n {
		case 1:
			r.Op = Op(min(number, 1<<32-1))
		case 2:
			r.Target = text
		case 3:
			r.Hash = text
		case 4:
			r.Sequence = number
		case 5:
			r.Number = number
		case 6:
			r.Instance = text
		case 7:
			r.Nonce = some(raw)
		case 8:
			if len(r.Avoid) < maxAvoid {
				r.Avoid = append(r.Avoid, text)
			}
		}
	})
	return r, err
}

// Append appends the packet to b; texts that are too long are cut.
func (a *Answer) Append(b []byte) []byte {
	b = appendUint(b, 1, uint64(a.Code))
	b = appendText(b, 2, cut(a.Message))
	b = appendText(b, 3, a.Instance)
	b = appendUint(b, 4, a.Sequence)
	if a.Event != "" {
		b = appendText(b, 5, a.Event)
		b = appendUint(b, 6, uint64(a.Time))
	}
	if len(a.Nonce) > 0 {
		b = appendRaw(b, 7, a.Nonce)
		b = appendUint(b, 8, uint64(a.Expires))
	}
	if len(a.Introduction) > 0 {
		b = appendRaw(b, 9, a.Introduction)
	}
	if a.Replicas > 0 {
		b = appendUint(b, 10, a.Replicas)
	}
	if a.Takes > 0 {
		b = appendUint(b, 11, a.Takes)
	}
	if a.Confined {
		b = appendUint(b, 12, 1)
	}
	return b
}

// ParseAnswer reads a packet.
func ParseAnswer(b []byte) (a Answer, err error) {
	err = fields(b, func(n protowire.Number, number uint64, text string, raw []byte) {
		switch n {
		case 1:
			a.Code = Code(min(number, 1<<32-1))
		case 2:
			a.Message = text
		case 3:
			a.Instance = text
		case 4:
			a.Sequence = number
		case 5:
			a.Event = text
		case 6:
			a.Time = int64(number)
		case 7:
			a.Nonce = some(raw)
		case 8:
			a.Expires = int64(number)
		case 9:
			a.Introduction = some(raw)
		case 10:
			a.Replicas = number
		case 11:
			a.Takes = number
		case 12:
			a.Confined = number == 1
		}
	})
	return a, err
}

func appendUint(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func appendText(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

// some is a copy of raw, nil when there is nothing.
func some(raw []byte) []byte { return append([]byte(nil), raw...) }

func appendRaw(b []byte, n protowire.Number, raw []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), raw)
}

func cut(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "")
}

// fields calls f for every number and every text, which is given as it is, too; it checks and skips the rest.
func fields(b []byte, f func(n protowire.Number, number uint64, text string, raw []byte)) error {
	if len(b) > MaxPacket {
		return fmt.Errorf("read packet: %d bytes, allowed are %d", len(b), MaxPacket)
	}
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return fmt.Errorf("read packet: %w", protowire.ParseError(size))
		}
		b = b[size:]
		if size = protowire.ConsumeFieldValue(n, kind, b); size < 0 {
			return fmt.Errorf("read packet: field %d: %w", n, protowire.ParseError(size))
		}
		switch kind {
		case protowire.VarintType:
			v, _ := protowire.ConsumeVarint(b)
			f(n, v, "", nil)
		case protowire.BytesType:
			v, _ := protowire.ConsumeBytes(b)
			f(n, 0, strings.ToValidUTF8(string(v), "\uFFFD"), v)
		}
		b = b[size:]
	}
	return nil
}
