package membrane_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/internal/host"
	"github.com/cell-network/cell/internal/host/hosttest"
	"github.com/cell-network/cell/membrane/spec"
)

func TestMain(m *testing.M) { hosttest.Main(m) }

// bed is a manager of its own with a cell's directory and the program under test.
type bed struct {
	t       *testing.T
	h       *host.Host
	ctx     context.Context
	program string   // cell-membrane
	dir     string   // the cell's
	before  []string // what executes it
	outside string   // a directory of the machine for what a cell must not reach
}

func newBed(t *testing.T) *bed {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	h, _, ctx := hosttest.Up(t)
	programs, err := hosttest.Build([]string{"../cmd/cell-membrane", "../cmd/cell-inside"}, []string{"../examples/calculator"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(programs) })
	// Where every machine has it, and a cell sees nothing.
	outside, err := os.MkdirTemp("/var/tmp", "cell-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(outside) })
	b := &bed{t: t, h: h, ctx: ctx, program: filepath.Join(programs, "cell-membrane"), dir: filepath.Join(t.TempDir(), "web"), outside: outside}
	for _, d := range []string{"data", "run", "child/data"} {
		b.must(os.MkdirAll(filepath.Join(b.dir, d), 0o755))
	}
	b.must(os.WriteFile(filepath.Join(b.dir, "cell.toml"), nil, 0o644))
	b.must(os.WriteFile(filepath.Join(b.dir, spec.Children), []byte("child\ngone\n../web\n"), 0o644))
	b.must(os.WriteFile(filepath.Join(b.dir, "child/data/secret"), []byte("secret\n"), 0o644))
	return b
}

func (b *bed) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// run seals a program in a service of its own, with further properties of the unit, waits for its end and returns what it wrote. s needs
// the program only.
func (b *bed) run(s spec.Spec, properties ...string) (out string, code int) {
	b.t.Helper()
	c := b.command(s, append([]string{"--wait", "--pipe"}, properties...)...)
	text, err := c.CombinedOutput()
	if err != nil && c.ProcessState == nil {
		b.t.Fatal(err)
	}
	return staysRoot.ReplaceAllString(string(text), ""), c.ProcessState.ExitCode()
}

// staysRoot is what is said where no mount is id-mapped.
var staysRoot = regexp.MustCompile(`(?m)^cell-membrane: web stays root to the machine.*\n`)

// command starts a unit by systemd-run with further options.
func (b *bed) command(s spec.Spec, options ...string) *exec.Cmd {
	s.Name, s.Dir = "web", b.dir
	words := []string{"--user", "--quiet", "--collect", "-pType=notify"}
	if !s.Notify {
		s.Ready = true
		words = append(words, "-pNotifyAccess=all")
	}
	words = append(append(append(words, options...), b.before...), b.program)
	for _, a := range s.Args() {
		words = append(words, strings.ReplaceAll(a, "$", "$$"))
	}
	return b.h.Command(b.ctx, "systemd-run", words...)
}

func sh(script string) spec.Spec { return spec.Spec{Program: []string{"/bin/sh", "-c", script}} }

// shell runs a script in the cell and wants it to end well.
func (b *bed) shell(script string, properties ...string) string {
	b.t.Helper()
	out, code := b.run(sh(script), properties...)
	if code != 0 {
		b.t.Errorf("%s\nends with %d: %s", script, code, out)
	}
	return strings.TrimSpace(out)
}

// mapped tells whether the file system of the cell's directory has id-mapped mounts; overlayfs, as in containers, has none.
func (b *bed) mapped() bool { return !strings.HasSuffix(b.shell("id -u"), "62000") }

func (b *bed) systemctl(words ...string) string {
	b.t.Helper()
	out, err := b.h.Command(b.ctx, "systemctl", append([]string{"--user"}, words...)...).CombinedOutput()
	if err != nil {
		b.t.Errorf("systemctl %v: %v\n%s", words, err, out)
	}
	return strings.TrimSpace(string(out))
}

// world puts something to aim at into each place that a cell must not reach.
func (b *bed) world() spec.World {
	b.t.Helper()
	b.must(os.Chmod(b.outside, 0o755))
	w := spec.World{Dir: b.dir, Neighbour: filepath.Join(b.outside, "neighbour"), File: filepath.Join(b.outside, "file"), Socket: filepath.Join(b.outside, "socket")}
	b.must(os.MkdirAll(filepath.Join(w.Neighbour, "data"), 0o755))
	b.must(os.WriteFile(filepath.Join(w.Neighbour, "cell.toml"), []byte("[cell]\n"), 0o644))
	b.must(os.WriteFile(filepath.Join(w.Neighbour, "data/x"), nil, 0o644))
	b.must(os.WriteFile(w.File, []byte("x"), 0o644))
	shared, err := os.CreateTemp("/dev/shm", "cell-test-")
	b.must(err)
	w.Shared = shared.Name()
	_, err = shared.WriteString("x")
	b.must(err)
	b.t.Cleanup(func() { os.Remove(w.Shared) })
	w.Abstract = fmt.Sprintf("cell-test-%d", os.Getpid())
	for _, at := range []string{w.Socket, "@" + w.Abstract} {
		l, err := net.Listen("unix", at)
		b.must(err)
		b.t.Cleanup(func() { l.Close() })
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	b.must(err)
	b.t.Cleanup(func() { l.Close() })
	w.Port = l.Addr().(*net.TCPAddr).Port
	w.Host, err = os.Hostname()
	b.must(err)
	w.Key = 0x63000000 + os.Getpid()
	id, err := unix.SysvShmGet(w.Key, 4096, unix.IPC_CREAT|0o600)
	b.must(err)
	b.t.Cleanup(func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) })
	w.Queue = fmt.Sprintf("cell-test-%d", os.Getpid())
	queue := append([]byte(w.Queue), 0)
	b.must(messageQueue(queue))
	b.t.Cleanup(func() { removeQueue(queue) })
	// A process of root's in the manager's PID namespace.
	b.must(b.h.Command(b.ctx, "systemd-run", "--user", "--quiet", "--collect", "--unit=neighbour", "/bin/sleep", "600").Run())
	_, err = fmt.Sscan(b.systemctl("show", "-P", "MainPID", "neighbour"), &w.PID)
	b.must(err)
	return w
}

