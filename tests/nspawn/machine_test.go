// Package nspawn boots a machine of its own, with systemd as PID 1, a system bus, polkit and several users, and runs an
// installed Cell in it. The machine is a container of systemd-nspawn on an overlay of this machine's root, so it has the
// same programs; what it writes is in memory and gone afterwards.
package nspawn

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/internal/host/hosttest"
)

// built holds cell, celld, cellnetd, cell-gpu, cell-donor, cell-init, cell-membrane, cell-inside, cell-http and calculator, a cell.
var built string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := hosttest.Build([]string{"../../cmd/cell", "../../cmd/celld", "../../cmd/cellnetd", "../../cmd/cell-gpu", "../../cmd/cell-donor", "../../cmd/cell-init", "../../cmd/cell-membrane", "../../cmd/cell-inside", "../../cmd/cell-http"},
			[]string{"../../examples/calculator", "../../examples/standby", "../../examples/standby/primary", "../../examples/standby/spare"})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		built = dir
		return m.Run()
	}())
}

// lacks says what this machine has not, or "".
func lacks() string {
	if os.Geteuid() != 0 {
		return "a container needs root"
	}
	for _, p := range []string{"systemd-nspawn", "nsenter", "dbus-daemon", "setpriv", "runuser", "loginctl", "curl", "make"} {
		if _, err := exec.LookPath(p); err != nil {
			return p + " is not installed (packaging/deps.sh installs it)"
		}
	}
	for _, f := range []string{
		"/usr/lib/polkit-1/polkitd", "/usr/lib/systemd/user/dbus.socket", "/lib/systemd/systemd-socket-proxyd", "/usr/bin/python3",
		"/usr/share/dbus-1/system-services/org.freedesktop.login1.service",
	} {
		if _, err := os.Stat(f); err != nil {
			return f + " is not installed (packaging/deps.sh installs it)"
		}
	}
	if _, err := cgroup2(); err != nil {
		return err.Error()
	}
	return ""
}

func need(t *testing.T) {
	t.Helper()
	switch why := lacks(); {
	case why == "":
	case os.Getenv("CELL_TEST_REQUIRE") == "all":
		t.Fatal(why)
	default:
		t.Skip(why)
	}
}

// cgroup2 is where the unified hierarchy is mounted.
func cgroup2() (string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		left, right, ok := strings.Cut(line, " - ")
		if f := strings.Fields(left); ok && len(f) > 4 && strings.HasPrefix(right, "cgroup2 ") {
			return f[4], nil
		}
	}
	return "", fmt.Errorf("cgroup2 is not mounted")
}

// machine is a root directory and, while it is up, the container on it.
type machine struct {
	t      *testing.T
	name   string // its host name
	net    string // path of its network namespace; empty for one of its own without a link
	root   string
	cgroup string
	cmd    *exec.Cmd
	exited chan struct{}
	leader int
	log    bytes.Buffer
}

// masked are units of this machine that have no business in the container.
var masked = []string{
	"postgresql.service", "postgresql@.service", "nginx.service", "redis-server.service", "memcached.service", "systemd-timesyncd.service", "getty.target", "console-getty.service",
	"apt-daily.timer", "apt-daily-upgrade.timer", "man-db.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
	"fstrim.timer", "machines.target", "docker.service", "docker.socket", "containerd.service", "ssh.service", "cron.service",
	"networking.service", "NetworkManager.service", "systemd-networkd.service", "systemd-networkd.socket", "systemd-resolved.service",
	"systemd-pstore.service", "systemd-udevd.service",
}

// newMachine makes a root with the users alice and bob in which Cell is installed. It has this machine's programs.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := bareMachine(t, "/")
	install := exec.Command("make", "--no-print-directory", "install", "DESTDIR="+m.root, "BUILT="+built)
	install.Dir = "../.."
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	// What it does by itself where it installs into a machine that runs.
	if out, err := exec.Command("systemd-sysusers", "--root="+m.root, "cell.conf").CombinedOutput(); err != nil {
		t.Fatalf("systemd-sysusers: %v\n%s", err, out)
	}
	return m
}

