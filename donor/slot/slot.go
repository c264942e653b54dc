// Package slot keeps the images on a donor's system partition: the one that runs and a newer one on trial. The boot menu counts the
// tries of that one in its name and goes back to the other when they are used up (systemd.io/AUTOMATIC_BOOT_ASSESSMENT).
package slot

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/cell-network/cell/donor/statement"
)

// Dir is where the images are, from the root of the system partition.
const Dir = "EFI/Linux"

// Tries are how often a new image may be started before it has to have worked.
const Tries = 3

// Slot is an image.
type Slot struct {
	Version uint64
	Trial   bool // it has not been found good yet
	Left    int  // tries; of one on trial
	File    string
}

var pattern = regexp.MustCompile(`^cell_([0-9]+)(?:\+([0-9]+)(?:-[0-9]+)?)?\.efi$`)

// Parse reads the name of an image's file.
func Parse(file string) (s Slot, ok bool) {
	m := pattern.FindStringSubmatch(file)
	if m == nil {
		return s, false
	}
	v, err := strconv.ParseUint(m[1], 10, 64)
	if err != nil {
		return s, false
	}
	s = Slot{Version: v, File: file, Trial: m[2] != ""}
	if s.Trial {
		if s.Left, err = strconv.Atoi(m[2]); err != nil {
			return s, false
		}
	}
	return s, true
}

// Name is the name of a file with an image that has been found good.
func Name(version uint64) string { return fmt.Sprintf("cell_%d.efi", version) }

// List lists the images on a system partition that is mounted at esp, the newest first.
func List(esp string) ([]Slot, error) {
	files, err := os.ReadDir(filepath.Join(esp, Dir))
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var out []Slot
	for _, f := range files {
		if s, ok := Parse(f.Name()); ok {
			out = append(out, s)
		}
	}
	Order(out)
	return out, nil
}

// Running finds the image of a version.
func Running(all []Slot, version uint64) (Slot, bool) {
	i := slices.IndexFunc(all, func(s Slot) bool { return s.Version == version })
	if i < 0 {
		return Slot{}, false
	}
	return all[i], true
}

// Bless calls the image of a version good: the boot menu counts no more.
func Bless(esp string, version uint64) error {
	all, err := List(esp)
	if err != nil {
		return err
	}
	s, ok := Running(all, version)
	if !ok || !s.Trial {
		return nil
	}
	if err := os.Rename(filepath.Join(esp, Dir, s.File), filepath.Join(esp, Dir, Name(version))); err != nil {
		return fmt.Errorf("call the image %d good: %w", version, err)
	}
	return sync(esp)
}

// ErrTrial says that the image that runs is on trial: nothing is put in the place of the one before it.
var ErrTrial = errors.New("the image that runs is on trial itself")

// Failed tells whether the image of a version has been tried as often as it may be and was never called good.
func Failed(all []Slot, version uint64) bool {
	s, ok := Running(all, version)
	return ok && s.Trial && s.Left == 0
}

// Order sorts images, the newest first.
func Order(all []Slot) {
	slices.SortFunc(all, func(a, b Slot) int { return cmp.Compare(b.Version, a.Version) })
}

// Plan tells which of the images on a medium have to go for a newer one, and the name of its file, on trial. The one that runs, or would
// run, stays.
func Plan(all []Slot, running, version uint64) (gone []Slot, name string, err error) {
	now, ok := Running(all, running)
	if !ok {
		return nil, "", fmt.Errorf("the image %d that runs is not on the medium", running)
	}
	if now.Trial {
		return nil, "", ErrTrial
	}
	if version <= running {
		return nil, "", fmt.Errorf("the image %d is not newer than %d, which runs", version, running)
	}
	for _, other := range all {
		if other != now {
			gone = append(gone, other)
		}
	}
	return gone, fmt.Sprintf("cell_%d+%d.efi", version, Tries), nil
}

// Put writes a new image on trial, of which the statement has been verified, beside the one that runs. Any other goes. Power may be cut
// at any time: what runs stays as it is, and the new one is there as a whole or not at all.
func Put(esp string, running uint64, s statement.Statement, image io.Reader) error {
	all, err := List(esp)
	if err != nil {
		return err
	}
	gone, name, err := Plan(all, running, s.Version)
	if err != nil {
		return err
	}
	dir := filepath.Join(esp, Dir)
	if err := Clean(esp); err != nil {
		return err
	}
	for _, other := range gone {
		if err := os.Remove(filepath.Join(dir, other.File)); err != nil {
			return fmt.Errorf("make room for the image: %w", err)
		}
	}
	f, err := os.CreateTemp(dir, "*"+Unfinished)
	if err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	defer os.Remove(f.Name())
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(image, s.Size+1))
	if err == nil && (n != s.Size || [sha256.Size]byte(h.Sum(nil)) != s.SHA256) {
		err = errors.New("its bytes are not those that are signed")
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	return sync(esp)
}

// Unfinished ends the names of files of which power may have been cut.
const Unfinished = ".new"

// Clean removes what an interrupted Put left.
func Clean(esp string) error {
	left, _ := filepath.Glob(filepath.Join(esp, Dir, "*"+Unfinished))
	for _, f := range left {
		if err := os.Remove(f); err != nil {
			return fmt.Errorf("remove an unfinished image: %w", err)
		}
	}
	return nil
}

// sync writes the directory out; FAT has no journal.
func sync(esp string) error {
	d, err := os.Open(filepath.Join(esp, Dir))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