// probe runs every attempt, sealed as s is.
func (b *bed) probe(s spec.Spec, w spec.World) []spec.Result {
	b.t.Helper()
	world, err := json.Marshal(w)
	b.must(err)
	s.Program = []string{spec.Helper, spec.Probe, string(world)}
	var said bytes.Buffer
	c := b.command(s, "--wait", "--pipe")
	c.Stderr = &said
	out, err := c.Output()
	var results []spec.Result
	if jerr := json.Unmarshal(out, &results); jerr != nil || err != nil {
		b.t.Fatalf("the probe: %v %v: %s%s", err, jerr, out, &said)
	}
	return results
}

// What systemd promises a service holds for one that is sealed.
func TestService(t *testing.T) {
	b := newBed(t)
	start := func(t *testing.T, name string, s spec.Spec, options ...string) {
		t.Helper()
		if out, err := b.command(s, append([]string{"--unit=" + name}, options...)...).CombinedOutput(); err != nil {
			t.Fatalf("start: %v\n%s", err, out)
		}
	}
	ended := func(t *testing.T, name string) (result string) {
		t.Helper()
		for range 500 {
			if b.systemctl("show", "-P", "SubState", name) != "running" {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		return b.systemctl("show", "-P", "ExecMainCode", name) + " " + b.systemctl("show", "-P", "ExecMainStatus", name)
	}
	const keep = "-pCollectMode=inactive" // a failed unit stays to be looked at
	t.Run("exit status", func(t *testing.T) {
		if out, code := b.run(sh("echo it ends; exit 7")); code != 7 || out != "it ends\n" {
			t.Errorf("%d %q", code, out)
		}
	})
	t.Run("signal", func(t *testing.T) {
		start(t, "segv", sh("sleep 0.2; kill -SEGV $$"), keep, "-pRemainAfterExit=no")
		if got := ended(t, "segv"); got != "2 11" && got != "3 11" {
			t.Errorf("code and status: %s, want killed or dumped by 11", got)
		}
	})
	t.Run("main process", func(t *testing.T) {
		start(t, "main", spec.Spec{Program: []string{"/bin/sleep", "600"}})
		if got := b.systemctl("status", "--no-pager", "main"); !strings.Contains(got, "(sleep)") || !strings.Contains(got, "active (running)") {
			t.Errorf("%s", got)
		}
		begin := time.Now()
		b.systemctl("stop", "main")
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("a program that does not handle SIGTERM stops after %v", took)
		}
	})
	t.Run("a program that handles SIGTERM", func(t *testing.T) {
		start(t, "handles", sh("trap 'echo bye >data/bye; exit 3' TERM; while :; do sleep 0.05; done"), keep)
		b.systemctl("stop", "handles")
		if text, err := os.ReadFile(filepath.Join(b.dir, "data/bye")); err != nil || string(text) != "bye\n" {
			t.Errorf("%q %v", text, err)
		}
	})
	t.Run("children and zombies", func(t *testing.T) {
		// What a wrapper leaves behind has no other parent than the first process: it must not stay as a zombie, and ends with the unit.
		got := b.shell(`sh -c 'sleep 0.1 & sleep 0.1 & (sleep 600 &)' ; sleep 0.4; grep -l 'State:.*zombie' /proc/[0-9]*/status; cat /proc/[0-9]*/comm | sort | tr '\n' ' '`)
		if strings.Contains(got, "status") || !strings.Contains(got, "sleep") {
			t.Errorf("%s", got)
		}
	})
	t.Run("descriptors", func(t *testing.T) {
		first := func() (fds []string) {
			all, _ := filepath.Glob("/proc/[0-9]*/cgroup")
			for _, p := range all {
				group, _ := os.ReadFile(p)
				line, _ := os.ReadFile(filepath.Join(filepath.Dir(p), "cmdline"))
				if strings.Contains(string(group), "/listens.service") && strings.HasPrefix(string(line), "reaper\x00") {
					open, _ := os.ReadDir(filepath.Join(filepath.Dir(p), "fd"))
					for _, f := range open {
						to, _ := os.Readlink(filepath.Join(filepath.Dir(p), "fd", f.Name()))
						fds = append(fds, f.Name()+" "+to)
					}
				}
			}
			return fds
		}
		at := filepath.Join(b.outside, "listen")
		start(t, "listens", sh(`test "$LISTEN_PID" = $$ || exit 9; echo "$LISTEN_FDS" >data/fds; exec /usr/bin/python3 -c 'import socket; s=socket.socket(fileno=3); c,_=s.accept(); c.sendall(b"hello"); c.recv(1)'`),
			"--socket-property=ListenStream="+at)
		c, err := net.Dial("unix", at)
		b.must(err)
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		buf := make([]byte, 5)
		if n, err := c.Read(buf); err != nil || string(buf[:n]) != "hello" {
			t.Errorf("%q %v", buf[:n], err)
		}
		if fds := first(); len(fds) != 1 || !strings.Contains(fds[0], "pidfd") {
			t.Errorf("the first process has open %q", fds)
		}
		c.Close()
		b.systemctl("stop", "listens.socket")
	})
	t.Run("notification", func(t *testing.T) {
		s := sh(`/usr/bin/python3 -c 'import os,socket; s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.connect(os.environ["NOTIFY_SOCKET"]); s.send(b"READY=1\nSTATUS=from a child")' ; exec sleep 600`)
		s.Notify = true
		c := b.command(s, "--unit=child", "-pTimeoutStartSec=1s")
		if out, err := c.CombinedOutput(); err == nil {
			t.Errorf("a child's word counts with NotifyAccess=main: %s", out)
		}
		s = spec.Spec{Notify: true, Program: []string{"/usr/bin/python3", "-c", `import os,socket,time
s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.connect(os.environ["NOTIFY_SOCKET"]); s.send(b"READY=1\nSTATUS=by itself"); time.sleep(600)`}}
		start(t, "notifies", s)
		if got := b.systemctl("show", "-P", "StatusText", "notifies"); got != "by itself" {
			t.Errorf("status: %q", got)
		}
		b.systemctl("stop", "notifies")
	})
	t.Run("another main process", func(t *testing.T) {
		if !b.mapped() {
			t.Skip("no id-mapped mounts here: a cell of root is root, whose word systemd takes")
		}
		start(t, "victim", spec.Spec{Program: []string{"/bin/sleep", "600"}})
		victim := b.systemctl("show", "-P", "MainPID", "victim")
		start(t, "thief", spec.Spec{Notify: true, Program: []string{"/usr/bin/python3", "-c", `import os,socket,sys,time
s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.connect(os.environ["NOTIFY_SOCKET"]); s.send(b"MAINPID=" + sys.argv[1].encode() + b"\nREADY=1"); time.sleep(600)`, victim}})
		if got := b.systemctl("show", "-P", "MainPID", "thief"); got == victim {
			t.Error("a cell makes systemd take another unit's process for its own")
		}
		b.systemctl("stop", "thief", "victim")
	})
	t.Run("watchdog", func(t *testing.T) {
		start(t, "watched", sh(`test "$WATCHDOG_PID" = $$ && echo "$WATCHDOG_USEC" >data/watchdog; exec sleep 600`), keep, "-pWatchdogSec=1s")
		if got := ended(t, "watched"); got != "2 6" && got != "3 6" { // SIGABRT
			t.Errorf("code and status: %s", got)
		}
		if text, err := os.ReadFile(filepath.Join(b.dir, "data/watchdog")); err != nil || string(text) != "1000000\n" {
			t.Errorf("%q %v", text, err)
		}
	})
	t.Run("descriptor store", func(t *testing.T) {
		start(t, "stores", spec.Spec{Notify: true, Program: []string{"/usr/bin/python3", "-c", `import os,socket,time
s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.connect(os.environ["NOTIFY_SOCKET"])
if os.environ.get("LISTEN_PID") == str(os.getpid()):
    open("data/stored", "w").write(os.environ["LISTEN_FDNAMES"] + " " + os.pread(3, 9, 0).decode())
    s.send(b"READY=1")
    time.sleep(600)
m=os.memfd_create("m"); os.write(m, b"kept")
socket.send_fds(s, [b"FDSTORE=1\nFDNAME=state\nREADY=1"], [m])
time.sleep(0.2)
os._exit(1)`}}, "-pFileDescriptorStoreMax=4", "-pRestart=on-failure", "-pRestartSec=50ms")
		text := ""
		for end := time.Now().Add(20 * time.Second); text == "" && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			b, _ := os.ReadFile(filepath.Join(b.dir, "data/stored"))
			text = string(b)
		}
		if text != "state kept" {
			t.Errorf("after a crash it has %q", text)
		}
		b.systemctl("stop", "stores")
	})
	t.Run("a program that cannot be executed", func(t *testing.T) {
		for _, p := range []string{"/no/program", "/usr"} {
			if out, code := b.run(spec.Spec{Program: []string{p}}); code != 203 || !strings.Contains(out, "execute "+p) {
				t.Errorf("%s: %d %s", p, code, out)
			}
		}
	})
	t.Run("a program that cannot be sealed", func(t *testing.T) {
		s := sh("echo it runs")
		s.Read = []string{"/no/such/directory"}
		if out, code := b.run(s); code != 226 || !strings.Contains(out, "web is not started unsealed: open /no/such/directory: no such file or directory") || strings.Contains(out, "it runs") {
			t.Errorf("%d %s", code, out)
		}
	})
	t.Run("a machine that hides a part of /proc", func(t *testing.T) {
		s := sh("ls /proc | wc -l; echo it runs")
		s.Root = true // in a user namespace, as users' cells are
		b := *b
		b.before = []string{"/usr/bin/unshare", "--mount", "/bin/sh", "-c", `mount --bind /dev/null /proc/kmsg && exec "$$@"`, "sh"}
		out, code := b.run(s)
		if code != 0 || !strings.Contains(out, "web has no /proc, as this machine hides a part of its own") || !strings.HasSuffix(out, "0\nit runs\n") {
			t.Errorf("%d %s", code, out)
		}
	})
	t.Run("without systemd", func(t *testing.T) {
		c := exec.Command(b.program, (&spec.Spec{Name: "web", Dir: b.dir, Program: []string{"/bin/true"}}).Args()...)
		c.Env = []string{}
		if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "NOTIFY_SOCKET is not set") {
			t.Errorf("%v %s", err, out)
		}
	})
}

