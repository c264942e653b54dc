// Package uki makes a Unified Kernel Image: systemd's stub for EFI with a kernel, an initial RAM disk and a command line as sections of one
// PE file, which firmware starts and a signature covers as a whole (systemd-stub(7), the UAPI group's specification of UKIs).
package uki

import (
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Parts are what goes into an image.
type Parts struct {
	Stub      string // path of linuxx64.efi.stub or of another machine's
	Kernel    string // path
	Initrd    string // path
	Cmdline   string // the kernel's
	OSRelease string // text of os-release(5): the boot menu sorts and names images by it
	Uname     string // the kernel's version
}

// Offsets in a PE file (Microsoft's PE format): of the COFF header, which e_lfanew points in front of, and of the optional header of 64 bits.
const (
	lfanew = 0x3c

	coffSections   = 2
	coffSymbols    = 8
	coffSymbolNum  = 12
	coffOptional   = 16
	coffSize       = 20
	optInitialized = 8
	optAlignment   = 32
	optFileAlign   = 36
	optImage       = 56
	optHeaders     = 60
	optChecksum    = 64
	optSecurity    = 112 + 8*4 // data directory of certificates

	headerSize = 40 // of a section
	// initialized data, readable
	characteristics = 0x40000040
)

type section struct {
	name string
	text string
	path string
}

// Write writes the image to w.
func Write(w io.WriteSeeker, p Parts) error {
	b, err := os.ReadFile(p.Stub)
	if err != nil {
		return fmt.Errorf("read the stub: %w", err)
	}
	stub, err := pe.Open(p.Stub)
	if err != nil {
		return fmt.Errorf("read the stub: %w", err)
	}
	defer stub.Close()
	coff := int(binary.LittleEndian.Uint32(b[lfanew:])) + 4
	opt := coff + coffSize
	if _, ok := stub.OptionalHeader.(*pe.OptionalHeader64); !ok {
		return errors.New("the stub is no PE file of 64 bits")
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	align, fileAlign := u32(opt+optAlignment), u32(opt+optFileAlign)
	var raw, virtual uint32
	for _, s := range stub.Sections {
		raw = max(raw, s.Offset+s.Size)
		virtual = max(virtual, s.VirtualAddress+s.VirtualSize)
	}
	if raw == 0 || int(raw) > len(b) {
		return errors.New("the stub is cut off")
	}
	// Behind the last section stubs have a table of symbols, which nobody needs.
	b = b[:raw]
	sections := []section{
		{".osrel", p.OSRelease, ""},
		{".cmdline", p.Cmdline, ""},
		{".uname", p.Uname, ""},
		{".initrd", "", p.Initrd},
		{".linux", "", p.Kernel}, // last: it is unpacked in place
	}
	table := opt + int(binary.LittleEndian.Uint16(b[coff+coffOptional:])) + len(stub.Sections)*headerSize
	if end := table + len(sections)*headerSize; end > int(u32(opt+optHeaders)) {
		return fmt.Errorf("the stub has no room for %d sections more", len(sections))
	}
	up := func(n, to uint32) uint32 { return (n + to - 1) / to * to }
	at, address := up(raw, fileAlign), up(virtual, align)
	initialized := u32(opt + optInitialized)
	type placed struct {
		section
		at int64
	}
	var todo []placed
	for i, s := range sections {
		size := int64(len(s.text))
		if s.path != "" {
			st, err := os.Stat(s.path)
			if err != nil {
				return fmt.Errorf("section %s: %w", s.name, err)
			}
			size = st.Size()
		}
		if size > 1<<31 {
			return fmt.Errorf("section %s has %d bytes", s.name, size)
		}
		h := b[table+i*headerSize:][:headerSize]
		clear(h)
		copy(h, s.name)
		binary.LittleEndian.PutUint32(h[8:], uint32(size))
		binary.LittleEndian.PutUint32(h[12:], address)
		binary.LittleEndian.PutUint32(h[16:], up(uint32(size), fileAlign))
		binary.LittleEndian.PutUint32(h[20:], at)
		binary.LittleEndian.PutUint32(h[36:], characteristics)
		todo = append(todo, placed{s, int64(at)})
		at += up(uint32(size), fileAlign)
		address = up(address+uint32(size), align)
		initialized += up(uint32(size), fileAlign)
	}
	put := func(at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }
	binary.LittleEndian.PutUint16(b[coff+coffSections:], uint16(len(stub.Sections)+len(sections)))
	put(coff+coffSymbols, 0)
	put(coff+coffSymbolNum, 0)
	put(opt+optInitialized, initialized)
	put(opt+optImage, address)
	put(opt+optChecksum, 0)
	put(opt+optSecurity, 0)
	put(opt+optSecurity+4, 0)
	if _, err := w.Write(b); err != nil {
		return err
	}
	for _, s := range todo {
		if err := s.write(w, s.at); err != nil {
			return fmt.Errorf("section %s: %w", s.name, err)
		}
	}
	// The last section is as long as its header says.
	if _, err := w.Seek(int64(at)-1, io.SeekStart); err != nil {
		return err
	}
	last := todo[len(todo)-1]
	if size, err := last.size(); err != nil || int64(at) == last.at+size {
		return err
	}
	_, err = w.Write([]byte{0})
	return err
}

func (s section) size() (int64, error) {
	if s.path == "" {
		return int64(len(s.text)), nil
	}
	st, err := os.Stat(s.path)
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (s section) write(w io.WriteSeeker, at int64) error {
	if _, err := w.Seek(at, io.SeekStart); err != nil {
		return err
	}
	if s.path == "" {
		_, err := io.WriteString(w, s.text)
		return err
	}
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
