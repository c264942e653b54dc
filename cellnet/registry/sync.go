package registry

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/cell-network/cell/cellnet/record"
)

// Buckets is into how many parts the records are divided when two machines compare what they have.
const Buckets = 256

// bucket is a hash of a set of records: the sum, without carry, of a hash of each.
type bucket uint64

func (b *bucket) flip(slot record.Slot, rec *record.Record) {
	*b ^= bucket(binary.BigEndian.Uint64(slot[1:9]) ^ rec.Mark())
}

// Summary is a hash of each bucket.
type Summary [Buckets]uint64

// Summary of what is held.
func (r *Registry) Summary() (s Summary) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i, b := range r.buckets {
		s[i] = uint64(b)
	}
	return s
}

// Mark is a hash of all that is held.
func (r *Registry) Mark() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	h := fnv.New64a()
	var b [8]byte
	for _, one := range r.buckets {
		binary.BigEndian.PutUint64(b[:], uint64(one))
		_, _ = h.Write(b[:])
	}
	return h.Sum64()
}

// Differ are the buckets in which two summaries differ.
func (s Summary) Differ(other Summary) (buckets []int) {
	for i := range s {
		if s[i] != other[i] {
			buckets = append(buckets, i)
		}
	}
	return buckets
}

// Append appends the summary, 8 bytes for each bucket.
func (s Summary) Append(b []byte) []byte {
	for _, one := range s {
		b = binary.BigEndian.AppendUint64(b, one)
	}
	return b
}

// ParseSummary reads a summary.
func ParseSummary(b []byte) (s Summary, err error) {
	if len(b) != 8*Buckets {
		return s, fmt.Errorf("read summary: %d bytes, wanted are %d", len(b), 8*Buckets)
	}
	for i := range s {
		s[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return s, nil
}

// Mark says which record of a slot a machine has.
type Mark struct {
	Slot    record.Slot
	Version uint64
	Hash    uint64
}

// markSize is that of a mark in bytes.
const markSize = 16 + 8 + 8

// AppendMarks appends marks: slot, version and hash of each.
func AppendMarks(b []byte, all []Mark) []byte {
	for _, m := range all {
		b = append(b, m.Slot[:]...)
		b = binary.BigEndian.AppendUint64(b, m.Version)
		b = binary.BigEndian.AppendUint64(b, m.Hash)
	}
	return b
}

// ParseMarks reads marks.
func ParseMarks(b []byte) (all []Mark, err error) {
	if len(b)%markSize != 0 {
		return nil, fmt.Errorf("read marks: %d bytes", len(b))
	}
	for ; len(b) > 0; b = b[markSize:] {
		all = append(all, Mark{record.Slot(b[:16]), binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:])})
	}
	return all, nil
}

// Marks are those of the records in some buckets.
func (r *Registry) Marks(buckets []int) (marks []Mark) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for slot, rec := range r.slots {
		if slices.Contains(buckets, int(slot[0])) {
			marks = append(marks, Mark{slot, rec.Version, rec.Mark()})
		}
	}
	return marks
}

// Compare says what another machine, which has these marks in those buckets, lacks, and which slots it has something newer for.
func (r *Registry) Compare(buckets []int, theirs []Mark) (lacks [][]byte, wanted []record.Slot) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	known := make(map[record.Slot]Mark, len(theirs))
	for _, m := range theirs {
		known[m.Slot] = m
		if own := r.slots[m.Slot]; own == nil || m.Version > own.Version || m.Version == own.Version && m.Hash > own.Mark() {
			wanted = append(wanted, m.Slot)
		}
	}
	for slot, rec := range r.slots {
		if !slices.Contains(buckets, int(slot[0])) {
			continue
		}
		m, ok := known[slot]
		if !ok || rec.Version > m.Version || rec.Version == m.Version && rec.Mark() > m.Hash {
			lacks = append(lacks, rec.Raw())
		}
	}
	return lacks, wanted
}

// Get are the records of some slots, as far as they are held.
func (r *Registry) Get(slots []record.Slot) (raws [][]byte) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, s := range slots {
		if rec := r.slots[s]; rec != nil {
			raws = append(raws, rec.Raw())
		}
	}
	return raws
}

// All are all records.
func (r *Registry) All() (raws [][]byte) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, rec := range r.slots {
		raws = append(raws, rec.Raw())
	}
	return raws
}
