package wire

import (
	"encoding/binary"
	"fmt"
)

// MaxFrame is the most bytes that may follow a frame's header.
const MaxFrame = 16 << 20

// MaxRequest is the longest request in bytes: a CALL's extension counts in the frame.
const MaxRequest = MaxFrame - extensionSize

// MaxIntroduction is the longest introduction in bytes.
const MaxIntroduction = 4 << 10

const (
	headerSize    = 16
	extensionSize = 48

	maxGreeting = 8 << 10
	maxGoAway   = 4 << 10
	maxPing     = 64
	creditSize  = 4
)

type frameType uint8

const (
	typeHello frameType = 1 + iota
	typeHelloAck
	typeCall
	typeResult
	typeError
	typeCancel
	typePing
	typePong
	typeGoAway
	typeData
	typeEnd
	typeCredit
	typeIntroduction
	typeSpan
	typeHandover
)

const (
	flagIgnorable   = 1
	flagNotExecuted = 2
)

// Flags of a CALL's extension; the second byte is the priority.
const (
	callOneWay = 1 << iota
	callItemsIn
	callItemsOut

	callPriority = 8 // bits to its left
)

var frameNames = [...]string{
	typeHello: "HELLO", typeHelloAck: "HELLO_ACK", typeCall: "CALL", typeResult: "RESULT", typeError: "ERROR",
	typeCancel: "CANCEL", typePing: "PING", typePong: "PONG", typeGoAway: "GOAWAY",
	typeData: "DATA", typeEnd: "END", typeCredit: "CREDIT", typeIntroduction: "INTRODUCTION",
	typeSpan: "SPAN", typeHandover: "HANDOVER",
}

func (t frameType) known() bool { return t >= typeHello && t <= typeHandover }

func (t frameType) String() string {
	if t.known() {
		return frameNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// limits says how many bytes may follow the header of a frame of this type, at least and at most.
func (t frameType) limits() (least, most int) {
	switch t {
	case typeHello, typeHelloAck:
		return greetingSize, maxGreeting
	case typeCall:
		return extensionSize, MaxFrame
	case typeCancel, typeEnd, typeHandover:
		return 0, 0
	case typeCredit:
		return creditSize, creditSize
	case typePing, typePong:
		return 0, maxPing
	case typeGoAway:
		return 8, maxGoAway
	case typeIntroduction:
		return 1, MaxIntroduction
	case typeSpan:
		return spanSize, maxSpan
	}
	return 0, MaxFrame
}

type header struct {
	length uint32
	kind   frameType
	flags  uint8
	id     uint64
}

// AppendIntroduction appends the frame that introduces a client; see Server.Introduce.
func AppendIntroduction(b, data []byte) []byte {
	return append(appendHeader(b, header{length: uint32(len(data)), kind: typeIntroduction, flags: flagIgnorable}), data...)
}

func appendHeader(b []byte, h header) []byte {
	b = binary.LittleEndian.AppendUint32(b, h.length)
	b = append(b, byte(h.kind), h.flags, 0, 0)
	return binary.LittleEndian.AppendUint64(b, h.id)
}

// parseHeader checks all that a header alone can tell; the type may be unknown when the frame can be skipped.
func parseHeader(b *[headerSize]byte) (header, error) {
	h := header{
		length: binary.LittleEndian.Uint32(b[0:]),
		kind:   frameType(b[4]),
		flags:  b[5],
		id:     binary.LittleEndian.Uint64(b[8:]),
	}
	if b[6] != 0 || b[7] != 0 {
		return h, fmt.Errorf("read frame: reserved bytes of the header are set")
	}
	if !h.kind.known() && h.flags&flagIgnorable == 0 {
		return h, fmt.Errorf("read frame: unknown %v", h.kind)
	}
	if least, most := h.kind.limits(); int64(h.length) < int64(least) || int64(h.length) > int64(most) {
		return h, fmt.Errorf("read frame: %v of %d bytes, allowed are %d to %d", h.kind, h.length, least, most)
	}
	return h, nil
}

// extension is what a CALL carries before its request.
type extension struct {
	method  uint32
	flags   uint32
	timeout uint64 // nanoseconds; 0 is none
	trace   [16]byte
	schema  uint64
	token   uint32
	attempt uint32
}

func appendExtension(b []byte, e *extension) []byte {
	b = binary.LittleEndian.AppendUint32(b, e.method)
	b = binary.LittleEndian.AppendUint32(b, e.flags)
	b = binary.LittleEndian.AppendUint64(b, e.timeout)
	b = append(b, e.trace[:]...)
	b = binary.LittleEndian.AppendUint64(b, e.schema)
	b = binary.LittleEndian.AppendUint32(b, e.token)
	return binary.LittleEndian.AppendUint32(b, e.attempt)
}

// parseExtension reads the first extensionSize bytes of b; b has at least as many.
func parseExtension(b []byte) (e extension) {
	e.method = binary.LittleEndian.Uint32(b[0:])
	e.flags = binary.LittleEndian.Uint32(b[4:])
	e.timeout = binary.LittleEndian.Uint64(b[8:])
	copy(e.trace[:], b[16:32])
	e.schema = binary.LittleEndian.Uint64(b[32:])
	e.token = binary.LittleEndian.Uint32(b[40:])
	e.attempt = binary.LittleEndian.Uint32(b[44:])
	return e
}
