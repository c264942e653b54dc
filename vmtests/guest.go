package vmtests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a guest may take for one script, and to boot. Nothing speeds QEMU up where KVM does not work.
const (
	patience = 20 * time.Minute
	bootTime = 15 * time.Minute
)

// guest is a virtual machine and the directory of its disk.
type guest struct {
	t    testing.TB
	base *guest // whose snapshot it went on from
	dir  string
	spec spec
	disk string // an overlay on the image, with the snapshot

	qemu    *exec.Cmd
	exited  chan struct{}
	agent   net.Conn
	in      *json.Decoder
	console *console
}

// spec is what a guest is made of.
type spec struct {
	kernel, initrd string
	memory         string // MiB
}

// console keeps the end of what the guest wrote to its serial line.
type console struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf.Len() > 1<<20 {
		c.buf.Next(c.buf.Len() - 1<<19)
	}
	return c.buf.Write(p)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := strings.Split(c.buf.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// accelerator is KVM where a guest really starts with it, else translation: a device file alone says nothing where virtual machines
// are nested. A KVM on a processor that tells of neither vmx nor svm stops at instructions of firmware that it does not emulate.
var accelerator = sync.OnceValue(func() []string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	if _, err := os.Stat("/dev/kvm"); err != nil || !regexp.MustCompile(`\b(vmx|svm)\b`).Match(info) {
		return translation()
	}
	c := exec.Command("timeout", "5", "qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-nodefaults", "-display", "none", "-S")
	var exit *exec.ExitError
	if err := c.Run(); errors.As(err, &exit) && exit.ExitCode() == 124 { // it ran until it was stopped
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	return translation()
})

// translation runs a guest's code without the processor's help.
func translation() []string { return []string{"-accel", "tcg,thread=multi", "-cpu", "max"} }

// start runs QEMU; with a snapshot's name the guest goes on from there.
func (g *guest) start(snapshot string) {
	g.t.Helper()
	port := filepath.Join(g.dir, "agent.sock")
	_ = os.Remove(port)
	args := append(accelerator(), "-smp", "1", "-m", g.spec.memory, "-nodefaults", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-qmp", "unix:"+filepath.Join(g.dir, "qmp.sock")+",server=on,wait=off",
		"-kernel", g.spec.kernel, "-initrd", g.spec.initrd,
		"-append", "root=/dev/vda rw rootflags=prjquota console=ttyS0 panic=1 systemd.show_status=0 quiet loglevel=3 net.ifnames=0",
		"-drive", "file="+g.disk+",if=virtio,format=qcow2,cache=unsafe",
		"-device", "virtio-serial", "-chardev", "socket,id=agent,path="+port+",server=on,wait=off", "-device", "virtserialport,chardev=agent,name=cell",
		"-device", "virtio-rng-pci")
	args = append(args, card(g.dir)...)
	if snapshot != "" {
		args = append(args, "-loadvm", snapshot)
	}
	g.qemu = exec.Command("qemu-system-x86_64", args...)
	g.console = &console{}
	g.qemu.Stdout, g.qemu.Stderr = g.console, g.console
	g.qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := g.qemu.Start(); err != nil {
		g.t.Fatalf("start QEMU: %v", err)
	}
	g.exited = make(chan struct{})
	go func(c *exec.Cmd, exited chan struct{}) {
		_ = c.Wait()
		close(exited)
	}(g.qemu, g.exited)
	g.connect(port)
}

// connect waits for the agent.
func (g *guest) connect(port string) {
	g.t.Helper()
	deadline := time.Now().Add(bootTime)
	for {
		select {
		case <-g.exited:
			g.t.Fatalf("QEMU ended; the guest's console:\n%s", g.console)
		default:
		}
		if c, err := net.Dial("unix", port); err == nil {
			g.agent, g.in = c, json.NewDecoder(c)
			break
		}
		if time.Now().After(deadline) {
			g.t.Fatal("QEMU opens no port for the agent")
		}
		time.Sleep(20 * time.Millisecond)
	}
	// What is sent before the agent is there waits in the port.
	if out, code := g.within(time.Until(deadline), "", "true"); code != 0 {
		g.t.Fatalf("the agent does not work: %s", out)
	}
}

// ask runs a script as a user and waits so long for its end.
func (g *guest) ask(d time.Duration, user, script string) (output string, code int, err error) {
	if err = g.agent.SetDeadline(time.Now().Add(d)); err == nil {
		err = json.NewEncoder(g.agent).Encode(struct{ Script, User string }{script, user})
	}
	var answer struct {
		Code   int
		Output string
	}
	if err == nil {
		err = g.in.Decode(&answer)
	}
	return answer.Output, answer.Code, err
}

// within is ask for a guest that has to answer.
func (g *guest) within(d time.Duration, user, script string) (string, int) {
	g.t.Helper()
	out, code, err := g.ask(d, user, script)
	if err != nil {
		g.t.Fatalf("the guest does not answer: %v\nscript: %s\nconsole:\n%s", err, script, g.console)
	}
	return out, code
}

// try runs a shell script as root and returns what it wrote and its exit status.
func (g *guest) try(script string) (string, int) {
	g.t.Helper()
	return g.within(patience, "", script)
}

// run is try for what has to work.
func (g *guest) run(script string) string {
	g.t.Helper()
	return g.as("", script)
}

// as is run for another user.
func (g *guest) as(user, script string) string {
	g.t.Helper()
	out, code := g.within(patience, user, script)
	if code != 0 {
		g.t.Fatalf("%s\nexit status %d\n%s", script, code, out)
	}
	return strings.TrimSpace(out)
}

// says runs a script and wants texts in what it writes, whatever its exit status.
func (g *guest) says(script string, texts ...string) {
	g.t.Helper()
	out, _ := g.try(script)
	for _, x := range texts {
		if !strings.Contains(out, x) {
			g.t.Errorf("%s\nsays %q, want %q", script, out, x)
		}
	}
}

// until repeats a script until it writes a text.
func (g *guest) until(text, script string) {
	g.t.Helper()
	out := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if out, _ = g.try(script); strings.Contains(out, text) {
			return
		}
	}
	g.t.Fatalf("%s\nnever said %q, but %q", script, text, out)
}

