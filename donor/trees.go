package donor

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// place makes the files of a tree of the image be there in a directory, each as a whole or as it was before. What is the same already is
// not written, so that a start needs no room, and what else is in the directory stays.
func place(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dest := filepath.Join(to, name)
		st, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			if err := os.MkdirAll(dest, st.Mode().Perm()); err != nil {
				return fmt.Errorf("make a directory: %w", err)
			}
			return nil
		case st.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			if now, err := os.Readlink(dest); err == nil && now == target {
				return nil
			}
			return replace(dest, func(next string) error { return os.Symlink(target, next) })
		}
		if same(path, dest, st) {
			return nil
		}
		return replace(dest, func(next string) error { return copyFile(path, next, st.Mode().Perm()) })
	})
}

// replace makes a file beside its place and renames it.
func replace(dest string, do func(next string) error) error {
	next := dest + ".new"
	_ = os.Remove(next) // left by a power cut
	err := do(next)
	if err == nil {
		err = os.Rename(next, dest)
	}
	if err != nil {
		_ = os.Remove(next)
		return fmt.Errorf("write %s: %w", dest, err)
	}
	return nil
}

func copyFile(from, to string, perm fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Chmod(perm); err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}

// same tells whether a file has the content and the mode of another one.
func same(want, is string, st fs.FileInfo) bool {
	now, err := os.Lstat(is)
	if err != nil || now.Mode() != st.Mode() || now.Size() != st.Size() {
		return false
	}
	a, err := os.Open(want)
	if err != nil {
		return false
	}
	defer a.Close()
	b, err := os.Open(is)
	if err != nil {
		return false
	}
	defer b.Close()
	x, y := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		n, err := io.ReadFull(a, x)
		m, _ := io.ReadFull(b, y)
		if n != m || !bytes.Equal(x[:n], y[:m]) {
			return false
		}
		if err != nil {
			return err == io.EOF || err == io.ErrUnexpectedEOF
		}
	}
}