// What a program needs is there.
func TestView(t *testing.T) {
	b := newBed(t)
	for script, want := range map[string]string{
		"id -un; id -gn":                             "cell\ncell",
		"pwd":                                        b.dir,
		"hostname; getent hosts web | tr -s ' '":     "web\n127.0.1.1 web",
		"getent hosts localhost | tr -s ' '":         "::1 localhost ip6-localhost ip6-loopback",
		"echo x >data/x; stat -c %U data/x; ls data": "cell\nx",
		"echo x >/tmp/x && echo x >/var/tmp/y && ls /tmp/x /tmp/y":                                             "/tmp/x\n/tmp/y",
		"echo x >/run/x && ls /var/run/x":                                                                      "/var/run/x",
		"echo x >/dev/shm/x && cat /dev/stdin </dev/shm/x":                                                     "x",
		"echo $HOME $USER $LOGNAME":                                                                            b.dir + "/data cell cell",
		"ls /etc/ssl/certs >/dev/null && readlink /etc/localtime | cut -c-20":                                  "/usr/share/zoneinfo/",
		"cat /proc/sys/net/ipv4/ip_unprivileged_port_start":                                                    "0",
		"python3 -c 'import pty; pty.spawn([\"/bin/echo\", \"terminal\"])' | tr -d '\\r'":                      "terminal",
		"env | sort | grep -c -E 'XDG|DBUS|MANAGERPID'; true":                                                  "0",
		"nproc >/dev/null && ls /sys":                                                                          "devices\nfs",
		"ls child; cat child/data/secret 2>/dev/null || echo hidden; touch child/x 2>/dev/null || echo closed": "hidden\nclosed",
	} {
		out, _ := b.run(sh(script))
		if got := strings.TrimSpace(out); got != want {
			t.Errorf("%s\nsays %q, want %q", script, got, want)
		}
	}
	// On disk the file is its owner's.
	var st unix.Stat_t
	b.must(unix.Stat(filepath.Join(b.dir, "data/x"), &st))
	if int(st.Uid) != os.Geteuid() {
		t.Errorf("what a cell writes belongs to user %d", st.Uid)
	}
	file, dir := filepath.Join(b.outside, "conf"), filepath.Join(b.outside, "media")
	b.must(os.WriteFile(file, []byte("conf\n"), 0o600))
	b.must(os.Mkdir(dir, 0o700))
	b.must(os.Chmod(b.outside, 0o700))
	s := sh(fmt.Sprintf("cat %s; echo x >%[1]s; echo y >%s/y && ls %[2]s", file, dir))
	s.Read, s.Write = []string{file}, []string{dir}
	if out, _ := b.run(s); !strings.HasPrefix(out, "conf\n") || !strings.Contains(out, "Read-only file system") || !strings.HasSuffix(out, "y\n") {
		t.Errorf("paths: %s", out)
	}
	b.must(unix.Stat(filepath.Join(dir, "y"), &st))
	if int(st.Uid) != os.Geteuid() {
		t.Errorf("what a cell writes to a path belongs to user %d", st.Uid)
	}
	// A directory of its own that is kept elsewhere.
	big := filepath.Join(b.outside, "big")
	b.must(os.Mkdir(big, 0o755))
	b.must(os.Symlink(big, filepath.Join(b.dir, "cache")))
	b.shell("echo z >cache/z")
	if text, err := os.ReadFile(filepath.Join(big, "z")); err != nil || string(text) != "z\n" {
		t.Errorf("a directory that is a link: %q %v", text, err)
	}
	// With the machine's network it has the machine's resolver and hosts, too.
	s = sh("cat /etc/resolv.conf; readlink /proc/self/ns/net; grep -c 127.0.1.1.*web /etc/hosts")
	s.Internet = true
	resolver, _ := os.ReadFile("/etc/resolv.conf")
	own, _ := os.Readlink("/proc/self/ns/net")
	if out, _ := b.run(s); out != string(resolver)+own+"\n1\n" {
		t.Errorf("internet: %s", out)
	}
	if !b.mapped() {
		t.Skip("no id-mapped mounts here: users of a cell have other numbers on disk")
	}
	// User 0 of a cell becomes others of its own range, and they keep their numbers on disk.
	s = sh("id -u; setpriv --reuid=33 --regid=33 --clear-groups id -un; touch data/root; chown 33:33 data/root; stat -c %u data/root; cat /proc/sys/kernel/osrelease >/proc/sys/kernel/domainname || echo closed")
	s.Root = true
	if out, _ := b.run(s); !strings.HasPrefix(out, "0\nwww-data\n33\n") || !strings.HasSuffix(out, "closed\n") {
		t.Errorf("user 0: %s", out)
	}
	b.must(unix.Stat(filepath.Join(b.dir, "data/root"), &st))
	if st.Uid != 33 {
		t.Errorf("what user 33 of a cell owns belongs to user %d on disk", st.Uid)
	}
}

