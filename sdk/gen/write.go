package gen

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
)

type file struct {
	path string
	data []byte
}

// write replaces those files whose content changes: all of them or, after an error, none.
func write(files []file) (err error) {
	type change struct {
		path, temp string
		old        []byte
		had, done  bool
	}
	var changes []*change
	defer func() {
		for _, c := range changes {
			if err != nil && c.done && c.had {
				err = errors.Join(err, os.WriteFile(c.path, c.old, 0o644))
			} else if err != nil && c.done {
				err = errors.Join(err, os.Remove(c.path))
			}
			if !c.done {
				_ = os.Remove(c.temp)
			}
		}
	}()
	for _, f := range files {
		path := f.path
		old, err := os.ReadFile(path)
		if err == nil && bytes.Equal(old, f.data) {
			continue
		}
		temp, err2 := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".")
		if err2 != nil {
			return err2
		}
		changes = append(changes, &change{path: path, temp: temp.Name(), old: old, had: err == nil})
		_, err = temp.Write(f.data)
		if err = errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
			return err
		}
	}
	for _, c := range changes {
		if err := os.Rename(c.temp, c.path); err != nil {
			return err
		}
		c.done = true
	}
	return nil
}