// bareMachine makes a root with the users alice and bob on top of a directory, which it does not change.
func bareMachine(t *testing.T, lower string) *machine {
	t.Helper()
	need(t)
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// An upper directory on the lower one's own file system would lie inside of the lower one.
	must(unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755,size=1g"))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	must(unix.Mount("", dir, "", unix.MS_PRIVATE, ""))
	// As udev makes it; this machine's own may be for root alone.
	must(unix.Mknod(dir+"/tun", unix.S_IFCHR, int(unix.Mkdev(10, 200))))
	must(os.Chmod(dir+"/tun", 0o666))
	m := &machine{t: t, name: "cell-test", root: dir + "/root"}
	for _, d := range []string{"upper", "work", "root"} {
		must(os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	if err := unix.Mount("overlay", m.root, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, dir, dir)); err != nil {
		t.Fatalf("mount an overlay of %s: %v", lower, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(m.root, unix.MNT_DETACH) })
	mount, err := cgroup2()
	must(err)
	m.cgroup = filepath.Join(mount, fmt.Sprintf("cell-test-%d-%d", os.Getpid(), time.Now().UnixNano()))

	// A Cell that this machine has is none of the container's.
	for _, f := range []string{
		"/usr/bin/cell", "/usr/bin/celld", "/usr/bin/cellnetd", "/usr/bin/cell-gpu", "/usr/bin/cell-donor", "/usr/bin/cell-init", "/usr/bin/cell-membrane", "/usr/bin/cell-inside", "/usr/bin/cell-http", "/usr/lib/systemd/system/celld.service", "/usr/lib/systemd/user/celld.service",
		"/usr/lib/systemd/system/cellnetd.service", "/usr/lib/systemd/system/cell-gpu.service", "/usr/lib/systemd/user/cell-gpu.service", "/usr/share/dbus-1/system-services/network.cell.Gpu1.service",
		"/usr/share/dbus-1/services/network.cell.Gpu1.service", "/usr/share/dbus-1/system.d/network.cell.Gpu1.conf", "/usr/share/dbus-1/system-services/network.cell.Net1.service",
		"/usr/share/dbus-1/system.d/network.cell.Net1.conf", "/etc/systemd/system/multi-user.target.wants/cellnetd.service",
		"/usr/share/polkit-1/rules.d/cell.rules",
		"/usr/share/dbus-1/system-services/network.cell.Manager1.service", "/usr/share/dbus-1/services/network.cell.Manager1.service",
		"/usr/share/dbus-1/system.d/network.cell.Manager1.conf", "/etc/systemd/system/multi-user.target.wants/celld.service",
	} {
		must(os.RemoveAll(m.path(f)))
	}
	for _, u := range masked {
		p := m.path("/etc/systemd/system", u)
		_ = os.RemoveAll(p)
		must(os.Symlink("/dev/null", p))
	}
	must(os.RemoveAll(m.path("/var/lib/cell")))
	must(os.RemoveAll(m.path("/var/lib/cell-net")))
	must(os.RemoveAll(m.path("/var/log/journal")))
	must(os.RemoveAll(m.path("/var/lib/systemd/linger")))
	m.write("/etc/machine-id", strings.Repeat("c0ffee00", 4)+"\n", 0o444)
	m.write("/etc/fstab", "", 0o644)
	m.write("/etc/systemd/journald.conf.d/test.conf", "[Journal]\nStorage=persistent\n", 0o644)
	m.user("alice", alice)
	m.user("bob", bob)
	return m
}

const alice, bob = 61001, 61002

// path is a place in the machine as seen from here.
func (m *machine) path(parts ...string) string { return filepath.Join(m.root, filepath.Join(parts...)) }

func (m *machine) write(name, text string, mode os.FileMode) {
	m.t.Helper()
	p := m.path(name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		m.t.Fatal(err)
	}
	_ = os.Remove(p)
	if err := os.WriteFile(p, []byte(text), mode); err != nil {
		m.t.Fatal(err)
	}
}

// user adds an account with a home that is closed to others, as Debian makes them.
func (m *machine) user(name string, uid int) {
	m.t.Helper()
	for file, line := range map[string]string{
		"/etc/passwd": fmt.Sprintf("%s:x:%d:%d::/home/%[1]s:/bin/bash", name, uid, uid),
		"/etc/group":  fmt.Sprintf("%s:x:%d:", name, uid),
		"/etc/shadow": name + ":*:19000::::::",
	} {
		data, err := os.ReadFile(m.path(file))
		if err != nil {
			m.t.Fatal(err)
		}
		var keep strings.Builder
		for l := range strings.Lines(string(data)) {
			if !strings.HasPrefix(l, name+":") {
				keep.WriteString(l)
			}
		}
		mode := os.FileMode(0o644)
		if file == "/etc/shadow" {
			mode = 0o640
		}
		m.write(file, keep.String()+line+"\n", mode)
	}
	home := m.path("/home", name)
	_ = os.RemoveAll(home)
	if err := os.MkdirAll(home, 0o700); err != nil {
		m.t.Fatal(err)
	}
	m.chown("/home/"+name, uid)
}

// chown gives a tree away.
func (m *machine) chown(name string, uid int) {
	m.t.Helper()
	err := filepath.WalkDir(m.path(name), func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, uid, uid)
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// boot starts the machine and waits until it is up.
func (m *machine) boot() {
	m.t.Helper()
	began := time.Now()
	m.write("/etc/hostname", m.name+"\n", 0o644)
	network := "--private-network"
	if m.net != "" {
		network = "--network-namespace-path=" + m.net
	}
	if err := os.Mkdir(m.cgroup, 0o755); err != nil {
		m.t.Fatal(err)
	}
	m.log.Reset()
	cg, err := unix.Open(m.cgroup, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer unix.Close(cg)
	m.cmd = exec.Command("systemd-nspawn", "--quiet", "-b", "-D", m.root, "-M", m.name+"-"+strconv.Itoa(os.Getpid()),
		"--keep-unit", "--register=no", "--capability=all", network, "--bind="+m.root+"/../tun:/dev/net/tun", "--link-journal=no",
		"--resolv-conf=off", "--timezone=off", "--console=pipe", "systemd.show_status=no")
	m.cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	m.cmd.Stdout, m.cmd.Stderr = &m.log, &m.log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: cg, Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		m.t.Fatalf("start systemd-nspawn: %v", err)
	}
	m.exited = make(chan struct{})
	go func() {
		_ = m.cmd.Wait()
		close(m.exited)
	}()
	m.t.Cleanup(m.end)
	m.leader = 0
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		select {
		case <-m.exited:
			m.t.Fatalf("systemd-nspawn ended early:\n%s", m.log.String())
		default:
		}
		if m.leader == 0 {
			m.leader = m.init()
		}
		out := ""
		if m.leader != 0 {
			b, _ := m.command(0, "systemctl", "is-system-running").CombinedOutput()
			out = strings.TrimSpace(string(b))
			if out == "running" || out == "degraded" {
				break
			}
		}
		if time.Now().After(end) {
			m.t.Fatalf("not up after 30 s: %q\n%s", out, m.log.String())
		}
	}
	m.t.Logf("up in %v", time.Since(began).Round(time.Millisecond))
}

// init finds PID 1 of the container: a child of systemd-nspawn in another PID namespace that has become systemd.
func (m *machine) init() int {
	own, _ := os.Readlink("/proc/self/ns/pid")
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.cmd.Process.Pid))
	for _, f := range strings.Fields(string(data)) {
		ns, _ := os.Readlink("/proc/" + f + "/ns/pid")
		comm, _ := os.ReadFile("/proc/" + f + "/comm")
		if ns != "" && ns != own && strings.TrimSpace(string(comm)) == "systemd" {
			pid, _ := strconv.Atoi(f)
			return pid
		}
	}
	return 0
}

