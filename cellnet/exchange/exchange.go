// Package exchange makes two machines have the records that either has, over any connection: they send each other only what differs.
package exchange

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/cell-network/cell/cellnet/record"
	"github.com/cell-network/cell/cellnet/registry"
)

const (
	// Round is how often a machine asks some others whether they have the same records.
	Round = 2 * time.Second
	// Some is how many those are, and Many how many are asked at once when there are news.
	Some, Many = 4, 16
	// MaxMessage is the longest message in bytes, MaxFirst the longest that comes first.
	MaxMessage, MaxFirst = 64 << 20, 16 << 10
)

// Message is one of two machines that compare their records. They take turns: a summary, the other's when it differs, marks of what
// differs, what the asking side lacks and what the other wants, and that.
type Message struct {
	Summary []byte          `json:"summary,omitempty"`
	Same    bool            `json:"same,omitempty"`
	Buckets []int           `json:"buckets,omitempty"`
	Marks   []byte          `json:"marks,omitempty"`
	Records [][]byte        `json:"records,omitempty"`
	Wanted  []byte          `json:"wanted,omitempty"` // slots, one behind the other
	Why     json.RawMessage `json:"why,omitempty"`    // a question of another kind, instead of a comparison
}

// Ask begins a comparison.
func Ask(c io.ReadWriter, reg *registry.Registry) error {
	own := reg.Summary()
	if err := Send(c, Message{Summary: own.Append(nil)}); err != nil {
		return err
	}
	var theirs Message
	if err := Receive(c, MaxMessage, &theirs); err != nil || theirs.Same {
		return err
	}
	summary, err := registry.ParseSummary(theirs.Summary)
	if err != nil {
		return err
	}
	buckets := own.Differ(summary)
	if err := Send(c, Message{Buckets: buckets, Marks: registry.AppendMarks(nil, reg.Marks(buckets))}); err != nil {
		return err
	}
	var missing Message
	if err := Receive(c, MaxMessage, &missing); err != nil {
		return err
	}
	wanted, err := slots(missing.Wanted)
	if err != nil {
		return err
	}
	if err := Send(c, Message{Records: reg.Get(wanted)}); err != nil {
		return err
	}
	_, refused := reg.Apply(missing.Records)
	var done Message
	err = Receive(c, MaxMessage, &done)
	return errors.Join(err, refusals(refused))
}

// Answer is the other side of Ask, after the first message. It tells how many records were new.
func Answer(c io.ReadWriter, reg *registry.Registry, first Message) (news int, err error) {
	theirs, err := registry.ParseSummary(first.Summary)
	if err != nil {
		return 0, err
	}
	own := reg.Summary()
	if theirs == own {
		return 0, Send(c, Message{Same: true})
	}
	if err := Send(c, Message{Summary: own.Append(nil)}); err != nil {
		return 0, err
	}
	var differ Message
	if err := Receive(c, MaxMessage, &differ); err != nil {
		return 0, err
	}
	marks, err := registry.ParseMarks(differ.Marks)
	if err != nil {
		return 0, err
	}
	lacks, wanted := reg.Compare(differ.Buckets, marks)
	reply := Message{Records: lacks}
	for _, s := range wanted {
		reply.Wanted = append(reply.Wanted, s[:]...)
	}
	if err := Send(c, reply); err != nil {
		return 0, err
	}
	var given Message
	if err := Receive(c, MaxMessage, &given); err != nil {
		return 0, err
	}
	got, refused := reg.Apply(given.Records)
	return len(got), errors.Join(refusals(refused), Send(c, Message{Same: true}))
}

func refusals(refused []registry.Refused) error {
	if len(refused) == 0 {
		return nil
	}
	return fmt.Errorf("%d records were refused, the first: %w", len(refused), refused[0].Err)
}

func slots(b []byte) (all []record.Slot, err error) {
	size := len(record.Slot{})
	if len(b)%size != 0 {
		return nil, fmt.Errorf("read message: slots of %d bytes", len(b))
	}
	for ; len(b) > 0; b = b[size:] {
		all = append(all, record.Slot(b[:size]))
	}
	return all, nil
}

// Choose chooses some of all at random, whose order it changes.
func Choose[T any](all []T, most int) []T {
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(len(all), most)]
}

// Send writes a message: its length in 4 bytes, then JSON.
func Send(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// Receive reads a message of at most that many bytes, and not a byte more than it.
func Receive(r io.Reader, most int, v any) error {
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
