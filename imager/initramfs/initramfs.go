// Package initramfs makes the initial RAM disk of a donor: Cell's own init, the kernel's modules that it loads, and the image of the root,
// in an archive that is the same for the same content.
package initramfs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/mkuimage/cpio"
	"github.com/ulikunitz/xz"
)

// Where things lie in the archive; cell-init knows them, too.
const (
	Root    = "root.img"
	Top     = "top.img" // what is laid over the root
	Modules = "modules" // a file for each, in the order of loading
)

// Parts are paths of what goes into an archive.
type Parts struct {
	Init, Root, Top string
	Modules         string // a directory, as Collect makes it
}

// Collect copies modules of the kernel, by their names, and all that they need from a root to a directory that is there, so that they
// can be loaded in the order of the files' names.
func Collect(root, version string, modules []string, to string) error {
	files, err := order(root, version, modules)
	if err != nil {
		return err
	}
	for i, f := range files {
		b, err := read(f)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, fmt.Sprintf("%03d-%s", i, name(f))), b, 0o644)
		}
		if err != nil {
			return fmt.Errorf("copy the kernel's module %s: %w", f, err)
		}
	}
	return nil
}

// Write writes the archive.
func Write(w io.Writer, p Parts) error {
	archive := &writer{cpio.Newc.Writer(w), nil}
	archive.dir(".", "dev", "proc", "sys", "run", "ro", "top", "rw", "new", Modules)
	archive.record(cpio.CharDev("dev/console", 0o600, 5, 1))
	archive.file("init", p.Init, 0o755)
	files, err := os.ReadDir(p.Modules)
	if err != nil {
		return err
	}
	for _, f := range files {
		archive.file(Modules+"/"+f.Name(), filepath.Join(p.Modules, f.Name()), 0o644)
	}
	archive.file(Root, p.Root, 0o644)
	archive.file(Top, p.Top, 0o644)
	if archive.err != nil {
		return fmt.Errorf("write the initial RAM disk: %w", archive.err)
	}
	return cpio.WriteTrailer(archive.to)
}

type writer struct {
	to  cpio.RecordWriter
	err error
}

func (w *writer) record(r cpio.Record) {
	if w.err == nil {
		w.err = w.to.WriteRecord(cpio.MakeReproducible(r))
	}
}

func (w *writer) dir(names ...string) {
	for _, n := range names {
		w.record(cpio.Directory(n, 0o755))
	}
}

func (w *writer) file(name, path string, mode uint64) {
	st, err := os.Stat(path)
	if err != nil {
		w.err = err
		return
	}
	f, err := os.Open(path)
	if err != nil {
		w.err = err
		return
	}
	defer f.Close()
	w.record(cpio.Record{ReaderAt: f, Info: cpio.Info{Name: name, Mode: cpio.S_IFREG | mode, FileSize: uint64(st.Size())}})
}

// name is what a module's file is called, whatever it is compressed with.
func name(file string) string {
	base := filepath.Base(file)
	base, _, _ = strings.Cut(base, ".ko")
	return strings.ReplaceAll(base, "-", "_")
}

// order finds the files of modules and of all that they need, in an order in which they can be loaded (modules.dep(5)). A module that is
// built into the kernel has none.
func order(tree, version string, modules []string) ([]string, error) {
	dir := filepath.Join(tree, "usr/lib/modules", version)
	f, err := os.Open(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("which modules the kernel has: %w", err)
	}
	defer f.Close()
	needs, paths := map[string][]string{}, map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		file, rest, _ := strings.Cut(s.Text(), ":")
		paths[name(file)] = file
		needs[file] = strings.Fields(rest)
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("which modules the kernel has: %w", err)
	}
	var out []string
	var add func(file string)
	add = func(file string) {
		path := filepath.Join(dir, file)
		if slices.Contains(out, path) {
			return
		}
		for _, n := range needs[file] {
			add(n)
		}
		out = append(out, path)
	}
	for _, m := range modules {
		file, ok := paths[m]
		if !ok {
			if bytes.Contains(builtin, []byte("/"+m+".ko\n")) {
				continue
			}
			return nil, fmt.Errorf("the kernel %s has no module %s", version, m)
		}
		add(file)
	}
	return out, nil
}

func read(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	switch filepath.Ext(file) {
	case ".xz":
		r, err = xz.NewReader(f)
	case ".gz":
		r, err = gzip.NewReader(f)
	case ".zst":
		d, derr := zstd.NewReader(f)
		if derr == nil {
			defer d.Close()
		}
		r, err = d, derr
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
