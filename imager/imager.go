// Package imager makes images from which a computer starts as a donor: see docs/image.md.
package imager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cell-network/cell/imager/disk"
	"github.com/cell-network/cell/imager/initramfs"
	"github.com/cell-network/cell/imager/tree"
	"github.com/cell-network/cell/imager/uki"
)

// Spec is what an image is made of.
type Spec struct {
	Tree   tree.Spec
	Init   string // path of cell-init
	Output string // path of the image, which must not exist
	Work   string // directory for what is made on the way; it is emptied by nobody
}

// boot are the kernel's modules that the first program needs.
var boot = []string{"loop", "squashfs", "overlay"}

// Build makes the image. say is told of each step.
func Build(ctx context.Context, s Spec, say func(step string)) error {
	if _, err := exec.LookPath("mksquashfs"); err != nil {
		return errors.New("mksquashfs is not installed")
	}
	// Before minutes are spent.
	if _, err := os.Lstat(s.Output); err == nil {
		return fmt.Errorf("%s is there already", s.Output)
	}
	for _, needed := range []string{s.Init, s.Tree.Package} {
		if _, err := os.Stat(needed); err != nil {
			return err
		}
	}
	root := filepath.Join(s.Work, "root")
	say("root of Debian " + s.Tree.Release)
	if err := tree.Make(ctx, s.Tree, root); err != nil {
		return err
	}
	version, err := tree.Version(root)
	if err != nil {
		return err
	}
	say("image of the root")
	kernel := filepath.Join(root, "boot/vmlinuz-"+version)
	squash := filepath.Join(s.Work, "root.img")
	c := exec.CommandContext(ctx, "mksquashfs", root, squash, "-quiet", "-no-progress", "-comp", "zstd", "-Xcompression-level", "15", "-e", "boot")
	c.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("make the image of the root: mksquashfs: %w\n%s", err, out)
	}
	say("kernel " + version)
	initrd, err := os.Create(filepath.Join(s.Work, "initrd"))
	if err != nil {
		return err
	}
	err = initramfs.Write(initrd, s.Init, squash, root, version, boot)
	if err := errors.Join(err, initrd.Close()); err != nil {
		return err
	}
	image, err := os.Create(filepath.Join(s.Work, "cell.efi"))
	if err != nil {
		return err
	}
	err = uki.Write(image, uki.Parts{
		Stub: filepath.Join(root, "usr/lib/systemd/boot/efi/linuxx64.efi.stub"), Kernel: kernel, Initrd: initrd.Name(),
		Cmdline: "console=tty0 console=ttyS0,115200 quiet", Uname: version,
		OSRelease: strings.Join([]string{"ID=cell", "NAME=Cell", `PRETTY_NAME="Cell"`, "VERSION_ID=1", ""}, "\n"),
	})
	if err := errors.Join(err, image.Close()); err != nil {
		return err
	}
	say("disk")
	return disk.Write(s.Output, []disk.File{
		{Name: "EFI/BOOT/BOOTX64.EFI", From: filepath.Join(root, "usr/lib/systemd/boot/efi/systemd-bootx64.efi")},
		{Name: "loader/loader.conf", Text: "timeout 3\neditor no\n"},
		{Name: "EFI/Linux/cell_1.efi", From: image.Name()},
	})
}
