package disk

import (
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs"
)

func sum(t *testing.T, path string) [32]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, []byte(strings.Repeat("0123456789", 300_000)), 0o644); err != nil {
		t.Fatal(err)
	}
	files := []File{{Name: "EFI/BOOT/BOOTX64.EFI", From: big}, {Name: "loader/loader.conf", Text: "timeout 3\n"}, {Name: "EFI/Linux/cell_1.efi", Text: "x"}}
	one, two := filepath.Join(dir, "one.img"), filepath.Join(dir, "two.img")
	for _, to := range []string{one, two} {
		if err := Write(to, files); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2100 * time.Millisecond) // FAT's clock is one of two seconds
	}
	if sum(t, one) != sum(t, two) {
		t.Error("two images of the same content differ")
	}
	d, err := diskfs.Open(one, diskfs.WithOpenMode(diskfs.ReadOnly))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	fs, err := d.GetFilesystem(1)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"EFI/BOOT/BOOTX64.EFI": 3_000_000, "loader/loader.conf": 10, "EFI/Linux/cell_1.efi": 1} {
		f, err := fs.OpenFile(name, os.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(f); err != nil || len(b) != want {
			t.Errorf("%s has %d bytes, %v", name, len(b), err)
		}
	}
	if err := Write(one, files); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("over an image: %v", err)
	}
	if err := Write(filepath.Join(dir, "three.img"), []File{{Name: "a", From: big + ".not"}}); err == nil {
		t.Error("a file that is missing was written")
	}
	if _, err := os.Stat(filepath.Join(dir, "three.img")); err == nil {
		t.Error("half an image was left")
	}
}

// Two CDs of the same content are the same bytes, whenever they are made.
func TestWriteCD(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte(strings.Repeat("0123456789", 300_000)), 0o644); err != nil {
		t.Fatal(err)
	}
	one, two := filepath.Join(dir, "one.iso"), filepath.Join(dir, "two.iso")
	for _, to := range []string{one, two} {
		if err := WriteCD(to, dir, []File{{Name: "EFI/BOOT/BOOTX64.EFI", From: program}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2100 * time.Millisecond)
	}
	if sum(t, one) != sum(t, two) {
		t.Error("two CDs of the same content differ")
	}
}
