// Package imager makes images from which a computer starts as a donor: see docs/image.md.
package imager

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cell-network/cell/donor/layout"
	"github.com/cell-network/cell/donor/settings"
	"github.com/cell-network/cell/donor/slot"
	"github.com/cell-network/cell/donor/statement"
	"github.com/cell-network/cell/imager/disk"
	"github.com/cell-network/cell/imager/initramfs"
	"github.com/cell-network/cell/imager/tree"
	"github.com/cell-network/cell/imager/uki"
)

// Spec is what an image is made of.
type Spec struct {
	Tree    tree.Spec
	Outputs []string // paths that must not exist; the ends of their names say what they are: see kinds
	Work    string   // directory for what is made on the way; it is emptied by nobody
	Cache   string   // directory where roots are kept; empty for none
	Anew    bool     // a root that is kept is made anew

	Version    uint64 // a higher one is the newer image
	Settings   settings.Settings
	Trees      []string           // directories of trees of cells that are built
	Debug      bool               // with a root shell
	UpdateKey  ed25519.PrivateKey // signs the image, and the images that may replace it; nil for none
	SecureBoot Pair               // signs what firmware starts; empty for none

	machine machine
}

// machine is what differs from one architecture to another.
type machine struct {
	efi    string // in the names of files for firmware (UEFI specification, 3.5.1.1)
	serial string // the kernel's name of the first serial line
}

// machines are known by Debian's names of their architectures.
var machines = map[string]machine{"amd64": {"x64", "ttyS0"}, "arm64": {"aa64", "ttyAMA0"}}

// boot is the name of what firmware starts from a medium.
func (m machine) boot() string { return "EFI/BOOT/BOOT" + strings.ToUpper(m.efi) + ".EFI" }

// Pair are the paths of a key and its certificate, in PEM.
type Pair struct{ Key, Certificate string }

// kinds are the ends of outputs' names, and what each is.
var kinds = map[string]string{
	".img":   "a disk, as its bytes",
	".qcow2": "a disk for QEMU",
	".efi":   "what firmware or a boot server starts",
	".iso":   "a CD",
}

// names are the kernel's modules that the first program needs.
var names = []string{"loop", "squashfs", "overlay"}

// check finds what would fail after minutes.
func (s *Spec) check() error {
	programs := []string{"mksquashfs"}
	for _, o := range s.Outputs {
		if _, ok := kinds[filepath.Ext(o)]; !ok {
			return fmt.Errorf("%s: an image's name ends with .img, .qcow2, .iso or .efi", o)
		}
		if _, err := os.Lstat(o); err == nil {
			return fmt.Errorf("%s is there already", o)
		}
		if filepath.Ext(o) == ".qcow2" {
			programs = append(programs, "qemu-img")
		}
	}
	needed := []string{s.Tree.Package}
	if s.SecureBoot != (Pair{}) {
		programs = append(programs, "sbsign")
		needed = append(needed, s.SecureBoot.Key, s.SecureBoot.Certificate)
	}
	for _, t := range s.Trees {
		needed = append(needed, filepath.Join(t, "cell.toml"))
	}
	for _, n := range needed {
		if _, err := os.Stat(n); err != nil {
			return err
		}
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%s is not installed", p)
		}
	}
	out, err := exec.Command("dpkg-deb", "-f", s.Tree.Package, "Architecture").Output()
	if err != nil {
		return fmt.Errorf("ask %s for its architecture: %w", s.Tree.Package, err)
	}
	var ok bool
	s.Tree.Arch = strings.TrimSpace(string(out))
	if s.machine, ok = machines[s.Tree.Arch]; !ok {
		return fmt.Errorf("%s is for %s; images are for %s", s.Tree.Package, s.Tree.Arch, strings.Join(slices.Sorted(maps.Keys(machines)), " and "))
	}
	if s.Tree.Kernel == "" {
		s.Tree.Kernel = "linux-image-" + s.Tree.Arch
	}
	return nil
}

// Build makes the image. say is told of each step.
func Build(ctx context.Context, s Spec, say func(step string)) (err error) {
	if err := s.check(); err != nil {
		return err
	}
	base, err := root(ctx, s, say)
	if err != nil {
		return err
	}
	say(fmt.Sprintf("image %d", s.Version))
	top := filepath.Join(s.Work, initramfs.Top)
	if err := lay(ctx, s, top); err != nil {
		return err
	}
	initrd := filepath.Join(s.Work, "initrd")
	if err := create(initrd, func(f *os.File) error {
		return initramfs.Write(f, initramfs.Parts{Init: filepath.Join(base, initProgram), Root: filepath.Join(base, rootImage), Top: top, Modules: filepath.Join(base, modules)})
	}); err != nil {
		return err
	}
	uname, err := os.ReadFile(filepath.Join(base, kernelVersion))
	if err != nil {
		return err
	}
	image := filepath.Join(s.Work, "cell.efi")
	if err := create(image, func(f *os.File) error {
		return uki.Write(f, uki.Parts{
			Stub: filepath.Join(base, stub), Kernel: filepath.Join(base, kernel), Initrd: initrd,
			Cmdline: "console=" + s.machine.serial + ",115200 console=tty0 quiet loglevel=3 panic=10", Uname: string(uname),
			OSRelease: strings.Join([]string{"ID=cell", "NAME=Cell", `PRETTY_NAME="Cell"`, fmt.Sprintf("VERSION_ID=%d", s.Version), ""}, "\n"),
		})
	}); err != nil {
		return err
	}
	menu := filepath.Join(base, menuProgram)
	if s.SecureBoot != (Pair{}) {
		say("signatures for Secure Boot")
		for _, f := range []*string{&image, &menu} {
			signed := filepath.Join(s.Work, filepath.Base(*f)+".signed")
			if err := run(ctx, "sbsign", "--key", s.SecureBoot.Key, "--cert", s.SecureBoot.Certificate, "--output", signed, *f); err != nil {
				return fmt.Errorf("sign for Secure Boot: %w", err)
			}
			*f = signed
		}
	}
	bom, err := bill(s.Version, base, image)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.Outputs[0]+bomSuffix, bom, 0o644); err != nil {
		return err
	}
	for _, o := range s.Outputs {
		say(o)
		if err := s.output(ctx, o, image, menu); err != nil {
			return errors.Join(err, os.RemoveAll(o))
		}
	}
	return nil
}

