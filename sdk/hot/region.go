package hot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/sdk/internal/handover"
)

// region is a memfd of a header and two slots, of which one is current. A process that dies while it writes the other one
// has changed nothing; the switch is one aligned store.
//
//	 0  magic    8 bytes
//	 8  hash     of the layout
//	16  size     of a value
//	24  switches uint64: even, the first slot is current; odd, the second
//	32  length   of the layout's text, and from here on the text as far as it fits
type region struct{ mem []byte }

const (
	magic      = "cellhot1"
	headerSize = 4096
	textAt     = 40
	sealed     = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
)

// newRegion makes a region whose first slot is zero and current.
func newRegion(name string, l layout) (*region, *os.File, error) {
	length := regionSize(l.size)
	// The kernel does not refuse what is too much, it ends the process.
	if limit := memoryLimit("/sys/fs/cgroup", "/proc/self/cgroup"); limit > 0 && uint64(length) > limit {
		return nil, nil, fmt.Errorf("%d bytes of memory are more than the cell may use, which is %d", length, limit)
	}
	fd, err := unix.MemfdCreate("hot:"+name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, nil, fmt.Errorf("memfd: %w", err)
	}
	file := os.NewFile(uintptr(fd), "hot:"+name)
	// All pages now: a write to one that is not there could be refused only by a signal.
	err = unix.EINTR
	for err == unix.EINTR {
		err = unix.Fallocate(fd, 0, 0, length)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, sealed|unix.F_SEAL_SEAL)
	}
	var mem []byte
	if err == nil {
		mem, err = unix.Mmap(fd, 0, int(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("make %d bytes of memory: %w", length, err)
	}
	binary.NativeEndian.PutUint64(mem[8:], l.hash)
	binary.NativeEndian.PutUint64(mem[16:], uint64(l.size))
	binary.NativeEndian.PutUint64(mem[32:], uint64(copy(mem[textAt:headerSize], l.text)))
	copy(mem, magic)
	return &region{mem}, file, nil
}

// openRegion maps a region that a process before this one made, and checks all that is later relied on.
func openRegion(file *os.File) (*region, error) {
	has, err := unix.FcntlInt(file.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || has&sealed != sealed {
		// One that could shrink would end the process with a signal.
		return nil, errors.New("what systemd kept is no sealed memory")
	}
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() < headerSize || st.Size() > regionSize(maxSize) {
		return nil, fmt.Errorf("what systemd kept has %d bytes, which no hot value has", st.Size())
	}
	mem, err := unix.Mmap(int(file.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map what systemd kept: %w", err)
	}
	r := &region{mem}
	size, text := binary.NativeEndian.Uint64(mem[16:]), binary.NativeEndian.Uint64(mem[32:])
	if !bytes.HasPrefix(mem, []byte(magic)) || size > maxSize || regionSize(int(size)) != st.Size() || text > headerSize-textAt {
		r.unmap()
		return nil, errors.New("what systemd kept is no hot value of this SDK")
	}
	return r, nil
}

// keepRegion makes a region and hands it to systemd.
func keepRegion(h *handover.Process, name string, l layout) (*region, error) {
	r, file, err := newRegion(name, l)
	if err != nil {
		return nil, fmt.Errorf("open hot %s: %w", name, err)
	}
	defer file.Close() // the mapping stays
	entry, err := reserve(h, handover.Memory, name)
	if err == nil {
		err = h.Put(entry, file)
	}
	if err != nil {
		r.unmap()
		return nil, err
	}
	return r, nil
}

// replaceRegion makes a region in the place of an older one. They change places after the program has become ready.
func replaceRegion(h *handover.Process, name string, l layout, old string, fill func(slot []byte)) (*region, error) {
	r, file, err := newRegion(name, l)
	if err != nil {
		return nil, fmt.Errorf("open hot %s: %w", name, err)
	}
	entry, err := reserve(h, handover.Memory, name)
	if err != nil {
		file.Close()
		r.unmap()
		return nil, err
	}
	fill(r.current())
	h.WhenReady(func() error {
		defer file.Close()
		// In this order: a process that ends in between leaves two, and the newer one counts.
		return errors.Join(h.Put(entry, file), h.Remove(old))
	})
	return r, nil
}

// slotSize keeps the second slot on a cache line of its own.
func slotSize(size int) int { return (size + 63) &^ 63 }

func regionSize(size int) int64 { return headerSize + 2*int64(slotSize(size)) }

func (r *region) is(l layout) bool {
	return binary.NativeEndian.Uint64(r.mem[8:]) == l.hash && binary.NativeEndian.Uint64(r.mem[16:]) == uint64(l.size)
}

func (r *region) text() string {
	return string(r.mem[textAt : textAt+binary.NativeEndian.Uint64(r.mem[32:])])
}

func (r *region) switches() *uint64 { return (*uint64)(unsafe.Pointer(&r.mem[24])) }

func (r *region) slot(n uint64) []byte {
	size := int(binary.NativeEndian.Uint64(r.mem[16:]))
	at := headerSize + int(n%2)*slotSize(size)
	return r.mem[at : at+size : at+size]
}

// current is the value that holds, next the one that the next commit makes current.
func (r *region) current() []byte { return r.slot(atomic.LoadUint64(r.switches())) }
func (r *region) next() []byte    { return r.slot(atomic.LoadUint64(r.switches()) + 1) }
func (r *region) commit()         { atomic.AddUint64(r.switches(), 1) }

func (r *region) unmap() { _ = unix.Munmap(r.mem) }

// valueOf looks at a slot as a T, which has no pointers: layoutOf saw to that.
func valueOf[T any](slot []byte) *T { return (*T)(unsafe.Pointer(unsafe.SliceData(slot))) }