// Secrets are read by the cell's owner and are files that the cell alone can read, in no environment and on no disk.
func TestSecrets(t *testing.T) {
	b := newBed(t)
	file, huge, fifo := filepath.Join(b.outside, "key"), filepath.Join(b.outside, "huge"), filepath.Join(b.outside, "fifo")
	b.must(os.Chmod(b.outside, 0o700))
	b.must(os.WriteFile(file, []byte("s3cret\x00\n"), 0o600))
	b.must(os.WriteFile(huge, make([]byte, 10<<20), 0o600))
	b.must(unix.Mkfifo(fifo, 0o600))
	for _, root := range []bool{false, true} { // in this process, and in a user namespace
		s := sh(`od -An -c $CREDENTIALS_DIRECTORY/db | tr -d ' '; cat /run/credentials/token; stat -c '%a %U' /run/credentials /run/credentials/db; echo x >/run/credentials/x; env | grep -c s3cret; grep ' /run/credentials ' /proc/self/mountinfo | grep -c ramfs; tr '\0' ' ' </proc/1/cmdline | grep -c s3cret`)
		s.Root, s.Secrets = root, []string{"db=file:" + file, "token=command:printf %s word; echo"}
		who := "cell"
		if root {
			who = "root"
		}
		out, _ := b.run(s)
		want := "s3cret\\0\\n\nword\n700 " + who + "\n400 " + who + "\n/bin/sh: 1: cannot create /run/credentials/x: Read-only file system\n0\n1\n0\n"
		if out != want {
			t.Errorf("root %v: %q, want %q", root, out, want)
		}
	}
	for secret, want := range map[string]string{
		"file:" + file + "x":     "secret a: open " + file + "x: no such file or directory",
		"file:" + huge:           "secret a: it has more than 1048576 bytes",
		"file:" + fifo:           "secret a: " + fifo + " is not a regular file",
		"file:/etc":              "secret a: /etc is not a regular file",
		"command:echo x; exit 3": "secret a: /bin/sh ended with 3",
		"command:yes":            "secret a: it has more than 1048576 bytes",
		"command:kill -9 $$":     "secret a: /bin/sh was killed: killed",
		"env:A":                  `secret a: "env" is not a kind of secret`,
	} {
		s := sh("echo it runs")
		s.Secrets = []string{"a=" + secret}
		if out, code := b.run(s); code != 226 || !strings.Contains(out, "web is not started unsealed: "+want) || strings.Contains(out, "it runs") {
			t.Errorf("%s: %d %s", secret, code, out)
		}
	}
}

