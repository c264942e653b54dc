package hot

import (
	"fmt"
	"os"
	"sync"

	"github.com/cell-network/cell/sdk/internal/handover"
)

// File keeps one descriptor over an upgrade or a crash of the cell: see OpenFile.
type File struct {
	h    *handover.Process
	name string

	mu    sync.Mutex
	entry string // empty when nothing is kept
	found *os.File
}

// OpenFile returns the descriptor of that name that an earlier process of the cell kept, and the place to keep one: an open
// file, a pipe, a listener of the cell's own (see net.TCPListener.File and net.FileListener). It must be called before sdk.Main,
// or before sdk.TellReady; a descriptor that was kept and is not opened by then is closed.
func OpenFile(name string) (*File, error) { return openFile(handover.This(), name) }

func openFile(h *handover.Process, name string) (*File, error) {
	files, err := h.Open(handover.File, name)
	if err != nil {
		return nil, err
	}
	k := &File{h: h, name: name}
	if newest := h.Newest(files); newest != nil {
		k.entry, k.found = newest.Entry, newest.File
	}
	return k, nil
}

// Found returns the descriptor that an earlier process kept, nil when there was none. Closing it does not end its keeping.
func (k *File) Found() *os.File { return k.found }

// Held tells whether systemd holds the descriptor.
func (k *File) Held() bool { return k.h.Holds() }

// Keep has systemd hold f; f stays the caller's, to use and to close. It is an error when something is held already, and a
// *Full when the cell keeps 64 descriptors already.
func (k *File) Keep(f *os.File) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.entry != "" {
		// In its place is not offered: systemd ignores a descriptor that it has, and letting go of the old name would lose it.
		return fmt.Errorf("keep %s: a descriptor is kept already; end that with Drop", k.name)
	}
	entry, err := reserve(k.h, handover.File, k.name)
	if err == nil {
		err = k.h.Put(entry, f)
	}
	if err != nil {
		return err
	}
	k.entry = entry
	return nil
}

// Drop ends the keeping: systemd closes its copy.
func (k *File) Drop() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.entry == "" {
		return fmt.Errorf("drop hot %s: nothing is kept", k.name)
	}
	entry := k.entry
	k.entry = ""
	return k.h.Remove(entry)
}
