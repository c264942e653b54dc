package vmtests

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cell-network/cell/donor/settings"
	"github.com/cell-network/cell/donor/slot"
	"github.com/cell-network/cell/donor/statement"
)

// The first image, and that which replaces it.
const firstImage, nextImage = 100, 101

// maker builds images with the command, as a person does.
type maker struct {
	t       *testing.T
	dir     string
	deb     string
	key     string // for updates
	private ed25519.PrivateKey
}

func newMaker(t *testing.T) *maker {
	t.Helper()
	m := &maker{t: t, dir: t.TempDir(), deb: deb(t)}
	build := exec.Command("go", "build", "-trimpath", "-o", m.dir+"/", "../cmd/cell", "../cmd/cell-init", "../examples/calculator")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sum := filepath.Join(m.dir, "sum")
	for _, c := range [][]string{{"mkdir", "-p", sum + "/bin", sum + "/data"}, {"mv", m.dir + "/calculator", sum + "/bin/calculator"}, {"cp", "../examples/calculator/cell.toml", "../examples/calculator/genome.json", sum}} {
		if _, err := command(".", c[0], c[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	m.private = private
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	m.key = filepath.Join(m.dir, "update.pem")
	if err := os.WriteFile(m.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

// image builds an image at name, in a directory of its own.
func (m *maker) image(number int, name string, more ...string) string {
	m.t.Helper()
	path := filepath.Join(m.t.TempDir(), name)
	begun := time.Now()
	args := append([]string{"image", "build", "--package", m.deb, "--tree", m.dir + "/sum", "--update-key", m.key, "--number", fmt.Sprint(number), "-o", path}, more...)
	if _, err := command(m.dir, "./cell", args...); err != nil {
		m.t.Fatal(err)
	}
	m.t.Logf("image %d built in %v: %s", number, time.Since(begun).Round(time.Second), name)
	return path
}

// computer is a kind: QEMU's program and arguments for it, and its firmware's code and variables.
type computer struct {
	qemu       string
	args       func() []string
	code, vars string
}

var (
	pc = computer{"qemu-system-x86_64", func() []string { return append(accelerator(), "-machine", "q35") }, "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"}
	// Its firmware demands signatures, and keeps its keys in system management mode, which not every hypervisor has.
	strict = computer{"qemu-system-x86_64", func() []string {
		return append(translation(), "-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on")
	}, "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd"}
	arm = computer{"qemu-system-aarch64", func() []string { return append(translation(), "-machine", "virt") }, "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"}
)

// donor is a computer that starts from a medium.
type donor struct {
	t    *testing.T
	dir  string // with the sockets of its network card
	disk string // the medium, raw
	more []string
	kind computer
	tpm  string // directory of the state of its TPM; empty for none
	qemu *exec.Cmd
	gone chan struct{} // closed when QEMU has ended
	said *record
	keys io.Writer // the serial line
}

// record is what the serial console said since the power was switched on.
type record struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	also *os.File // where CELL_TEST_CONSOLES names a directory: to look at while it runs
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.also != nil {
		_, _ = r.also.Write(b)
	}
	return r.buf.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

// newDonor makes a computer with a copy of an image on a larger medium. more are arguments of QEMU.
func newDonor(t *testing.T, kind computer, image string, more ...string) *donor {
	t.Helper()
	d := &donor{t: t, kind: kind, dir: t.TempDir(), more: more}
	d.disk = filepath.Join(d.dir, "medium.img")
	for _, c := range [][]string{{"cp", "--sparse=always", image, d.disk}, {"truncate", "-s", "1G", d.disk}, {"cp", kind.vars, d.vars()}} {
		if _, err := command(d.dir, c[0], c[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if d.qemu != nil {
			d.cut()
		}
	})
	return d
}

func (d *donor) vars() string { return filepath.Join(d.dir, "vars.fd") }

// set writes donor.toml, as a person would on another computer.
func (d *donor) set(text string) {
	d.t.Helper()
	file := filepath.Join(d.dir, settings.File)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
	if _, err := command(d.dir, "mcopy", "-o", "-i", d.disk+"@@1M", file, "::"); err != nil {
		d.t.Fatal(err)
	}
}

// slots are the names of the images on the medium.
func (d *donor) slots() string {
	d.t.Helper()
	out, err := command(d.dir, "mdir", "-b", "-i", d.disk+"@@1M", "::"+slot.Dir)
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.Join(regexp.MustCompile(`cell_\S+`).FindAllString(out, -1), " ")
}

// on switches the power on.
func (d *donor) on() {
	d.t.Helper()
	args := append(d.kind.args(), "-smp", "1", "-m", "512", "-nodefaults", "-display", "none",
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+d.kind.code, "-drive", "if=pflash,format=raw,unit=1,file="+d.vars(),
		"-drive", "file="+d.disk+",format=raw,if=virtio", "-serial", "stdio", "-device", "virtio-rng-pci")
	args = append(args, "-qmp", "unix:"+filepath.Join(d.dir, "qmp.sock")+",server=on,wait=off")
	if d.tpm != "" {
		args = append(args, d.startTPM()...)
	}
	d.qemu = exec.Command(d.kind.qemu, append(args, d.more...)...)
	d.said = &record{}
	if dir := os.Getenv("CELL_TEST_CONSOLES"); dir != "" {
		var err error
		if d.said.also, err = os.OpenFile(filepath.Join(dir, strings.ReplaceAll(d.t.Name(), "/", "-")), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
			d.t.Fatal(err)
		}
		d.t.Cleanup(func() { d.said.also.Close() })
	}
	d.qemu.Stdout, d.qemu.Stderr = d.said, d.said
	var err error
	if d.keys, err = d.qemu.StdinPipe(); err != nil {
		d.t.Fatal(err)
	}
	d.qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.qemu.Start(); err != nil {
		d.t.Fatal(err)
	}
	q, gone := d.qemu, make(chan struct{})
	d.gone = gone
	go func() {
		_ = q.Wait()
		close(gone)
	}()
}

// startTPM starts the program that is the computer's TPM until QEMU leaves it, and returns QEMU's arguments.
func (d *donor) startTPM() []string {
	d.t.Helper()
	socket := filepath.Join(d.dir, "tpm.sock")
	_ = os.Remove(socket)
	c := exec.Command("swtpm", "socket", "--tpm2", "--terminate", "--tpmstate", "dir="+d.tpm, "--ctrl", "type=unixio,path="+socket)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return []string{"-chardev", "socket,id=tpm,path=" + socket, "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"}
		}
	}
	d.t.Fatal("swtpm does not listen")
	return nil
}

// cut takes the power away.
func (d *donor) cut() {
	_ = d.qemu.Process.Kill()
	<-d.gone
	d.qemu = nil
}

// says waits until the console has said a text so often since the power is on.
func (d *donor) says(text string, times int) {
	d.t.Helper()
	begun := time.Now()
	for ended := false; time.Since(begun) < patience && !ended; {
		if strings.Count(d.said.String(), text) >= times {
			d.t.Logf("after %v: %s", time.Since(begun).Round(time.Second), text)
			return
		}
		select {
		case <-d.gone:
			ended = strings.Count(d.said.String(), text) < times
		case <-time.After(200 * time.Millisecond):
		}
	}
	d.t.Fatalf("the console never said %q, but\n%s", text, d.said)
}

func digest(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return string(h.Sum(nil))
}

// blank makes a disk in dir.
func blank(t *testing.T, dir, name string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if _, err := command(dir, "truncate", "-s", "200M", file); err != nil {
		t.Fatal(err)
	}
	return file
}

// attach are QEMU's arguments for another disk with a serial number, by which /dev/disk/by-id names it.
func attach(file, serial string) []string {
	return []string{"-drive", "file=" + file + ",format=raw,if=none,id=" + serial, "-device", "virtio-blk-pci,drive=" + serial + ",serial=" + serial}
}

// A donor is built by the command and started by firmware from a medium, in a machine with 512 MB.
func TestDonor(t *testing.T) {
	if err := lacks(); err != nil {
		t.Skip(err)
	}
	if os.Getenv("CELL_TEST_VM") != "all" {
		t.Skip("it takes minutes; make vmtest RUN=donor runs it")
	}
	for _, f := range []string{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/bin/mcopy", "/usr/bin/mksquashfs", "/usr/bin/sbsign"} {
		if _, err := os.Stat(f); err != nil {
			t.Skipf("%s is not there (packaging/deps.sh vm installs it)", f)
		}
	}
	m := sync.OnceValues(func() (*maker, string) {
		m := newMaker(t)
		return m, m.image(firstImage, "donor.img")
	})

	// It joins, its cell is called from outside, and neither a power cut nor another start change who it is.
	t.Run("donor", func(t *testing.T) {
		_, image := m()
		foreign := filepath.Join(t.TempDir(), "foreign.img")
		if _, err := command(".", "truncate", "-s", "100M", foreign); err != nil {
			t.Fatal(err)
		}
		before := digest(t, foreign)
		guest, hub := founder(t)
		dir := t.TempDir()
		d := newDonor(t, pc, image, append(card(dir), attach(foreign, "foreign")...)...)
		hub.join(dir)
		d.set("name = \"attic\"\r\njoin = \"" + guest.run("cell invite") + "\"\r\n[network]\r\naddress = [\"10.0.0.9/24\"]\r\n")
		d.on()
		d.says("cell: ready: attic is a donor of home", 1)
		d.says("cell: data: /dev/vd", 1)
		guest.until("7", "cell use calculator add 3 4")
		id := guest.run("cell nodes --json | python3 -c 'import json,sys; print([n[\"id\"] for n in json.load(sys.stdin) if n[\"name\"] == \"attic\"])'")
		d.cut()
		d.on()
		d.says("cell: ready: attic is a donor of home", 1)
		guest.until("7", "cell use calculator add 3 4")
		if again := guest.run("cell nodes --json | python3 -c 'import json,sys; print([n[\"id\"] for n in json.load(sys.stdin) if n[\"name\"] == \"attic\"])'"); again != id {
			t.Errorf("it was %s and is %s", id, again)
		}
		if digest(t, foreign) != before {
			t.Error("a disk that nobody named was written to")
		}
	})

	// A newer image that is signed takes the place of the first; power cuts and images that do not start lead back to what worked.
	t.Run("update", func(t *testing.T) {
		m, image := m()
		next := m.image(nextImage, "donor.efi")
		port, half := serve(t, next)
		d := newDonor(t, pc, image, "-nic", "user,model=virtio-net-pci")
		d.set(fmt.Sprintf("[update]\nfrom = \"http://10.0.2.2:%d/donor.efi\"\n", port)) // QEMU's address of this machine's loopback
		d.on()
		d.says(fmt.Sprintf("cell: image: %d; getting %d", firstImage, nextImage), 1)
		<-half
		d.cut()
		if got := d.slots(); !strings.Contains(got, slot.Name(firstImage)) {
			t.Fatalf("after the power cut there are %s", got)
		}
		d.on()
		d.says(fmt.Sprintf("cell: image: %d; getting %d", firstImage, nextImage), 1)
		d.says(fmt.Sprintf("cell: image: %d, on trial", nextImage), 1)
		d.says(fmt.Sprintf("cell: image: %d; the newest of those signed", nextImage), 1) // no longer on trial
		d.cut()
		if got, want := d.slots(), slot.Name(firstImage)+" "+slot.Name(nextImage); got != want {
			t.Errorf("on the medium are %s, want %s", got, want)
		}
		// The next one is broken: its initial RAM disk has zeroes where a part of it begins.
		broken := filepath.Join(d.dir, "broken.efi")
		b, err := os.ReadFile(next)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(b, []byte("hsqs")) // the root, or the module that reads it
		if at < 0 {
			t.Fatal("there is no root in the image")
		}
		copy(b[at:], make([]byte, 4096))
		b = bytes.Replace(b, fmt.Appendf(nil, "VERSION_ID=%d", nextImage), fmt.Appendf(nil, "VERSION_ID=%d", nextImage+1), 1)
		if err := os.WriteFile(broken, b, 0o644); err != nil {
			t.Fatal(err)
		}
		said, err := statement.Of(nextImage+1, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(broken+statement.Suffix, said.Sign(m.private), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := command(m.dir, "./cell", "image", "update", d.disk, broken, "--update-key", m.key); err != nil {
			t.Fatal(err)
		}
		if got, want := d.slots(), slot.Name(nextImage)+fmt.Sprintf(" cell_%d+3.efi", nextImage+1); got != want {
			t.Errorf("on the medium are %s, want %s", got, want)
		}
		d.on()
		d.says("cell-init: starting the machine anew", 3*slot.Tries) // it says so three times at each
		d.says(fmt.Sprintf("cell: image: %d", nextImage), 1)
		d.cut()
		if got, want := d.slots(), slot.Name(nextImage)+fmt.Sprintf(" cell_%d+0-%d.efi", nextImage+1, slot.Tries); got != want {
			t.Errorf("on the medium are %s, want %s", got, want)
		}
	})

	t.Run("settings", func(t *testing.T) {
		m, _ := m()
		full := filepath.Join(t.TempDir(), "full.img")
		d := newDonor(t, pc, m.image(firstImage, "donor.img", "--debug"))
		d.set("name = \"attic\"\nnmae = \"cellar\"\n")
		d.on()
		d.says(`cell: donor.toml:2: there is no setting "nmae"`, 1)
		d.says("no partition for data is made before donor.toml is right", 1)
		d.cut()
		d.set("[limits]\ncpu = 0.5\nmemory = \"200MB\"\nstorage = \"300MB\"\n")
		d.on()
		d.says("cell: data: /dev/vda2, 2", 1) // 300 MB without what ext4 needs
		d.says("cell: ready: ", 1)
		fmt.Fprintln(d.keys, "cat /sys/fs/cgroup/cell.slice/cpu.max /sys/fs/cgroup/cell.slice/memory.max")
		d.says("50000 100000", 1)
		d.says("209715200", 1)
		d.cut()
		// It grows at the next start, and while it runs.
		d.set("# nothing\n")
		d.on()
		d.says("cell: data: /dev/vda2, 4", 1)
		d.says("cell: ready: ", 1)
		monitor(t, filepath.Join(d.dir, "qmp.sock"), "block_resize virtio0 1200M")
		d.says("cell: data: /dev/vda2, 6", 1)
		d.cut()
		// The partition for data is filled.
		if _, err := command(d.dir, "dd", "if="+d.disk, "of="+full, "bs=1M", "skip=513", "conv=sparse", "status=none"); err != nil {
			t.Fatal(err)
		}
		filler := blank(t, d.dir, "filler")
		if err := os.WriteFile(filler, bytes.Repeat([]byte("x"), 720<<20), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := command(d.dir, "e2fsck", "-fp", full); err != nil && !strings.Contains(err.Error(), "exit status 1") {
			t.Fatal(err)
		}
		_, _ = command(d.dir, "debugfs", "-w", "-R", "write "+filler+" filler", full) // until no room is left
		if _, err := command(d.dir, "dd", "if="+full, "of="+d.disk, "bs=1M", "seek=513", "conv=notrunc", "status=none"); err != nil {
			t.Fatal(err)
		}
		d.on()
		d.says("cell: data: /dev/vda2 is full", 1)
		d.says("cell: ready: ", 1) // all that it needs is there
	})

	t.Run("disks", func(t *testing.T) {
		_, image := m()
		dir := t.TempDir()
		foreign, empty := blank(t, dir, "foreign.img"), blank(t, dir, "empty.img")
		if _, err := command(dir, "mkfs.ext4", "-q", "-L", "photos", foreign); err != nil {
			t.Fatal(err)
		}
		before, nothing := digest(t, foreign), digest(t, empty)
		d := newDonor(t, pc, image, append(attach(foreign, "foreign"), attach(empty, "empty")...)...)
		d.set("[data]\ndisk = \"/dev/disk/by-id/virtio-foreign\"\n")
		d.on()
		d.says("/dev/disk/by-id/virtio-foreign has something on it and is left alone", 1)
		d.says("cell: ready: ", 1) // from memory
		d.cut()
		if digest(t, foreign) != before {
			t.Fatal("the data of another was written to")
		}
		d.set("[data]\ndisk = \"/dev/disk/by-id/virtio-empty\"\n")
		for range 2 {
			d.on()
			d.says("1, 179.7M, not encrypted", 1) // of the 200 MB disk, whichever name it has
			d.says("cell: ready: ", 1)
			d.cut()
		}
		if digest(t, empty) == nothing {
			t.Error("nothing was written to the disk that was named")
		}
		if digest(t, foreign) != before {
			t.Fatal("the data of another was written to")
		}
	})

	// What is kept is encrypted to the computer's TPM: it opens there and in no other computer.
	t.Run("tpm", func(t *testing.T) {
		if _, err := exec.LookPath("swtpm"); err != nil {
			t.Skip("swtpm is not installed (packaging/deps.sh vm installs it)")
		}
		_, image := m()
		d := newDonor(t, pc, image)
		d.tpm = t.TempDir()
		for range 2 {
			d.on()
			d.says("cell: ready: ", 1)
			d.says("M, encrypted to this computer's TPM", 1)
			d.cut()
		}
		out, err := command(d.dir, "blkid", "-p", "-O", "513MiB", "-s", "TYPE", "-o", "value", d.disk)
		if err != nil || strings.TrimSpace(out) != "crypto_LUKS" {
			t.Errorf("on the partition is %s %v", out, err)
		}
		d.tpm = t.TempDir()
		d.on()
		d.says("this computer's TPM does not open it", 1)
		d.says("cell: ready: ", 1)
		d.cut()
		d.tpm = ""
		d.on()
		d.says("is encrypted to a TPM, and this computer has none", 1)
	})

	// The same for computers with ARM's processor. Programs of the root run by QEMU while it is made, of which only that build knows.
	t.Run("arm64", func(t *testing.T) {
		static, err := exec.LookPath("qemu-aarch64-static")
		if err != nil {
			t.Skip("qemu-user-static is not installed")
		}
		if _, err := os.Stat(arm.code); err != nil {
			t.Skip("qemu-efi-aarch64 and qemu-system-arm are not installed")
		}
		m, packages := newMaker(t), t.TempDir()
		if _, err := command("..", "packaging/packages.sh", packages, "arm64"); err != nil {
			t.Fatal(err)
		}
		image := filepath.Join(t.TempDir(), "donor.img")
		// binfmt_misc of a user namespace is that namespace's alone since Linux 6.7.
		c := exec.Command("sh", "-ec", `mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
printf '%s' ':aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:'"$1:F" >/proc/sys/fs/binfmt_misc/register
./cell image build --package "$2"/*.deb -o "$3"`, "sh", static, packages, image)
		c.Dir = m.dir
		all := []syscall.SysProcIDMap{{Size: 65536}}
		c.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: all, GidMappings: all, GidMappingsEnableSetgroups: true,
			Credential: &syscall.Credential{}, Pdeathsig: syscall.SIGKILL,
		}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		d := newDonor(t, arm, image)
		for range 2 {
			d.on()
			d.says("cell: ready: ", 1)
			d.says("cell: data: /dev/vda2", 1)
			d.cut()
		}
	})

	// Firmware that demands signatures starts what is signed by its key, and nothing else.
	t.Run("secureboot", func(t *testing.T) {
		m, _ := m()
		dir := t.TempDir()
		const own = "/usr/share/ovmf/PkKek-1-snakeoil" // Debian's key for tests, which this firmware has
		if _, err := command(dir, "openssl", "rsa", "-in", own+".key", "-passin", "pass:snakeoil", "-out", "own.key"); err != nil {
			t.Fatal(err)
		}
		if _, err := command(dir, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=another", "-keyout", "other.key", "-out", "other.pem"); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ key, cert, want string }{
			{dir + "/other.key", dir + "/other.pem", "Access Denied"},
			{dir + "/own.key", own + ".pem", "cell: ready: "},
		} {
			d := newDonor(t, strict, m.image(firstImage, "donor.img", "--secure-boot-key", c.key, "--secure-boot-cert", c.cert))
			d.on()
			d.says(c.want, 1)
			d.cut()
		}
	})
}

// founder is a guest with a tissue, and the network that it is on as 10.0.0.1.
func founder(t *testing.T) (*guest, *network) {
	t.Helper()
	base := fresh(t, t.TempDir(), oneGuest.release, deb(t), oneGuest.memory)
	t.Cleanup(base.end)
	n := newNetwork(t)
	n.plug(base)
	return base, n
}

// serve serves an image and its signature by HTTP on a port of the loopback. The first one who gets the image is left hanging after half
// of it, of which the channel tells.
func serve(t *testing.T, image string) (port int, half chan bool) {
	t.Helper()
	half = make(chan bool)
	var asked atomic.Int32
	done := make(chan bool)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/donor.efi" || asked.Add(1) > 1 {
			http.ServeFile(w, r, filepath.Join(filepath.Dir(image), filepath.Base(r.URL.Path)))
			return
		}
		f, err := os.Open(image)
		if err != nil {
			return
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			return
		}
		_, _ = io.CopyN(w, f, st.Size()/2)
		_ = http.NewResponseController(w).Flush()
		close(half)
		select {
		case <-r.Context().Done():
		case <-done:
		}
	}))
	t.Cleanup(func() {
		close(done)
		s.Close()
	})
	return s.Listener.Addr().(*net.TCPAddr).Port, half
}
