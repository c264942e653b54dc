package vmtests

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// inGuest are the packages of a guest beside a minimal base.
const inGuest = "systemd,systemd-sysv,dbus,libpam-systemd,polkitd,curl,udev,iproute2,nftables,wireguard-tools,python3,initramfs-tools,linux-image-cloud-amd64"

// command runs a program and returns what it wrote.
func command(dir, name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// root is the root of a release with a kernel, made once and kept in the user's cache.
func root(release string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(release + inGuest))
	dir := filepath.Join(cache, "cell", "guests", release+"-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if _, err := command(tmp, "mmdebstrap", "--quiet", "--variant=minbase", "--include="+inGuest, release, tmp); err != nil {
		return "", err
	}
	// The root file system has quotas, and the initial RAM disk mounts it.
	if err := write(tmp, "etc/initramfs-tools/modules", "quota_v2\n", 0o644); err != nil {
		return "", err
	}
	if _, err := command(tmp, "chroot", tmp, "update-initramfs", "-u"); err != nil {
		return "", err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", err
	}
	return dir, os.Rename(tmp, dir)
}

func write(dir, name, text string, mode os.FileMode) error {
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), mode)
}

const agentUnit = `[Unit]
Description=agent of the tests
DefaultDependencies=no
After=systemd-udevd.service
ConditionPathExists=/dev/virtio-ports/cell
[Service]
ExecStart=/opt/agent
Restart=always
RestartSec=100ms
`

// image makes a disk of a release in dir, with the agent, the package of this commit as /opt/cell.deb, a program that misbehaves
// on request as /opt/misfit, and the cell calculator as /opt/sum. It returns the disk and what QEMU boots it with.
func image(dir, release, deb string) (disk, kernel, initrd string, err error) {
	from, err := root(release)
	if err != nil {
		return "", "", "", err
	}
	tree := filepath.Join(dir, "root")
	defer os.RemoveAll(tree)
	if _, err := command(dir, "cp", "-a", from, tree); err != nil {
		return "", "", "", err
	}
	build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(tree, "opt")+"/", "./agent", "../cmd/cell/testdata/misfit", "../examples/calculator")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", "", "", fmt.Errorf("build what runs in the guest: %w\n%s", err, out)
	}
	sum := filepath.Join(tree, "opt", "sum")
	if err := os.MkdirAll(filepath.Join(sum, "bin"), 0o755); err != nil {
		return "", "", "", err
	}
	if err := os.Rename(filepath.Join(tree, "opt", "calculator"), filepath.Join(sum, "bin", "calculator")); err != nil {
		return "", "", "", err
	}
	for _, f := range []string{"cell.toml", "genome.json"} {
		if _, err := command(".", "cp", filepath.Join("../examples/calculator", f), sum); err != nil {
			return "", "", "", err
		}
	}
	content, err := os.ReadFile(deb)
	if err != nil {
		return "", "", "", err
	}
	for _, f := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{"opt/cell.deb", string(content), 0o644},
		{"etc/systemd/system/agent.service", agentUnit, 0o644},
		{"etc/udev/rules.d/99-agent.rules", `SUBSYSTEM=="virtio-ports", ATTR{name}=="cell", TAG+="systemd", ENV{SYSTEMD_WANTS}+="agent.service"` + "\n", 0o644},
		{"etc/fstab", "/dev/vda / ext4 prjquota 0 1\n", 0o644},
		{"etc/modules-load.d/quota.conf", "quota_v2\n", 0o644},
		{"etc/hostname", "guest\n", 0o644},
		{"etc/hosts", "127.0.0.1 localhost guest\n", 0o644},
		{"etc/systemd/journald.conf.d/test.conf", "[Journal]\nStorage=persistent\n", 0o644},
	} {
		if err := write(tree, f.name, f.text, f.mode); err != nil {
			return "", "", "", err
		}
	}
	for _, user := range []string{"alice", "bob"} {
		if _, err := command(dir, "chroot", tree, "useradd", "-m", "-s", "/bin/sh", user); err != nil {
			return "", "", "", err
		}
		if err := os.Chmod(filepath.Join(tree, "home", user), 0o700); err != nil {
			return "", "", "", err
		}
	}
	for _, unit := range []string{"serial-getty@ttyS0.service", "getty.target", "apt-daily.timer", "apt-daily-upgrade.timer", "man-db.timer", "e2scrub_all.timer", "fstrim.timer", "dpkg-db-backup.timer"} {
		if err := os.Symlink("/dev/null", filepath.Join(tree, "etc/systemd/system", unit)); err != nil {
			return "", "", "", err
		}
	}
	for _, f := range []struct{ pattern, name string }{{"vmlinuz-*", "kernel"}, {"initrd.img-*", "initrd"}} {
		found, err := filepath.Glob(filepath.Join(tree, "boot", f.pattern))
		if err != nil || len(found) != 1 {
			return "", "", "", fmt.Errorf("%s of %s: %v, %v", f.name, release, found, err)
		}
		if _, err := command(dir, "cp", found[0], filepath.Join(dir, f.name)); err != nil {
			return "", "", "", err
		}
	}
	disk = filepath.Join(dir, "disk.raw")
	if _, err := command(dir, "truncate", "-s", "3G", disk); err != nil {
		return "", "", "", err
	}
	_, err = command(dir, "mkfs.ext4", "-q", "-O", "quota,project", "-d", tree, disk)
	return disk, filepath.Join(dir, "kernel"), filepath.Join(dir, "initrd"), err
}
