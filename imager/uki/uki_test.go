package uki

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// stub is a PE file of 64 bits with one section, room for sections in its headers, and symbols behind it, as systemd's has.
func stub(t *testing.T, sections, headers int) string {
	t.Helper()
	b := make([]byte, headers+0x200+100)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[lfanew:], 0x80)
	copy(b[0x80:], "PE\x00\x00")
	coff := b[0x84:]
	binary.LittleEndian.PutUint16(coff, 0x8664)
	binary.LittleEndian.PutUint16(coff[coffSections:], uint16(sections))
	binary.LittleEndian.PutUint16(coff[coffOptional:], 240)
	opt := coff[coffSize:]
	binary.LittleEndian.PutUint16(opt, 0x20b)
	binary.LittleEndian.PutUint32(opt[optAlignment:], 4096)
	binary.LittleEndian.PutUint32(opt[optFileAlign:], 512)
	binary.LittleEndian.PutUint32(opt[optHeaders:], uint32(headers))
	binary.LittleEndian.PutUint32(opt[108:], 16) // data directories
	s := opt[240:]
	copy(s, ".text")
	binary.LittleEndian.PutUint32(s[8:], 0x1f0)
	binary.LittleEndian.PutUint32(s[12:], 0x1000)
	binary.LittleEndian.PutUint32(s[16:], 0x200)
	binary.LittleEndian.PutUint32(s[20:], uint32(headers))
	path := filepath.Join(t.TempDir(), "stub")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func parts(t *testing.T, stub string) Parts {
	dir := t.TempDir()
	for name, size := range map[string]int{"kernel": 5000, "initrd": 12345} {
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte{name[0]}, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Parts{stub, filepath.Join(dir, "kernel"), filepath.Join(dir, "initrd"), "quiet", "ID=cell\n", "6.1"}
}

func write(t *testing.T, p Parts) (string, error) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out.efi"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	return out.Name(), Write(out, p)
}

func TestWrite(t *testing.T) {
	p := parts(t, stub(t, 1, 0x400))
	path, err := write(t, p)
	if err != nil {
		t.Fatal(err)
	}
	f, err := pe.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	next := uint32(0)
	for name, want := range map[string]int{".osrel": 8, ".cmdline": 5, ".uname": 3, ".initrd": 12345, ".linux": 5000} {
		s := f.Section(name)
		if s == nil {
			t.Fatalf("no section %s", name)
		}
		data, err := s.Data()
		if err != nil || int(s.VirtualSize) != want || len(data) < want || s.Offset%512 != 0 || s.VirtualAddress%4096 != 0 {
			t.Errorf("%s: %d bytes of %d at %#x, %v", name, len(data), s.VirtualSize, s.VirtualAddress, err)
		}
		if strings.Trim(string(data[want:]), "\x00") != "" {
			t.Errorf("%s has something behind it", name)
		}
	}
	for _, s := range f.Sections {
		if s.VirtualAddress < next {
			t.Errorf("%s overlaps the one before", s.Name)
		}
		next = s.VirtualAddress + s.VirtualSize
	}
	if size := f.OptionalHeader.(*pe.OptionalHeader64).SizeOfImage; size < next || size%4096 != 0 {
		t.Errorf("the image has %#x and ends at %#x", size, next)
	}
	if f.FileHeader.NumberOfSymbols != 0 {
		t.Error("the symbols are still there")
	}
	first, _ := os.ReadFile(path)
	again, err := write(t, p)
	if err != nil {
		t.Fatal(err)
	}
	if second, _ := os.ReadFile(again); !bytes.Equal(first, second) {
		t.Error("two images of the same parts differ")
	}
}

func TestWriteRefuses(t *testing.T) {
	if _, err := write(t, parts(t, stub(t, 1, 0x200))); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("a stub without room: %v", err)
	}
	p := parts(t, stub(t, 1, 0x400))
	p.Kernel += ".not"
	if _, err := write(t, p); err == nil || !strings.Contains(err.Error(), ".linux") {
		t.Errorf("no kernel: %v", err)
	}
	p.Stub = p.Initrd
	if _, err := write(t, p); err == nil || !strings.Contains(err.Error(), "stub") {
		t.Errorf("no stub: %v", err)
	}
}
