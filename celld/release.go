package celld

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/membrane/spec"
)

// release is the version of a cell that runs: the link run/exec names it, run/staged the one that a build made, and
// run/previous, while an upgrade is under way, the one to go back to. All work happens beneath the cell's directory: a
// link that its owner planted there cannot lead a celld that is root elsewhere.
type release struct{ dir string }

func (r release) open() (*os.Root, error) {
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return nil, fmt.Errorf("open the cell's directory: %w", err)
	}
	return root, nil
}

func readlink(root *os.Root, name string) (string, error) {
	target, err := root.Readlink(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return target, err
}

// replaceLink makes name a link to target in one step.
func replaceLink(root *os.Root, name, target string) error {
	tmp := name + ".new"
	_ = root.Remove(tmp)
	if err := root.Symlink(target, tmp); err != nil {
		return err
	}
	return root.Rename(tmp, name)
}

// pending tells whether another version than the one in use is staged, or an upgrade to it was cut off.
func (r release) pending() bool {
	root, err := r.open()
	if err != nil {
		return false
	}
	defer root.Close()
	current, _ := readlink(root, "run/exec")
	staged, _ := readlink(root, "run/staged")
	previous, _ := readlink(root, "run/previous")
	return staged != "" && staged != current || previous != ""
}

// upgrading tells whether an upgrade was cut off.
func (r release) upgrading() bool {
	root, err := r.open()
	if err != nil {
		return false
	}
	defer root.Close()
	previous, _ := readlink(root, "run/previous")
	return previous != ""
}

// switchOver makes the staged version the one that starts next, and remembers the old one until done or back.
func (r release) switchOver() error {
	return r.change("switch version", func(root *os.Root) error {
		if err := root.Mkdir("run", 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		current, err := readlink(root, "run/exec")
		if err != nil {
			return err
		}
		staged, err := readlink(root, "run/staged")
		if err != nil || staged == "" || staged == current {
			return err
		}
		if current != "" {
			if err := replaceLink(root, "run/previous", current); err != nil {
				return err
			}
		}
		return replaceLink(root, "run/exec", staged)
	})
}

// done forgets the old version.
func (r release) done() error {
	return r.change("end upgrade", func(root *os.Root) error {
		err := root.Remove("run/previous")
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// back returns to the version before switchOver; it tells whether there was one.
func (r release) back() (was bool, err error) {
	err = r.change("roll back", func(root *os.Root) error {
		previous, err := readlink(root, "run/previous")
		if err != nil || previous == "" {
			return err
		}
		was = true
		return root.Rename("run/previous", "run/exec")
	})
	return was, err
}

func (r release) change(what string, f func(*os.Root) error) error {
	root, err := r.open()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := f(root); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// children writes down which directories below the cell's are cells of their own: its program does not see them.
func (r release) children(dirs []string) error {
	return r.change("write down the cells below", func(root *os.Root) error {
		text := strings.Join(append(dirs, ""), "\n")
		switch now, err := root.ReadFile(spec.Children); {
		case err == nil && string(now) == text:
			return nil
		case text == "" && errors.Is(err, fs.ErrNotExist): // as for most cells, each time
			return nil
		case text == "":
			return root.Remove(spec.Children)
		}
		st, err := root.Stat(".")
		if err != nil {
			return err
		}
		uid, gid := owner(st)
		err = root.Mkdir("run", 0o755)
		if err == nil {
			err = root.Lchown("run", uid, gid)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		next := spec.Children + ".new"
		_ = root.Remove(next)
		if err := root.WriteFile(next, []byte(text), 0o644); err != nil {
			return err
		}
		if err := root.Lchown(next, uid, gid); err != nil {
			return err
		}
		return root.Rename(next, spec.Children)
	})
}

// prepare makes the directories that a cell may write in, and the link to the socket.
func (r release) prepare(name, socketDir string) error {
	return r.change("prepare "+name, func(root *os.Root) error {
		st, err := root.Stat(".")
		if err != nil {
			return err
		}
		uid, gid := owner(st)
		for _, d := range []string{"run", "data", "cache", "log"} {
			err := root.Mkdir(d, 0o755)
			if errors.Is(err, fs.ErrExist) {
				continue
			}
			if err == nil {
				err = root.Lchown(d, uid, gid)
			}
			if err != nil {
				return err
			}
		}
		if name != unit.Base(name) {
			return nil
		}
		return replaceLink(root, "run/cell.sock", unit.SocketPath(socketDir, name))
	})
}
