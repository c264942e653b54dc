// Package vm proves in a virtual machine what no container can: that the kernel holds cells to their limits. One guest is
// booted, once; guest.sh runs in it under the machine's own manager and says on the console what it saw.
package vm

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lacks says why no guest can run here, or "".
func lacks() string {
	if os.Getenv("CELL_TEST_VM") == "" {
		return "it takes minutes: make vmtest runs it (CELL_TEST_VM=1)"
	}
	if os.Geteuid() != 0 {
		return "a root file system is made as root"
	}
	for _, p := range []string{"qemu-system-x86_64", "debootstrap", "mkfs.ext4"} {
		if _, err := exec.LookPath(p); err != nil {
			return p + " is not installed"
		}
	}
	return ""
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

const packages = "systemd,systemd-sysv,dbus,curl,udev,initramfs-tools,linux-image-cloud-amd64"

// base is a Debian root with a kernel, made once and kept in the user's cache.
func base(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(packages))
	dir := filepath.Join(cache, "cell", "vm", hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return dir
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "debootstrap", "--variant=minbase", "--include="+packages, "bookworm", filepath.Join(dir, "root"))
	// The root file system has quotas, and is mounted by the initial RAM disk.
	write(t, filepath.Join(dir, "root/etc/initramfs-tools/modules"), "quota_v2\n", 0o644)
	run(t, dir, "chroot", filepath.Join(dir, "root"), "update-initramfs", "-u")
	if err := os.WriteFile(filepath.Join(dir, "complete"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

const unit = `[Unit]
Description=test of cells' limits
After=multi-user.target celld.service
[Service]
Type=exec
ExecStart=/opt/guest.sh
`

func TestLimits(t *testing.T) {
	if why := lacks(); why != "" {
		t.Skip(why)
	}
	dir, work := base(t), t.TempDir()
	root := filepath.Join(work, "root")
	run(t, work, "cp", "-a", filepath.Join(dir, "root"), root)
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	built := filepath.Join(work, "built")
	for pkg, out := range map[string]string{"./cmd/...": built + "/", "./cmd/cell/testdata/misfit": root + "/opt/misfit"} {
		c := exec.Command("go", "build", "-trimpath", "-o", out, pkg)
		c.Dir, c.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
		if text, err := c.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, text)
		}
	}
	run(t, repository, "make", "install", "DESTDIR="+root, "BUILT="+built)
	guest, err := os.ReadFile("guest.sh")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "opt/guest.sh"), string(guest), 0o755)
	write(t, filepath.Join(root, "etc/systemd/system/guest.service"), unit, 0o644)
	write(t, filepath.Join(root, "etc/systemd/system/guest.timer"), "[Timer]\nOnActiveSec=1\n", 0o644)
	// The console is the test's alone.
	if err := os.Symlink("/dev/null", filepath.Join(root, "etc/systemd/system/serial-getty@ttyS0.service")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "etc/fstab"), "/dev/vda / ext4 prjquota 0 1\n", 0o644)
	write(t, filepath.Join(root, "etc/modules-load.d/quota.conf"), "quota_v2\n", 0o644)
	if err := os.Symlink("../guest.timer", wants(t, root)); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(work, "root.img")
	run(t, work, "truncate", "-s", "2G", image)
	run(t, work, "mkfs.ext4", "-q", "-O", "quota,project", "-d", root, image)
	results := boot(t, filepath.Join(dir, "root/boot"), image)

	for name, want := range map[string][]string{
		"manager":         {"system"},
		"explain":         {"memory 64M cell-hungry.slice yes", "cpu 0.5 cores cell-hungry.slice yes", "tasks 40 cell-hungry.slice yes", "io read 5M cell-hungry.slice yes", "storage 10M project quota yes"},
		"memory.max":      {"67108864 67108864"},
		"pids.max":        {"40"},
		"cpu.max":         {"50000 100000"},
		"io.max":          {"rbps=5242880"},
		"oom status":      {"restarted: killed: over its 64 MB of memory"},
		"oom answers":     {"misfit 1 serve"},
		"oom others":      {"untouched"},
		"changed":         {"100663296 50 same process"},
		"tasks":           {"refused after", "resource temporarily unavailable"},
		"storage":         {"disk quota exceeded"},
		"storage outside": {"1"},
	} {
		for _, w := range want {
			if !strings.Contains(results[name], w) {
				t.Errorf("%s: %q, want %q", name, results[name], w)
			}
		}
	}
	if n := results["throttled"]; n == "" || n == "0" {
		t.Errorf("a spinning cell was held back %q times", n)
	}
}

// wants is the place of the link that starts the guest's timer at boot.
func wants(t *testing.T, root string) string {
	t.Helper()
	dir := filepath.Join(root, "etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "guest.timer")
}

// boot runs the guest to its end and returns what it said.
func boot(t *testing.T, kernels, image string) map[string]string {
	t.Helper()
	kernel, initrd := glob(t, kernels+"/vmlinuz-*"), glob(t, kernels+"/initrd.img-*")
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", "512", "-nographic", "-no-reboot",
		"-nodefaults", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd, "-append", "root=/dev/vda rw rootflags=prjquota console=ttyS0 panic=1 systemd.show_status=0 quiet loglevel=1",
		"-drive", "file="+image+",if=virtio,format=raw,cache=unsafe")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	results, console := map[string]string{}, []string{}
	in := bufio.NewScanner(io.LimitReader(out, 16<<20))
	for in.Scan() {
		line := strings.TrimRight(in.Text(), "\r")
		console = append(console, line)
		if _, text, ok := strings.Cut(line, "RESULT "); ok {
			name, value, _ := strings.Cut(text, ": ")
			results[name] = value
		}
	}
	if err := c.Wait(); err != nil {
		t.Errorf("the guest did not end by itself: %v", err)
	}
	if _, ok := results["end"]; !ok {
		t.Fatalf("the guest did not come to its end; its console:\n%s", strings.Join(console[max(0, len(console)-60):], "\n"))
	}
	for name, text := range results {
		t.Logf("%s: %s", name, text)
	}
	return results
}

func glob(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found[0]
}