// A foreign cell is told nothing of whose machine it is on.
func TestForeign(t *testing.T) {
	b := newBed(t)
	s := sh("pwd; id; cat /etc/passwd /etc/group /etc/hosts /etc/hostname; env; cat /proc/self/mountinfo; cat /proc/self/uid_map; ls -laR / 2>/dev/null | grep -v '^/\\(usr\\|proc\\|sys\\)'; mount")
	s.Foreign = true
	out, code := b.run(s)
	if code != 0 || !strings.Contains(out, "/cell\nuid=") || !strings.Contains(out, "(cell)") {
		t.Errorf("%d %s", code, out)
	}
	b.must(os.Symlink("/etc", filepath.Join(b.dir, "log")))
	if text, code := b.run(s); code != 226 {
		t.Errorf("its log is a link out of its directory: %d %s", code, text)
	}
	if strings.Contains(out, "daemon:x:1") {
		t.Errorf("it learns who has an account:\n%s", out)
	}
}

// A program that ends as soon as it runs has started, and ended well.
func TestEndsAtOnce(t *testing.T) {
	b := newBed(t)
	for range 40 {
		if out, code := b.run(spec.Spec{Program: []string{"/usr/bin/true"}}); code != 0 {
			t.Fatalf("it ends with %d: %s", code, out)
		}
	}
}
