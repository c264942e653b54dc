package pci

import (
	"os"
	"path/filepath"
	"testing"
)

func TestThere(t *testing.T) {
	dir := t.TempDir()
	device := func(name, vendor, class string) {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"vendor": vendor, "class": class} {
			if err := os.WriteFile(filepath.Join(dir, name, file), []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	nvidia := func() bool { return there(dir, "0x10de", "0x03", "0x12") }
	if nvidia() {
		t.Error("found in nothing")
	}
	device("0000:00:02.0", "0x8086", "0x030000")
	device("0000:01:00.1", "0x10de", "0x040300") // the sound of a display
	if nvidia() {
		t.Error("found among others")
	}
	device("0000:01:00.0", "0x10de", "0x030200")
	if !nvidia() {
		t.Error("not found")
	}
}
