package initramfs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/u-root/mkuimage/cpio"
	"github.com/ulikunitz/xz"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var packed bytes.Buffer
	w, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, "the overlay")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	const at = "tree/usr/lib/modules/6.1/"
	put(at+"modules.dep", "kernel/fs/overlay-fs.ko.xz: kernel/lib/b.ko kernel/lib/a.ko \nkernel/lib/a.ko:\nkernel/lib/b.ko: kernel/lib/a.ko\nkernel/lib/unused.ko:\n")
	put(at+"modules.builtin", "kernel/drivers/block/loop.ko\n")
	put(at+"kernel/fs/overlay-fs.ko.xz", packed.String())
	put(at+"kernel/lib/a.ko", "a")
	put(at+"kernel/lib/b.ko", "b")
	init, root, top := put("init", "the init"), put("root", strings.Repeat("r", 9000)), put("top", "t")
	archive := func(modules ...string) ([]byte, error) {
		var b bytes.Buffer
		to := t.TempDir()
		err := Collect(filepath.Join(dir, "tree"), "6.1", modules, to)
		if err == nil {
			err = Write(&b, Parts{Init: init, Root: root, Top: top, Modules: to})
		}
		return b.Bytes(), err
	}
	b, err := archive("loop", "overlay_fs")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	text := map[string]string{}
	r := cpio.Newc.Reader(bytes.NewReader(b))
	if err := cpio.ForEachRecord(r, func(rec cpio.Record) error {
		names = append(names, rec.Name)
		if rec.FileSize > 0 {
			data, err := io.ReadAll(io.NewSectionReader(rec.ReaderAt, 0, int64(rec.FileSize)))
			text[rec.Name] = string(data)
			return err
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(names), "[. dev proc sys run ro top rw new modules dev/console init modules/000-a modules/001-b modules/002-overlay_fs root.img top.img]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if text["modules/002-overlay_fs"] != "the overlay" || text["init"] != "the init" || len(text[Root]) != 9000 {
		t.Errorf("%.300v", text)
	}
	if again, err := archive("loop", "overlay_fs"); err != nil || !bytes.Equal(b, again) {
		t.Errorf("two archives of the same content differ, %v", err)
	}
	if _, err := archive("nothing"); err == nil || err.Error() != "the kernel 6.1 has no module nothing" {
		t.Errorf("%v", err)
	}
}
