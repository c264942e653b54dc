// Package tree makes the root of a donor: a distribution's, with systemd, D-Bus and Cell's package, and the kernel that it is started with.
package tree

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cell-network/cell/donor/layout"
)

// Spec is what a root is made of.
type Spec struct {
	Release string // of Debian
	Arch    string // Debian's name of the architecture
	Kernel  string // name of the package of the kernel
	Package string // path of Cell's .deb
}

// packages are what a donor needs of the distribution.
var packages = []string{
	"systemd", "systemd-sysv", "udev", "dbus", "libnss-systemd", "kmod", "iproute2", "nftables", "e2fsprogs", "systemd-timesyncd", "systemd-resolved", "systemd-boot-efi", "ca-certificates",
	"libtss2-esys-3.0.2-0", "libtss2-mu0", "libtss2-rc0", // with which systemd speaks to a TPM
}

// useless are the parts of the kernel's modules that no donor needs, and files that only a person at a shell would: sound, pictures,
// radio, file systems of others' disks, storage networks.
const useless = `cd "$1"
(cd usr/lib/modules/*/kernel
	rm -rf sound drivers/media drivers/gpu drivers/staging drivers/infiniband drivers/iio drivers/comedi drivers/isdn drivers/video drivers/bluetooth \
		drivers/nfc drivers/mtd drivers/pcmcia drivers/memstick drivers/soundwire drivers/target drivers/parport drivers/input/joystick drivers/input/tablet drivers/input/mouse \
		drivers/input/misc drivers/input/touchscreen drivers/i2c/busses drivers/hwmon arch/x86/kvm \
		drivers/net/wireless drivers/net/can drivers/net/hamradio drivers/net/ieee802154 drivers/net/arcnet drivers/net/fddi drivers/net/wwan \
		drivers/scsi/bfa drivers/scsi/qla2xxx drivers/scsi/lpfc drivers/scsi/qla4xxx drivers/scsi/qedf drivers/scsi/qedi drivers/scsi/bnx2fc drivers/scsi/bnx2i \
		drivers/scsi/fnic drivers/scsi/csiostor drivers/scsi/be2iscsi drivers/scsi/cxgbi drivers/scsi/fcoe drivers/scsi/libfc \
		fs/xfs fs/ocfs2 fs/nfs fs/nfsd fs/nfs_common fs/lockd fs/smb fs/btrfs fs/gfs2 fs/dlm fs/f2fs fs/ceph fs/jfs fs/reiserfs fs/ntfs fs/ntfs3 fs/udf fs/hfs \
		fs/hfsplus fs/ufs fs/minix fs/orangefs fs/afs fs/9p fs/coda fs/nilfs2 fs/affs fs/befs fs/bfs fs/cramfs fs/ecryptfs fs/efs fs/erofs fs/exfat fs/freevxfs \
		fs/hpfs fs/jffs2 fs/omfs fs/qnx4 fs/qnx6 fs/romfs fs/sysv fs/ubifs fs/zonefs \
		net/wireless net/mac80211 net/bluetooth net/nfc net/mac802154 net/ieee802154 net/6lowpan net/sunrpc net/rxrpc net/ceph net/sctp net/dccp net/tipc net/rds \
		net/phonet net/netrom net/rose net/ax25 net/lapb net/x25 net/smc net/can net/9p net/atm net/appletalk net/batman-adv net/qrtr)
rm -rf usr/share/doc usr/share/man usr/share/locale usr/share/info var/cache/apt var/lib/apt/lists tmp/* usr/lib/*-linux-gnu/gconv usr/lib/udev/hwdb.d \
	usr/share/perl usr/share/perl5 usr/lib/*-linux-gnu/perl usr/lib/*-linux-gnu/perl-base usr/bin/perl* usr/share/cell/goproxy usr/share/initramfs-tools
rm -rf var/log/* var/cache/ldconfig var/cache/debconf/*-old var/lib/dpkg/*-old etc/*- usr/share/zoneinfo/right
mkdir -p var/cache/apt var/lib/apt/lists var/log/private
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

// list writes which packages there are.
const list = `mkdir -p "$1$(dirname "LIST")"
chroot "$1" dpkg-query -W -f '${Package} ${Version} ${Architecture}\n' >"$1LIST"
(cd "$1/usr/lib/modules" && dpkg-deb -f "$1"/tmp/linux-image-*.deb Package Version Architecture) | sed 's/^[^:]*: //' | paste -sd ' ' >>"$1LIST"
cp "$1/usr/share/doc/cell/sbom.spdx.json" "$1BOM"
`

// Recipe is all that this package does to make a root, as text: roots of two recipes differ.
func Recipe() string {
	return fmt.Sprint(packages, kernel, cell, strings.NewReplacer("LIST", layout.Packages, "BOM", layout.CellBOM).Replace(list), useless, files, links, masked)
}

// Make makes the root as the directory to, which must not exist.
func Make(ctx context.Context, s Spec, to string) error {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return fmt.Errorf("make the root: mmdebstrap is not installed")
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("make the root: only root can make one, whose files belong to several users")
	}
	hooks := []string{
		strings.ReplaceAll(kernel, "KERNEL", s.Kernel), strings.ReplaceAll(cell, "PACKAGE", quote(s.Package)), strings.NewReplacer("LIST", layout.Packages, "BOM", layout.CellBOM).Replace(list), useless,
	}
	args := []string{"--quiet", "--variant=essential", "--architectures=" + s.Arch, "--include=" + strings.Join(packages, ",")}
	for _, h := range hooks {
		args = append(args, "--customize-hook="+h)
	}
	c := exec.CommandContext(ctx, "mmdebstrap", append(args, s.Release, to)...)
	c.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=0")
	if out, err := c.CombinedOutput(); err != nil {
		hint := ""
		if bytes.Contains(out, []byte("can neither be executed natively")) || bytes.Contains(out, []byte("Exec format error")) {
			hint = "\nIts programs run while it is made: another computer of the architecture " + s.Arch + " can, or this one with qemu-user-static."
		}
		return fmt.Errorf("make the root: mmdebstrap: %w\n%s%s", err, out, hint)
	}
	return configure(to)
}

// files make a distribution's root a donor's.
var files = map[string]string{
	"etc/hostname":   "donor\n",
	"etc/fstab":      "",
	"etc/machine-id": "uninitialized\n",
	// Every wired network, by DHCP and router advertisements.
	"etc/systemd/network/80-wired.network": "[Match]\nType=ether\n[Network]\nDHCP=yes\nLinkLocalAddressing=ipv6\n",
	// The root is memory: a journal that grows takes it from the cells.
	"etc/systemd/journald.conf.d/donor.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n",
	"etc/systemd/system.conf.d/donor.conf":   "[Manager]\nCrashReboot=yes\nRuntimeWatchdogSec=2min\nRebootWatchdogSec=2min\n",
	"etc/systemd/system/cell-donor-prepare.service": `[Unit]