// end kills the container by its own pid and removes its control groups.
func (m *machine) end() {
	select {
	case <-m.exited:
	default:
		if m.leader != 0 {
			m.raced()
			_ = syscall.Kill(m.leader, syscall.SIGKILL)
		}
		select {
		case <-m.exited:
		case <-time.After(5 * time.Second):
			_ = m.cmd.Process.Kill()
			<-m.exited
		}
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var dirs []string
		_ = filepath.WalkDir(m.cgroup, func(p string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
		if len(dirs) == 0 {
			return
		}
		for i := len(dirs) - 1; i >= 0; i-- {
			_ = unix.Rmdir(dirs[i])
		}
	}
	m.t.Errorf("control group %s stays", m.cgroup)
}

// raced fails the test when the race detector reported of a daemon or a cell, where they are built with it.
func (m *machine) raced() {
	if !hosttest.Race {
		return
	}
	out, _ := m.command(0, "journalctl", "-o", "cat", "--no-pager").Output()
	if _, report, ok := strings.Cut(string(out), "WARNING: DATA RACE"); ok {
		m.t.Errorf("data race:\n%s", report[:min(len(report), 4000)])
	}
}

// reboot shuts the machine down in good order and boots it again.
func (m *machine) reboot() {
	m.t.Helper()
	m.run(0, "systemctl", "poweroff")
	select {
	case <-m.exited:
	case <-time.After(30 * time.Second):
		m.t.Fatalf("no shutdown after 30 s:\n%s", m.log.String())
	}
	m.end()
	m.boot()
}

// command prepares a program inside of the machine, as a user with that user's own manager where there is one.
func (m *machine) command(uid int, words ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	m.t.Cleanup(cancel)
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	name, home := "root", "/root"
	if uid != 0 {
		name = map[int]string{alice: "alice", bob: "bob"}[uid]
		home = "/home/" + name
		env = append(env, fmt.Sprintf("XDG_RUNTIME_DIR=/run/user/%d", uid))
	}
	env = append(env, "USER="+name, "HOME="+home)
	line := []string{"-t", strconv.Itoa(m.leader), "-m", "-u", "-i", "-n", "-p", "-C", "--wd=" + m.inside(home), "--", "env", "-i"}
	line = append(line, env...)
	if uid != 0 {
		line = append(line, "setpriv", fmt.Sprintf("--reuid=%d", uid), fmt.Sprintf("--regid=%d", uid), "--init-groups")
	}
	return exec.CommandContext(ctx, "nsenter", append(line, words...)...)
}

// inside is a directory of the machine's as a path that is valid here.
func (m *machine) inside(dir string) string { return fmt.Sprintf("/proc/%d/root%s", m.leader, dir) }

// try runs a program and returns what it wrote and its exit code.
func (m *machine) try(uid int, words ...string) (string, int) {
	m.t.Helper()
	c := m.command(uid, words...)
	out, err := c.CombinedOutput()
	if err != nil && c.ProcessState == nil {
		m.t.Fatalf("%v: %v", words, err)
	}
	return string(out), c.ProcessState.ExitCode()
}

// run is try for what has to work.
func (m *machine) run(uid int, words ...string) string {
	m.t.Helper()
	out, code := m.try(uid, words...)
	if code != 0 {
		celld, _ := m.command(0, "journalctl", "--no-pager", "-n", "25", "-o", "cat").CombinedOutput()
		m.t.Fatalf("%v: exit %d\n%s\njournal:\n%s", words, code, out, celld)
	}
	return out
}

// fails runs what has to fail with a code and a text.
func (m *machine) fails(uid, code int, text string, words ...string) {
	m.t.Helper()
	out, got := m.try(uid, words...)
	if got != code || !strings.Contains(out, text) {
		m.t.Errorf("%v: exit %d, wanted %d and %q\n%s", words, got, code, text, out)
	}
}

// has runs a program and looks for texts in what it wrote.
func (m *machine) has(uid int, words []string, texts ...string) {
	m.t.Helper()
	out := m.run(uid, words...)
	for _, x := range texts {
		if !strings.Contains(out, x) {
			m.t.Errorf("%v: no %q in\n%s", words, x, out)
		}
	}
}

// until repeats a program until it writes a text.
func (m *machine) until(uid int, text string, words ...string) {
	m.t.Helper()
	var out string
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if out, _ = m.try(uid, words...); strings.Contains(out, text) {
			return
		}
	}
	m.t.Fatalf("%v never said %q, but\n%s", words, text, out)
}

// active waits until a unit is active.
func (m *machine) active(uid int, unit ...string) {
	m.t.Helper()
	code := -1
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, code = m.try(uid, append([]string{"systemctl", "is-active", "--quiet"}, unit...)...); code == 0 {
			return
		}
	}
	m.t.Fatalf("%v never became active (%d)", unit, code)
}

// property is a property of a unit of the system's manager.
func (m *machine) property(unit, name string) string {
	m.t.Helper()
	return strings.TrimSpace(m.run(0, "systemctl", "show", "-P", name, unit))
}
