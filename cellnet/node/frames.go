package node

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
)

func hexBytes(s string) ([]byte, error) { return hex.DecodeString(s) }

// Limits of messages in bytes.
const (
	maxCall    = 8 << 10
	maxJoin    = 8 << 10
	maxRecords = 64 << 20
)

// send writes a message: its length in 4 bytes, then JSON.
func send(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// receive reads a message of at most that many bytes, and not a byte more than it.
func receive(r io.Reader, most int, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if uint64(n) > uint64(most) {
		return fmt.Errorf("read message: %d bytes, allowed are %d", n, most)
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err == nil && len(b) < int(n) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	return nil
}