Description=Settings and data of this donor
DefaultDependencies=no
After=systemd-udevd.service systemd-udev-trigger.service systemd-tmpfiles-setup-dev.service
Before=local-fs.target network-pre.target systemd-networkd.service
Wants=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/cell-donor prepare
TimeoutStartSec=5min
StandardError=journal+console
`,
	"etc/systemd/system/cell-donor.service": `[Unit]
Description=This donor's membership, console and image
Requires=cell-donor-prepare.service
After=cell-donor-prepare.service dbus.service celld.service network.target
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/cell-donor serve
Environment=HOME=/root
Restart=always
RestartSec=2
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_SYS_RESOURCE CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
`,
	// Nobody can log in to repair anything: the machine starts anew, and the boot menu may take the image before this one.
	"etc/systemd/system/emergency.service": `[Unit]
Description=Start anew
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo "cell: a part of the system that all needs failed; starting anew" >/dev/console; sleep 10'
ExecStart=/usr/bin/systemctl --force reboot
`,
}

// links are symbolic links: what each leads to, and where it is.
var links = [][2]string{
	{"/etc/systemd/system/cell-donor-prepare.service", "etc/systemd/system/local-fs.target.wants/cell-donor-prepare.service"},
	{"/etc/systemd/system/cell-donor.service", "etc/systemd/system/multi-user.target.wants/cell-donor.service"},
	{"emergency.service", "etc/systemd/system/rescue.service"},
	{"/usr/lib/systemd/system/systemd-networkd.service", "etc/systemd/system/multi-user.target.wants/systemd-networkd.service"},
}

// masked are units and generators that do nothing for a donor, and together are a good part of what a slow computer does until it is up.
var masked = map[string][]string{
	"system": {
		"getty.target", "autovt@.service", "systemd-firstboot.service", // nobody logs in
		"systemd-user-sessions.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
		"systemd-repart.service", // cell-donor calls it
		// The root is memory, made anew at each start: nothing is mounted by name, kept over the next start, or was not there when it was made.
		"systemd-remount-fs.service", "systemd-random-seed.service", "systemd-journal-flush.service", "systemd-sysusers.service",
		"systemd-hwdb-update.service", "systemd-journal-catalog-update.service", "systemd-machine-id-commit.service", "systemd-pstore.service",
		"systemd-network-generator.service", // the network is in donor.toml, not among the kernel's parameters
		// File systems for those who look into the kernel, or have programs that no cell may have.
		"sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "dev-hugepages.mount", "dev-mqueue.mount",
		"modprobe@configfs.service", "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@fuse.service",
		// What repairs, cleans or updates a distribution that is installed.
		"e2scrub_reap.service", "e2scrub_all.timer", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer",
		"nftables.service", // it would only empty the rules
	},
	"system-generators": {
		"systemd-bless-boot-generator", "systemd-cryptsetup-generator", "systemd-fstab-generator", "systemd-getty-generator", "systemd-gpt-auto-generator",
		"systemd-hibernate-resume-generator", "systemd-integritysetup-generator", "systemd-rc-local-generator", "systemd-system-update-generator",
		"systemd-sysv-generator", "systemd-veritysetup-generator",
	},
}

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
	all := slices.Clone(links)
	for _, kind := range slices.Sorted(maps.Keys(masked)) {
		for _, name := range masked[kind] {
			all = append(all, [2]string{"/dev/null", "etc/systemd/" + kind + "/" + name})
		}
	}
	for _, link := range all {
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
