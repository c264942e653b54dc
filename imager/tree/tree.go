// Package tree makes the root of a donor: a distribution's, with systemd, D-Bus and Cell's package, and the kernel that it is started with.
package tree

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Spec is what a root is made of.
type Spec struct {
	Release string // of Debian
	Kernel  string // name of the package of the kernel
	Package string // path of Cell's .deb
}

// packages are what a donor needs of the distribution.
var packages = []string{
	"systemd", "systemd-sysv", "udev", "dbus", "libnss-systemd", "kmod", "iproute2", "nftables", "e2fsprogs", "systemd-timesyncd", "systemd-resolved", "systemd-boot-efi",
}

// useless are the parts of the kernel's modules that no donor needs, and files that only a person at a shell would.
const useless = `cd "$1"
rm -rf usr/lib/modules/*/kernel/sound usr/lib/modules/*/kernel/drivers/media usr/lib/modules/*/kernel/drivers/gpu usr/lib/modules/*/kernel/drivers/staging \
	usr/lib/modules/*/kernel/drivers/infiniband usr/lib/modules/*/kernel/drivers/iio usr/lib/modules/*/kernel/drivers/comedi usr/lib/modules/*/kernel/drivers/isdn \
	usr/lib/modules/*/kernel/drivers/video usr/share/doc usr/share/man usr/share/locale usr/share/info var/cache/apt var/lib/apt/lists tmp/* usr/lib/x86_64-linux-gnu/gconv \
	usr/share/perl usr/share/perl5 usr/lib/x86_64-linux-gnu/perl usr/lib/x86_64-linux-gnu/perl-base usr/bin/perl*
mkdir -p var/cache/apt var/lib/apt/lists
for v in usr/lib/modules/*; do depmod -b . "${v##*/}"; done
`

// kernel unpacks the kernel's package without what it wants beside it, which makes initial RAM disks of another kind.
const kernel = `cd "$1/tmp"
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get download -qq "$(APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-cache depends KERNEL | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)"
dpkg-deb --fsys-tarfile linux-image-*.deb | tar -x -C "$1" --keep-directory-symlink
`

// cell installs Cell's package as a person would.
const cell = `cp PACKAGE "$1/tmp/cell.deb"
chroot "$1" dpkg -i /tmp/cell.deb
`

// Make makes the root as the directory to, which must not exist.
func Make(ctx context.Context, s Spec, to string) error {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return fmt.Errorf("make the root: mmdebstrap is not installed")
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("make the root: only root can make one, whose files belong to several users")
	}
	hooks := []string{
		strings.ReplaceAll(kernel, "KERNEL", s.Kernel), strings.ReplaceAll(cell, "PACKAGE", quote(s.Package)), useless,
	}
	args := []string{"--quiet", "--variant=essential", "--include=" + strings.Join(packages, ",")}
	for _, h := range hooks {
		args = append(args, "--customize-hook="+h)
	}
	c := exec.CommandContext(ctx, "mmdebstrap", append(args, s.Release, to)...)
	c.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("make the root: mmdebstrap: %w\n%s", err, out)
	}
	return configure(to)
}

// files make a distribution's root a donor's.
var files = map[string]string{
	"etc/hostname":   "donor\n",
	"etc/fstab":      "",
	"etc/machine-id": "uninitialized\n",
	// Every wired network, by DHCP and router advertisements.
	"etc/systemd/network/80-wired.network":    "[Match]\nType=ether\n[Network]\nDHCP=yes\nLinkLocalAddressing=ipv6\n",
	"etc/systemd/system/cell-console.service": console,
}

// console says on all consoles what this machine is.
const console = `[Unit]
Description=Cell on the console
After=celld.service dbus.service
Wants=celld.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cell status >/dev/null && echo "cell: ready: this machine is a donor; it runs from memory, and nothing is written to its disks"'
StandardOutput=journal+console
[Install]
WantedBy=multi-user.target
`

func configure(root string) error {
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make the root: %w", err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return fmt.Errorf("make the root: %w", err)
		}
	}
	for _, link := range [][2]string{
		{"/etc/systemd/system/cell-console.service", "etc/systemd/system/multi-user.target.wants/cell-console.service"},
		{"/usr/lib/systemd/system/systemd-networkd.service", "etc/systemd/system/multi-user.target.wants/systemd-networkd.service"},
		{"/dev/null", "etc/systemd/system/systemd-firstboot.service"},
		{"/dev/null", "etc/systemd/system/getty.target"}, // nobody logs in
		{"/dev/null", "etc/systemd/system/autovt@.service"},
		{"/dev/null", "etc/systemd/system/systemd-repart.service"},
	} {
		path := filepath.Join(root, link[1])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make the root: %w", err)
		}
		if err := os.Symlink(link[0], path); err != nil && !os.IsExist(err) {
			return fmt.Errorf("make the root: %w", err)
		}
	}
	return nil
}

// Version is the version of a root's kernel.
func Version(root string) (string, error) {
	all, _ := filepath.Glob(filepath.Join(root, "usr/lib/modules/*"))
	if len(all) != 1 {
		return "", fmt.Errorf("the root has %d kernels, not one", len(all))
	}
	return filepath.Base(all[0]), nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