// cut takes the power away.
func (g *guest) cut() {
	g.t.Helper()
	_ = g.qemu.Process.Kill()
	<-g.exited
	g.agent.Close()
}

// boot boots the disk as it is, after cut or a shutdown.
func (g *guest) boot() {
	g.t.Helper()
	g.start("")
	g.ready()
}

// reboot shuts the guest down in good order and boots it.
func (g *guest) reboot() {
	g.t.Helper()
	g.run("systemctl --no-block poweroff")
	select {
	case <-g.exited:
	case <-time.After(patience):
		g.t.Fatalf("it does not shut down; its console:\n%s", g.console)
	}
	g.agent.Close()
	g.boot()
}

// ready waits until systemd has started what starts at boot.
func (g *guest) ready() {
	g.t.Helper()
	for end := time.Now().Add(bootTime); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if out, _ := g.try("systemctl is-system-running"); strings.Contains(out, "running") || strings.Contains(out, "degraded") {
			return
		}
	}
	g.t.Fatal("the guest's systemd never says that it is up")
}

func (g *guest) monitor(line string) string {
	g.t.Helper()
	return monitor(g.t, filepath.Join(g.dir, "qmp.sock"), line)
}

// monitor sends a command to the QEMU that listens at a socket, and returns its answer.
func monitor(t testing.TB, socket, line string) string {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatalf("reach QEMU: %v", err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	in, out := json.NewDecoder(c), json.NewEncoder(c)
	var answer struct {
		Return json.RawMessage `json:"return"`
		Error  *struct{ Desc string }
	}
	_ = in.Decode(&answer) // its greeting
	for _, command := range []map[string]any{
		{"execute": "qmp_capabilities"},
		{"execute": "human-monitor-command", "arguments": map[string]string{"command-line": line}},
	} {
		err := out.Encode(command)
		for err == nil {
			answer.Return, answer.Error = nil, nil
			if err = in.Decode(&answer); answer.Return != nil || answer.Error != nil { // the rest are events
				break
			}
		}
		if err != nil || answer.Error != nil {
			t.Fatalf("%s: %v %v", line, err, answer.Error)
		}
	}
	var text string
	_ = json.Unmarshal(answer.Return, &text)
	return text
}

// snapshot saves memory and disk under a name.
func (g *guest) snapshot(name string) {
	g.t.Helper()
	if text := g.monitor("savevm " + name); strings.TrimSpace(text) != "" {
		g.t.Fatalf("savevm: %s", text)
	}
}

// end stops QEMU at the end of a test, after it has shown the console and the journal of a guest in trouble.
func (g *guest) end() {
	if g.qemu == nil {
		return
	}
	if g.t.Failed() {
		g.t.Logf("console:\n%s", g.console)
		if g.agent != nil {
			journal, _, err := g.ask(time.Minute, "", "journalctl --no-pager -b -n 300 -o short-monotonic")
			g.t.Logf("journal (%v):\n%s", err, journal)
		}
	}
	_ = g.qemu.Process.Kill()
	<-g.exited
}

// twin makes another guest like g was when its scenario began.
func (g *guest) twin(t testing.TB) *guest { return g.base.from(t, "installed") }

// from makes a guest that goes on from a snapshot of another one, on a disk of its own.
func (g *guest) from(t testing.TB, snapshot string) *guest {
	t.Helper()
	dir := t.TempDir()
	next := &guest{t: t, base: g, dir: dir, spec: g.spec, disk: filepath.Join(dir, "disk.qcow2")}
	if _, err := command(dir, "cp", "--sparse=always", g.disk, next.disk); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.end)
	next.start(snapshot)
	return next
}

// fresh makes a guest of a release that boots, installs the package and is saved as "installed".
func fresh(t testing.TB, dir, release, deb, memory string) *guest {
	t.Helper()
	disk, kernel, initrd, err := image(dir, release, deb)
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, dir: dir, spec: spec{kernel: kernel, initrd: initrd, memory: memory}, disk: filepath.Join(dir, "disk.qcow2")}
	if _, err := command(dir, "qemu-img", "create", "-q", "-f", "qcow2", "-b", disk, "-F", "raw", g.disk); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	g.start("")
	g.ready()
	t.Logf("%s is up in %v with %s", release, time.Since(begun).Round(time.Second), strings.Join(accelerator()[:2], " "))
	g.run("dpkg -i /opt/cell.deb")
	g.until("active", "systemctl is-active celld")
	g.snapshot("installed")
	return g
}

var errLacks = errors.New("lacks")

// lacks says why no guest can run here, or nil.
func lacks() error {
	if os.Getenv("CELL_TEST_VM") == "" {
		return fmt.Errorf("%w: it takes minutes; make vmtest runs it (CELL_TEST_VM=all)", errLacks)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: a root file system is made as root", errLacks)
	}
	for _, p := range []string{"qemu-system-x86_64", "qemu-img", "mmdebstrap", "mkfs.ext4"} {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%w: %s is not installed (packaging/deps.sh vm installs it)", errLacks, p)
		}
	}
	return nil
}
