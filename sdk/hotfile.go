package sdk

import (
	"fmt"
	"os"
	"sync"
)

// KeptFile keeps one descriptor over an upgrade or a crash of the cell: see HotFile.
type KeptFile struct {
	h    *handed
	name string

	mu    sync.Mutex
	entry string // empty when nothing is kept
	found *os.File
}

// HotFile returns the descriptor of that name that an earlier process of the cell kept, and the place to keep one: an open
// file, a pipe, a listener of the cell's own (see net.TCPListener.File and net.FileListener). It must be called before Main,
// or before TellReady; a descriptor that was kept and is not opened by then is closed.
func HotFile(name string) (*KeptFile, error) { return hotFileOf(handedOver(), name) }

func hotFileOf(h *handed, name string) (*KeptFile, error) {
	files, err := h.open(hotFile, name)
	if err != nil {
		return nil, err
	}
	k := &KeptFile{h: h, name: name}
	if newest := h.newest(files); newest != nil {
		k.entry, k.found = newest.entry, newest.file
	}
	return k, nil
}

// Found returns the descriptor that an earlier process kept, nil when there was none. Closing it does not end its keeping.
func (k *KeptFile) Found() *os.File { return k.found }

// Held tells whether systemd holds the descriptor.
func (k *KeptFile) Held() bool { return k.h.holds() }

// Keep has systemd hold f; f stays the caller's, to use and to close. It is an error when something is held already, and a
// *HotFull when the cell keeps 64 descriptors already.
func (k *KeptFile) Keep(f *os.File) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.entry != "" {
		// In its place is not offered: systemd ignores a descriptor that it has, and letting go of the old name would lose it.
		return fmt.Errorf("keep %s: a descriptor is kept already; end that with Drop", k.name)
	}
	entry, err := k.h.reserve(hotFile, k.name)
	if err == nil {
		err = k.h.put(entry, f)
	}
	if err != nil {
		return err
	}
	k.entry = entry
	return nil
}

// Drop ends the keeping: systemd closes its copy.
func (k *KeptFile) Drop() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.entry == "" {
		return fmt.Errorf("drop hot %s: nothing is kept", k.name)
	}
	entry := k.entry
	k.entry = ""
	return k.h.remove(entry)
}
