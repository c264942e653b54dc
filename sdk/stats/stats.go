// Package stats is the table in which a cell counts its calls: memory that the cell writes and celld reads, without a call and
// without a lock between them. A reader may see a call half counted, and the next time whole.
package stats

import (
	"fmt"
	"math/bits"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The table is words of 64 bits in the machine's order: a header, two windows of what happened lately, in which the cell as a
// whole counts by turns, then a record for each method.
//
//	header: magic, version, number of records, words of a record
//	window: its number, which is the time since 1970 in Windows, errors, ended within each of the Buckets
//	record: name (8 words, padded with 0), in flight, bytes in, bytes out, nanoseconds,
//	        ended with each of the Codes, ended within each of the Buckets
const (
	magic       = 0x5441_5453_4c4c_4543 // "CELLSTAT"
	version     = 2
	headerWords = 4

	windowErrors  = 1
	windowLatency = 2
	windowWords   = windowLatency + Buckets
	firstRecord   = headerWords + 2*windowWords

	nameWords   = 8
	inFlight    = nameWords
	bytesIn     = inFlight + 1
	bytesOut    = inFlight + 2
	nanoseconds = inFlight + 3
	ended       = inFlight + 4
	latency     = ended + Codes
	recordWords = latency + Buckets

	maxMethods = 4096
)

// Codes is how many ways of ending are told apart: 0 for a result, then the codes of errors on the wire; what is above
// counts as the last.
const Codes = 9

// Buckets of a Histogram: four for each power of two from about a microsecond to two minutes, and one below and above.
const Buckets = 2 + 4*(lastPower-firstPower)

const firstPower, lastPower = 10, 37

// Histogram counts calls by how long they took.
type Histogram [Buckets]uint64

func bucket(d time.Duration) int {
	n := uint64(max(d, 0))
	power := bits.Len64(n) - 1
	switch {
	case power < firstPower:
		return 0
	case power >= lastPower:
		return Buckets - 1
	}
	return 1 + 4*(power-firstPower) + int(n>>(power-2)&3)
}

// Bound is the longest time that bucket i counts, exclusively; 0 for the last, which has none.
func Bound(i int) time.Duration {
	switch {
	case i == 0:
		return 1 << firstPower
	case i >= Buckets-1:
		return 0
	}
	power, quarter := firstPower+(i-1)/4, (i-1)%4
	return time.Duration(1)<<power + time.Duration(quarter+1)<<(power-2)
}

// Quantile is the time within which that part of the calls ended, from 0 to 1; 0 without any.
func (h *Histogram) Quantile(q float64) time.Duration {
	var all uint64
	for _, n := range h {
		all += n
	}
	if all == 0 {
		return 0
	}
	rank, seen := uint64(q*float64(all-1)), uint64(0)
	for i, n := range h {
		if seen += n; seen > rank {
			if i == Buckets-1 {
				return 1 << lastPower
			}
			return Bound(i)
		}
	}
	return 0
}

// Method is a method's record as it was read.
type Method struct {
	Name     string        `json:"name"`
	InFlight int64         `json:"in_flight"`
	BytesIn  uint64        `json:"bytes_in"`
	BytesOut uint64        `json:"bytes_out"`
	Time     time.Duration `json:"ns"` // of all calls together
	Ended    [Codes]uint64 `json:"ended"`
	Latency  Histogram     `json:"latency"`
}

// Table is what a cell writes.
type Table struct {
	words []uint64
	file  *os.File
}

// New makes a table for methods, in memory that may be given to others.
func New(names []string) (*Table, error) {
	if len(names) > maxMethods {
		return nil, fmt.Errorf("make statistics: %d methods, at most %d can be counted", len(names), maxMethods)
	}
	fd, err := unix.MemfdCreate("cell-stats", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make statistics: %w", err)
	}
	file := os.NewFile(uintptr(fd), "cell-stats")
	size := (firstRecord + len(names)*recordWords) * 8
	if err = file.Truncate(int64(size)); err == nil {
		_, err = unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	var memory []byte
	if err == nil {
		memory, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("make statistics: %w", err)
	}
	t := &Table{words: words(memory), file: file}
	t.words[0], t.words[1], t.words[2], t.words[3] = magic, version, uint64(len(names)), recordWords
	for i, name := range names {
		at := (firstRecord + i*recordWords) * 8
		copy(memory[at:at+nameWords*8], name)
	}
	return t, nil
}

func words(memory []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(memory))), len(memory)/8)
}

// File is the table's memory, to be sent to who reads it.
func (t *Table) File() *os.File { return t.file }

// Row is one method's record.
type Row struct{ words []uint64 }

// Row returns the record of the i-th method.
func (t *Table) Row(i int) Row {
	at := firstRecord + i*recordWords
	return Row{t.words[at : at+recordWords : at+recordWords]}
}

// Begin counts a call that begins.
func (r Row) Begin(request int) {
	if r.words != nil {
		atomic.AddUint64(&r.words[inFlight], 1)
		atomic.AddUint64(&r.words[bytesIn], uint64(request))
	}
}

