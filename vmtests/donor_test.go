package vmtests

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A donor's image is built by the command and booted by firmware, until it says that it is ready.
func TestDonor(t *testing.T) {
	if err := lacks(); err != nil {
		t.Skip(err)
	}
	if os.Getenv("CELL_TEST_VM") != "all" {
		t.Skip("it takes minutes; make vmtest RUN=donor runs it")
	}
	t.Run("donor", func(t *testing.T) {
		const code, vars = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"
		if _, err := os.Stat(code); err != nil {
			t.Skip("ovmf is not installed (packaging/deps.sh vm installs it)")
		}
		dir := t.TempDir()
		build := exec.Command("go", "build", "-trimpath", "-o", dir+"/", "../cmd/cell", "../cmd/cell-init")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		image := filepath.Join(dir, "donor.img")
		begun := time.Now()
		if out, err := command(dir, "./cell", "image", "build", "--package", deb(t), "-o", image); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("built in %v", time.Since(begun).Round(time.Second))
		state, err := os.ReadFile(vars)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "vars.fd"), state, 0o644); err != nil {
			t.Fatal(err)
		}
		boot(t, dir, code, "cell: ready: ", "file="+image+",format=raw,if=virtio,snapshot=on")
	})
}

// boot starts a machine with a disk, until its console says a text.
func boot(t *testing.T, dir, code, text, disk string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	args := append(accelerator(), "-machine", "q35", "-smp", "1", "-m", "512", "-display", "none", "-monitor", "none", "-nic", "user,model=virtio-net-pci", "-no-reboot",
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+code, "-drive", "if=pflash,format=raw,unit=1,file="+filepath.Join(dir, "vars.fd"),
		"-drive", disk, "-serial", "stdio")
	c := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}()
	var said bytes.Buffer
	buf := make([]byte, 4096)
	for !bytes.Contains(said.Bytes(), []byte(text)) {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the machine ended")
			}
			t.Fatalf("%v before its console said %q:\n%s", err, text, said.String())
		}
	}
	t.Logf("firmware to ready in %v", time.Since(begun).Round(time.Second))
}