// output makes one of the outputs of the image that firmware starts.
func (s *Spec) output(ctx context.Context, to, image, menu string) error {
	switch filepath.Ext(to) {
	case ".efi":
		if err := run(ctx, "cp", "--sparse=never", image, to); err != nil || s.UpdateKey == nil {
			return err
		}
		f, err := os.Open(image)
		if err != nil {
			return err
		}
		defer f.Close()
		said, err := statement.Of(s.Version, f)
		if err != nil {
			return err
		}
		return os.WriteFile(to+statement.Suffix, said.Sign(s.UpdateKey), 0o644)
	case ".qcow2":
		raw := filepath.Join(s.Work, "disk.img")
		if err := s.output(ctx, raw, image, menu); err != nil {
			return err
		}
		defer os.Remove(raw)
		return run(ctx, "qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", raw, to)
	}
	if filepath.Ext(to) == ".iso" {
		return disk.WriteCD(to, s.Work, []disk.File{{Name: s.machine.boot(), From: image}}) // nothing on it changes: no menu
	}
	return disk.Write(to, []disk.File{
		{Name: s.machine.boot(), From: menu},
		{Name: "loader/loader.conf", Text: "timeout 1\neditor no\n"},
		{Name: slot.Dir + "/" + slot.Name(s.Version), From: image},
		{Name: settings.File, Text: strings.ReplaceAll(settings.Template(s.Settings), "\n", "\r\n")},
	})
}

// lay makes what lies over the root: what differs from one image to the next of the same root.
func lay(ctx context.Context, s Spec, to string) error {
	dir := filepath.Join(s.Work, "top")
	put := func(name, text string) error {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(text), 0o644)
	}
	if err := put(layout.Version, fmt.Sprintln(s.Version)); err != nil {
		return err
	}
	if err := put(layout.Settings, settings.Template(s.Settings)); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(dir, layout.Settings), 0o600); err != nil { // it has the token
		return err
	}
	if s.UpdateKey != nil {
		key, err := statement.PublicKey(s.UpdateKey)
		if err != nil {
			return err
		}
		if err := put(layout.UpdateKey, string(key)); err != nil {
			return err
		}
	}
	if s.Debug {
		if err := put(layout.Debug, ""); err != nil {
			return err
		}
		if err := put("etc/systemd/system/cell-shell@.service", shell); err != nil {
			return err
		}
		wants := filepath.Join(dir, "etc/systemd/system/multi-user.target.wants")
		if err := os.MkdirAll(wants, 0o755); err != nil {
			return err
		}
		for _, tty := range []string{"tty2", s.machine.serial} {
			if err := os.Symlink("/etc/systemd/system/cell-shell@.service", filepath.Join(wants, "cell-shell@"+tty+".service")); err != nil {
				return err
			}
		}
	}
	var taken []string
	for _, t := range s.Trees {
		t, err := filepath.Abs(t)
		if err != nil {
			return err
		}
		name := filepath.Base(t)
		if slices.Contains(taken, name) {
			return fmt.Errorf("two trees are called %s", name)
		}
		taken = append(taken, name)
		into := filepath.Join(dir, layout.Trees)
		if err := os.MkdirAll(into, 0o755); err != nil {
			return err
		}
		if err := run(ctx, "cp", "-r", "--preserve=mode,links", t, into); err != nil {
			return err
		}
		if err := forget(filepath.Join(into, name)); err != nil {
			return err
		}
	}
	return squash(ctx, dir, to, "-all-root")
}

// forget removes what runs of cells left in a tree, which belongs to this machine.
func forget(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() || !slices.Contains([]string{"run", "data", "cache", "log", ".git"}, d.Name()) {
			return err
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), "cell.toml")); err != nil {
			return nil // a directory of this name that has another meaning
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		return filepath.SkipDir
	})
}

// shell is the unit of a root shell on a terminal.
const shell = `[Unit]
Description=Shell on %I
[Service]
ExecStart=/bin/bash -l
StandardInput=tty-force
StandardOutput=inherit
StandardError=inherit
TTYPath=/dev/%I
TTYReset=yes
TTYVHangup=yes
KillSignal=SIGHUP
WorkingDirectory=/root
Environment=HOME=/root TERM=linux
Restart=always
RestartSec=1
`

// squash packs a directory, always into the same bytes.
func squash(ctx context.Context, dir, to string, more ...string) error {
	return run(ctx, "mksquashfs", append([]string{dir, to, "-quiet", "-no-progress", "-noappend", "-comp", "zstd", "-Xcompression-level", "15"}, more...)...)
}

// run runs a program that makes something; files get one and the same time.
func run(ctx context.Context, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

func create(name string, write func(*os.File) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
