package imager

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cell-network/cell/donor/layout"
	"github.com/cell-network/cell/imager/initramfs"
	"github.com/cell-network/cell/imager/tree"
)

// What is kept of a root, in one directory.
const (
	rootImage     = initramfs.Root
	modules       = "modules"
	kernel        = "vmlinuz"
	kernelVersion = "uname"
	stub          = "stub.efi"
	menuProgram   = "menu.efi"
	initProgram   = "cell-init"
	inside        = "packages"       // of the distribution, with their versions
	insideCell    = "cell.spdx.json" // what is inside of Cell's own package
)

// root makes the image of a root and what belongs to it, or finds what was made of the same before. It returns the directory.
func root(ctx context.Context, s Spec, say func(string)) (string, error) {
	key, err := identity(s.Tree)
	if err != nil {
		return "", err
	}
	kept := filepath.Join(s.Cache, key)
	if s.Cache != "" && !s.Anew {
		if st, err := os.Stat(kept); err == nil {
			say(fmt.Sprintf("root of Debian %s for %s, as it was made on %s (--anew makes it anew)", s.Tree.Release, s.Tree.Arch, st.ModTime().Format(time.DateOnly)))
			return kept, nil
		}
	}
	say("root of Debian " + s.Tree.Release + " for " + s.Tree.Arch)
	dir, made := filepath.Join(s.Work, "root"), filepath.Join(s.Work, "made")
	if err := tree.Make(ctx, s.Tree, dir); err != nil {
		return "", err
	}
	version, err := tree.Version(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(made, modules), 0o755); err != nil {
		return "", err
	}
	if err := initramfs.Collect(dir, version, names, filepath.Join(made, modules)); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(made, kernelVersion), []byte(version), 0o644); err != nil {
		return "", err
	}
	efi := "usr/lib/systemd/boot/efi/"
	for from, to := range map[string]string{
		"boot/vmlinuz-" + version:                     kernel,
		efi + "linux" + s.machine.efi + ".efi.stub":   stub,
		efi + "systemd-boot" + s.machine.efi + ".efi": menuProgram,
		"usr/bin/cell-init":                           initProgram,
		strings.TrimPrefix(layout.CellBOM, "/"):       insideCell,
		strings.TrimPrefix(layout.Packages, "/"):      inside,
	} {
		if err := run(ctx, "cp", filepath.Join(dir, from), filepath.Join(made, to)); err != nil {
			return "", err
		}
	}
	say("image of the root")
	if err := squash(ctx, dir, filepath.Join(made, rootImage), "-e", "boot"); err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil || s.Cache == "" {
		return made, err
	}
	if err := os.MkdirAll(s.Cache, 0o755); err != nil {
		return "", err
	}
	// It comes into its place as a whole; two builds at the same time make the same.
	next := kept + fmt.Sprintf(".%d", os.Getpid())
	if err := run(ctx, "cp", "-r", made, next); err != nil {
		return "", err
	}
	if err := os.RemoveAll(kept); err != nil {
		return "", err
	}
	return kept, os.Rename(next, kept)
}

// identity names what a root is made of: what the caller says, the package's bytes, and how this version makes roots.
func identity(s tree.Spec) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %q %q\n", s.Release, s.Arch, s.Kernel, tree.Recipe(), names)
	f, err := os.Open(s.Package)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:12]), nil
}