// End counts its end, with the code of an error or 0.
func (r Row) End(took time.Duration, code uint32, result int) {
	if r.words != nil {
		atomic.AddUint64(&r.words[inFlight], ^uint64(0))
		atomic.AddUint64(&r.words[bytesOut], uint64(result))
		atomic.AddUint64(&r.words[nanoseconds], uint64(max(took, 0)))
		atomic.AddUint64(&r.words[ended+int(min(code, Codes-1))], 1)
		atomic.AddUint64(&r.words[latency+bucket(took)], 1)
	}
}

// Window is how long calls are counted together as what happened lately.
const Window = 10 * time.Second

// Lately counts a call among what happened lately. With a window that begins a few calls may be lost.
func (t *Table) Lately(end time.Time, took time.Duration, code uint32) {
	number := uint64(end.UnixNano() / int64(Window))
	w := t.words[headerWords+number%2*windowWords:][:windowWords]
	if was := atomic.LoadUint64(&w[0]); was != number {
		if !atomic.CompareAndSwapUint64(&w[0], was, number) {
			return // another call begins it
		}
		for i := range w[1:] {
			atomic.StoreUint64(&w[1+i], 0)
		}
	}
	if code != 0 {
		atomic.AddUint64(&w[windowErrors], 1)
	}
	atomic.AddUint64(&w[windowLatency+bucket(took)], 1)
}

// Recent is what happened within the last one or two Windows. It leaves streams out.
type Recent struct {
	Over    time.Duration `json:"over_ns"`
	Errors  uint64        `json:"errors"`
	Latency Histogram     `json:"latency"`
}

// Calls is how many ended.
func (r *Recent) Calls() (n uint64) {
	for _, c := range r.Latency {
		n += c
	}
	return n
}

// Recent reads what happened lately, as seen at that time.
func (r *Reader) Recent(now time.Time) (recent Recent) {
	number := uint64(now.UnixNano() / int64(Window))
	recent.Over = Window + time.Duration(now.UnixNano()%int64(Window))
	all := words(r.memory)
	for i := range uint64(2) {
		w := all[headerWords+i*windowWords:][:windowWords]
		if is := atomic.LoadUint64(&w[0]); is != number && is != number-1 {
			continue
		}
		recent.Errors += atomic.LoadUint64(&w[windowErrors])
		for j := range recent.Latency {
			recent.Latency[j] += atomic.LoadUint64(&w[windowLatency+j])
		}
	}
	return recent
}

// Reader reads a table that somebody else writes, who may write what he likes: it is bounded, and says nothing but numbers.
type Reader struct {
	memory []byte
	n      int
}

// Open maps the table of a descriptor, which may be closed afterwards. It refuses one that could shrink under it.
func Open(fd int) (*Reader, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("open statistics: %w", err)
	}
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 {
		return nil, fmt.Errorf("open statistics: it is no sealed memory")
	}
	if st.Size < firstRecord*8 || st.Size > (firstRecord+maxMethods*recordWords)*8 {
		return nil, fmt.Errorf("open statistics: %d bytes", st.Size)
	}
	memory, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("open statistics: %w", err)
	}
	w := words(memory)
	n := atomic.LoadUint64(&w[2])
	if w[0] != magic || w[1] != version || w[3] != recordWords || n > maxMethods || (firstRecord+int(n)*recordWords)*8 != int(st.Size) {
		_ = unix.Munmap(memory)
		return nil, fmt.Errorf("open statistics: its form is not known")
	}
	return &Reader{memory, int(n)}, nil
}

// Close gives the memory back.
func (r *Reader) Close() error { return unix.Munmap(r.memory) }

// Read copies what the table says now.
func (r *Reader) Read() []Method {
	all := make([]Method, r.n)
	w := words(r.memory)
	for i := range all {
		row := w[firstRecord+i*recordWords:]
		load := func(at int) uint64 { return atomic.LoadUint64(&row[at]) }
		m := &all[i]
		at := (firstRecord + i*recordWords) * 8
		name, _, _ := strings.Cut(string(r.memory[at:at+nameWords*8]), "\x00")
		m.Name = strings.ToValidUTF8(name, "\uFFFD")
		m.InFlight, m.BytesIn, m.BytesOut, m.Time = int64(load(inFlight)), load(bytesIn), load(bytesOut), time.Duration(load(nanoseconds))
		for j := range m.Ended {
			m.Ended[j] = load(ended + j)
		}
		for j := range m.Latency {
			m.Latency[j] = load(latency + j)
		}
	}
	return all
}

// Instance is what a running instance of a cell used and counted since it started.
type Instance struct {
	Name     string        `json:"name"` // of the instance, as in "shop.users:2"
	Cell     string        `json:"cell"`
	Since    time.Time     `json:"since"`
	Memory   uint64        `json:"memory,omitempty"` // bytes
	CPU      time.Duration `json:"cpu_ns,omitempty"`
	Tasks    uint64        `json:"tasks,omitempty"`
	Restarts uint64        `json:"restarts"`
	Methods  []Method      `json:"methods,omitempty"` // of a cell that speaks cell
	Recent   *Recent       `json:"recent,omitempty"`  // of such a cell, too
}
