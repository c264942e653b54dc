package imager

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cell-network/cell/donor/slot"
	"github.com/cell-network/cell/donor/statement"
	"github.com/cell-network/cell/imager/disk"
)

// Update puts an image (.efi) that key has signed on a medium, a device or a file, from which nothing runs: beside the newest that works
// there, and on trial. What else is on the medium stays as it is. It returns the number of the image.
func Update(ctx context.Context, medium, image string, key ed25519.PublicKey) (uint64, error) {
	text, err := os.ReadFile(image + statement.Suffix)
	if err != nil {
		return 0, fmt.Errorf("read the image's signature: %w", err)
	}
	said, err := statement.Verify(text, key)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", image+statement.Suffix, err)
	}
	if _, err := exec.LookPath("mcopy"); err != nil {
		return 0, errors.New("mcopy is not installed: it comes with mtools")
	}
	offset, err := disk.System(medium)
	if err != nil {
		return 0, err
	}
	if at, err := mountedAt(medium); err != nil || at != "" {
		return 0, errors.Join(err, fmt.Errorf("%s is mounted at %s: unmount it first", medium, at))
	}
	f, err := os.Open(image)
	if err != nil {
		return 0, err
	}
	is, err := statement.Of(said.Version, f)
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	if is != said {
		return 0, fmt.Errorf("%s: its bytes are not those that are signed", image)
	}
	// The tools know FAT and need no mount.
	on := fmt.Sprintf("%s@@%d", medium, offset)
	list, err := output(ctx, "mdir", "-b", "-i", on, "::"+slot.Dir)
	if err != nil {
		return 0, fmt.Errorf("list images: %w", err)
	}
	var all []slot.Slot
	var unfinished []string
	for line := range strings.Lines(list) {
		name := path.Base(strings.TrimSpace(line))
		if s, ok := slot.Parse(name); ok {
			all = append(all, s)
		} else if strings.HasSuffix(name, slot.Unfinished) {
			unfinished = append(unfinished, name)
		}
	}
	slot.Order(all)
	works := slices.IndexFunc(all, func(s slot.Slot) bool { return !s.Trial })
	if works < 0 {
		return 0, errors.New("no image on the medium has been called good: start a computer from it first, or write it anew")
	}
	gone, name, err := slot.Plan(all, all[works].Version, said.Version)
	if err != nil {
		return 0, err
	}
	for _, s := range gone {
		unfinished = append(unfinished, s.File)
	}
	inDir := func(name string) string { return "::" + slot.Dir + "/" + name }
	var steps [][]string
	for _, name := range unfinished {
		steps = append(steps, []string{"mdel", "-i", on, inDir(name)})
	}
	steps = append(steps, []string{"mcopy", "-i", on, image, inDir(name + slot.Unfinished)}, []string{"mren", "-i", on, inDir(name + slot.Unfinished), inDir(name)}, []string{"sync", medium})
	for _, argv := range steps {
		if _, err := output(ctx, argv[0], argv[1:]...); err != nil {
			return 0, fmt.Errorf("write the image: %w", err)
		}
	}
	return said.Version, nil
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", name, err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// mountedAt is where a device, or a partition of it, is mounted.
func mountedAt(device string) (string, error) {
	device, err := filepath.EvalSymlinks(device)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && ofDevice(f[0], device) {
			return f[1], nil
		}
	}
	return "", nil
}

// ofDevice tells whether a name is a device's or one of its partitions'.
func ofDevice(name, device string) bool {
	rest, ok := strings.CutPrefix(name, device)
	return ok && strings.Trim(strings.TrimPrefix(rest, "p"), "0123456789") == ""
}
