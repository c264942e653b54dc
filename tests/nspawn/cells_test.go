package nspawn

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// app is a web server in bin/: a build makes it, and an upgrade replaces it.
const app = `#!/usr/bin/python3
import os, signal, socket, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
VERSION = "one"
if VERSION == "bad":
    sys.exit("does not even start")
def ends(*_):
    open("data/ended", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, ends)
def look(path):
    try:
        return ",".join(sorted(os.listdir(path))) or "empty"
    except OSError as e:
        return e.strerror
class App(BaseHTTPRequestHandler):
    def do_GET(self):
        body = VERSION if self.path == "/" else look(self.path)
        if self.path == "/write":
            try:
                open("data/kept", "w").close()
                body = "written"
            except OSError as e:
                body = e.strerror
        if self.path == "/touch":
            try:
                open("touched", "w").close()
                body = "written"
            except OSError as e:
                body = e.strerror
        body = (body + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "-"
server = ThreadingHTTPServer(("", 0), App, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)
server.server_name, server.server_port = "app", 0
server.serve_forever()
`

// cell writes a cell into the machine.
func (m *machine) cell(dir, name, version string, uid int) {
	m.t.Helper()
	m.write(filepath.Join(dir, "app.py"), strings.Replace(app, `"one"`, strconv.Quote(version), 1), 0o755)
	m.write(filepath.Join(dir, "cell.toml"), fmt.Sprintf(`[cell]
name   = %q
build  = "cp app.py bin/app"
exec   = ["bin/app"]
speaks = "http"

[resources]
memory = "64MB"
tasks  = 32
`, name), 0o644)
	m.chown(dir, uid)
}

// hello installs the example.
func (m *machine) hello(dir string, uid int) {
	m.t.Helper()
	for _, f := range []string{"cell.toml", "hello.py"} {
		data, err := os.ReadFile(filepath.Join("../../examples/hello", f))
		if err != nil {
			m.t.Fatal(err)
		}
		m.write(filepath.Join(dir, f), string(data), 0o644)
	}
	m.chown(dir, uid)
}

func (m *machine) get(uid int, dir, path string) string {
	m.t.Helper()
	return strings.TrimSpace(m.run(uid, "curl", "-sS", "--max-time", "20", "--unix-socket", dir+"/run/cell.sock", "http://cell"+path))
}

// status reads a line of /proc/PID/status of a process in the machine.
func (m *machine) status(pid, key string) string {
	m.t.Helper()
	for line := range strings.Lines(m.run(0, "cat", "/proc/"+pid+"/status")) {
		if v, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	m.t.Fatalf("process %s has no %s", pid, key)
	return ""
}

// kinds writes a cell that speaks Cell's own protocol, and one that insists on a port.
func (m *machine) kinds(home string, uid int) {
	m.t.Helper()
	for name, more := range map[string]string{
		"calculator": "", "standby/primary": "", "standby/spare": "",
		"standby": "[cells]\nprimary = {}\nspare = {}\n[needs]\nprimary = { path = \"primary\" }\n",
	} {
		base := filepath.Base(name)
		program, err := os.ReadFile(filepath.Join(built, base))
		if err != nil {
			m.t.Fatal(err)
		}
		m.write(home+"/"+name+"/program", string(program), 0o755)
		m.write(home+"/"+name+"/cell.toml", fmt.Sprintf("[cell]\nname = %q\nbuild = \"cp program bin/%s\"\nspeaks = \"cell\"\n%s", base, base, more), 0o644)
	}
	m.chown(home+"/standby", uid)
	m.write(home+"/port/cell.toml", "[cell]\nname = \"port\"\nexec = [\"/usr/bin/python3\", \"-m\", \"http.server\", \"3000\"]\nspeaks = \"http\"\nport = 3000\n", 0o644)
	m.chown(home+"/calculator", uid)
	m.chown(home+"/port", uid)
}

// useKinds runs both.
func (m *machine) useKinds(home string, uid int, own func(...string) []string) {
	m.t.Helper()
	m.run(uid, own("cell", "mitosis", home+"/calculator")...)
	m.has(uid, own("cell", "use", "calculator", "add", "3", "4"), "7\n")
	// One cell calls another through celld, and starts a third one when that is away.
	m.run(uid, own("cell", "mitosis", home+"/standby")...)
	m.has(uid, own("cell", "use", "standby", "answer", "why"), "42, says the primary")
	m.has(uid, own("cell", "use", "standby", "reach", "port"), "is not below standby")
	m.run(uid, own("cell", "use", "standby", "pause")...)
	m.run(uid, own("cell", "stop", "standby.primary")...)
	m.has(uid, own("cell", "use", "standby", "answer", "why"), "42, says the spare")
	m.run(uid, own("cell", "apoptosis", "standby")...)
	m.run(uid, own("cell", "mitosis", home+"/port")...)
	if got := m.get(uid, home+"/port", "/"); !strings.Contains(got, "Directory listing") {
		m.t.Errorf("port says %q", got)
	}
	m.has(uid, own("cell", "ps"), "calculator", "port")
	m.run(uid, own("cell", "apoptosis", "calculator")...)
	m.run(uid, own("cell", "apoptosis", "port")...)
}

// broken is what cell explain says of a rule of the membrane that does not hold. Limits are not enforced in a container.
var broken = regexp.MustCompile(`(no: [^t]|not known)`)

// sealed wants each rule of a cell's membrane to hold.
func (m *machine) sealed(uid int, how func(...string) []string, name string) {
	m.t.Helper()
	out := m.run(uid, how("cell", "explain", name)...)
	if broken.MatchString(out) || strings.Count(out, "attempts refused") != 10 {
		m.t.Errorf("the membrane of %s does not hold:\n%s", name, out)
	}
}

// plain is the command line that nothing is added to.
func plain(words ...string) []string { return words }

func uids(uid int) string { return fmt.Sprintf("%d\t%[1]d\t%[1]d\t%[1]d", uid) }

func TestRoot(t *testing.T) {
	m := newMachine(t)
	m.hello("/srv/hello", 0)
	m.cell("/home/alice/web", "web", "one", alice)
	// A template on disk would make systemd refuse the transient units of the name.
	for _, dir := range []string{"/usr/local/lib/systemd", "/usr/lib/systemd", "/etc/systemd"} {
		_ = filepath.WalkDir(m.path(dir), func(p string, d os.DirEntry, err error) error {
			if name := d.Name(); err == nil && strings.HasPrefix(name, "cell") && (strings.Contains(name, "@") || strings.HasSuffix(name, ".slice")) {
				t.Errorf("%s is installed", p)
			}
			return nil
		})
	}
	m.boot()
	m.active(0, "celld") // started by the boot itself
	m.has(0, []string{"systemctl", "is-enabled", "celld"}, "enabled")
	m.has(0, []string{"cell", "host"}, "system")

	m.has(0, []string{"cell", "mitosis", "/srv/hello"}, "hello: 1 cell ready", "cell@hello.service")
	m.has(0, []string{"systemctl", "status", "--no-pager", "cell@hello"}, "active (running)", "python3 hello.py", "TriggeredBy", "cell@hello.socket")
	m.has(0, []string{"cell", "systemctl", "is-active", "cell@hello.socket"}, "active")
	if got := m.get(0, "/srv/hello", "/"); got != "hello from hello" {
		t.Errorf("hello says %q", got)
	}
	pid := m.property("cell@hello.service", "MainPID")
	if got := m.status(pid, "Uid"); got != uids(0) {
		t.Errorf("root's cell runs as %s", got)
	}
	for key, want := range map[string]string{"NoNewPrivs": "1", "CapBnd": "0000000000000000", "Seccomp": "2"} {
		if got := m.status(pid, key); got != want {
			t.Errorf("%s of a cell: %s", key, got)
		}
	}
	for property, want := range map[string]string{"MemoryMax": "67108864", "TasksMax": "32", "Slice": "cell-hello.slice"} {
		if got := m.property("cell@hello.service", property); got != want {
			t.Errorf("%s: %s, wanted %s", property, got, want)
		}
	}
	m.has(0, []string{"cell", "logs", "hello"}, `"GET / HTTP/1.1" 200`)
	m.has(0, []string{"journalctl", "--no-pager", "-u", "cell@hello"}, `"GET / HTTP/1.1" 200`)
	m.sealed(0, plain, "hello")

	// Root runs alice's cell, which is alice's all the same.
	m.run(0, "cell", "mitosis", "/home/alice/web")
	if got := m.status(m.property("cell@web.service", "MainPID"), "Uid"); got != uids(alice) {
		t.Errorf("alice's cell runs as %s", got)
	}
	// The build was hers, too: she goes on where root began, and only celld's links in her directory are root's.
	m.run(alice, "cell", "mitosis", "/home/alice/web")
	if out := m.run(0, "find", "/home/alice/web", "-user", "root", "!", "-type", "l"); out != "" {
		t.Errorf("root's in alice's directory: %s", out)
	}
	m.sealed(0, plain, "web")

	// celld is killed: no process and no socket notices, and the next call is answered by the next celld.
	before := m.property("celld.service", "MainPID")
	m.run(0, "systemctl", "kill", "-s", "KILL", "--kill-whom=main", "celld")
	if got := m.get(0, "/srv/hello", "/"); got != "hello from hello" {
		t.Errorf("hello says %q while celld is away", got)
	}
	m.has(0, []string{"cell", "ps"}, "hello", "web", "ready")
	if now := m.property("cell@hello.service", "MainPID"); now != pid {
		t.Errorf("process of the cell: %s, was %s", now, pid)
	}
	if now := m.property("celld.service", "MainPID"); now == before || now == "0" {
		t.Errorf("process of celld: %s, was %s", now, before)
	}
	// The same for a celld that is stopped: its runtime directory holds the sockets.
	m.run(0, "systemctl", "stop", "celld")
	if got := m.get(0, "/srv/hello", "/"); got != "hello from hello" {
		t.Errorf("hello says %q with celld stopped", got)
	}

	m.run(0, "cell", "stop", "hello")
	m.fails(0, 3, "inactive", "systemctl", "is-active", "cell@hello.socket")
	m.has(0, []string{"cell", "ps"}, "stopped")
	m.run(0, "cell", "start", "hello")
	m.run(0, "cell", "apoptosis", "hello")
	m.run(0, "cell", "apoptosis", "web")
	m.has(0, []string{"systemctl", "list-units", "--all", "--no-legend", "cell@*"}, "")
	if out := m.run(0, "systemctl", "list-units", "--all", "--no-legend", "cell@*", "cell-*"); strings.TrimSpace(out) != "" {
		t.Errorf("units are left: %s", out)
	}
	m.has(0, []string{"ls", "/srv/hello"}, "cell.toml\nhello.py\n")
	if out := m.run(0, "systemctl", "list-units", "--failed", "--no-legend"); strings.Contains(out, "cell") {
		t.Errorf("failed units: %s", out)
	}
	// What guards celld itself.
	guard := m.property("celld.service", "MainPID")
	if got := m.status(guard, "CapBnd"); got != "00000000000000c3" {
		t.Errorf("celld may have capabilities %s", got)
	}
	if got := m.status(guard, "NoNewPrivs") + m.status(guard, "Seccomp"); got != "12" {
		t.Errorf("celld's NoNewPrivs and Seccomp: %s", got)
	}
}

func TestReboot(t *testing.T) {
	m := newMachine(t)
	m.hello("/srv/hello", 0)
	m.cell("/srv/stays", "stays", "one", 0)
	m.cell("/home/alice/web", "web", "one", alice)
	m.boot()
	m.run(0, "cell", "mitosis", "/srv/hello")
	m.run(0, "cell", "mitosis", "/srv/stays")
	m.run(0, "cell", "stop", "stays")
	m.run(alice, "cell", "mitosis", "/home/alice/web")
	m.reboot()
	for _, u := range []string{"cell@hello.socket", "cell@web.socket"} {
		m.active(0, u)
	}
	m.fails(0, 3, "inactive", "systemctl", "is-active", "cell@stays.socket")
	if got := m.property("cell@hello.service", "ActiveState"); got != "inactive" {
		t.Errorf("before the first call hello is %s", got)
	}
	if got := m.get(0, "/srv/hello", "/"); got != "hello from hello" {
		t.Errorf("hello says %q", got)
	}
	if got := m.get(alice, "/home/alice/web", "/"); got != "one" {
		t.Errorf("web says %q", got)
	}
	if got := m.status(m.property("cell@web.service", "MainPID"), "Uid"); got != uids(alice) {
		t.Errorf("after the reboot alice's cell runs as %s", got)
	}
	m.has(0, []string{"ls", "/home/alice/web/data"}, "ended") // the shutdown ended it in good order
	m.has(0, []string{"cell", "ps"}, "stays", "stopped")
	m.run(0, "cell", "start", "stays")
	if got := m.get(0, "/srv/stays", "/"); got != "one" {
		t.Errorf("stays says %q", got)
	}
}

func TestUsers(t *testing.T) {
	m := newMachine(t)
	m.hello("/srv/hello", 0)
	m.cell("/home/alice/web", "web", "one", alice)
	m.cell("/home/bob/shop", "shop", "one", bob)
	m.cell("/srv/bobs", "bobs", "one", bob)
	m.boot()
	m.has(alice, []string{"cell", "host"}, "system")
	m.run(0, "cell", "mitosis", "/srv/hello")
	m.run(bob, "cell", "mitosis", "/home/bob/shop")
	m.has(alice, []string{"cell", "mitosis", "/home/alice/web"}, "web: 1 cell ready")
	m.has(alice, []string{"cell", "ps"}, "hello", "shop", "web")
	m.has(alice, []string{"cell", "status", "web"}, "ready")
	if got := m.get(alice, "/home/alice/web", "/"); got != "one" {
		t.Errorf("web says %q", got)
	}
	m.kinds("/home/alice", alice)
	m.useKinds("/home/alice", alice, plain)
	m.kinds("/srv", 0)
	m.useKinds("/srv", 0, plain)
	m.run(0, "rm", "-r", "/srv/calculator", "/srv/port", "/srv/standby")
	// The sandbox: no home of another, nothing writable but its own.
	for path, want := range map[string]string{
		"/home": "alice", "/root": "No such file or directory", "/run/cell": "broker", "/write": "written", "/touch": "Read-only file system",
	} {
		got := m.get(alice, "/home/alice/web", path)
		if got != want {
			t.Errorf("alice's cell sees %s: %q, wanted %q", path, got, want)
		}
	}

	for _, c := range []struct {
		name, owner string
	}{{"hello", "root"}, {"shop", "bob"}} {
		for _, verb := range []string{"stop", "start", "apoptosis"} {
			m.fails(alice, 5, c.name+" belongs to "+c.owner, "cell", verb, c.name)
		}
		if got := m.property("cell@"+c.name+".socket", "ActiveState"); got != "active" {
			t.Errorf("%s is %s", c.name, got)
		}
	}
	call := func(uid int, method string, args ...string) (string, int) {
		words := []string{"busctl", "call", "network.cell.Manager1", "/network/cell/Manager1", "network.cell.Manager1", method}
		return m.try(uid, append(words, args...)...)
	}
	// The command line gives up on a directory it cannot write; celld itself must refuse, too.
	if out, code := m.try(alice, "cell", "mitosis", "/srv/bobs"); code != 5 {
		t.Errorf("mitosis of bob's directory: %s", out)
	}
	if out, code := call(alice, "Apply", "sb", "/srv/bobs", "false"); code == 0 || !strings.Contains(out, "belongs to bob") {
		t.Errorf("Apply of bob's directory: exit %d, %s", code, out)
	}
	m.fails(alice, 5, "belongs to bob", "cell", "mitosis", "--plan", "/srv/bobs")
	if out, code := call(alice, "Apply", "sb", "/home/bob/shop", "false"); code == 0 || !strings.Contains(out, "permission denied") {
		t.Errorf("Apply in bob's closed home: exit %d, %s", code, out)
	}
	if out, code := call(alice, "Connect", "s", "shop"); code == 0 || !strings.Contains(out, "belongs to bob") {
		t.Errorf("Connect to bob's cell: exit %d, %s", code, out)
	}
	m.fails(alice, 7, "", "curl", "-sS", "--unix-socket", "/run/cell/shop.sock", "http://cell/")

	// A tree that takes in bob's directory, a name that is bob's, a link in the place of the manifest.
	m.cell("/home/alice/mix", "mix", "one", alice)
	m.write("/home/alice/mix/cell.toml", "[cell]\nname = \"mix\"\nbuild = \"cp app.py bin/app\"\nexec = [\"bin/app\"]\nspeaks = \"http\"\n[cells]\nx = { path = \"/srv/bobs\" }\n", 0o644)
	m.chown("/home/alice/mix", alice)
	if out, code := call(alice, "Apply", "sb", "/home/alice/mix", "false"); code == 0 || !strings.Contains(out, "belongs to user 61002") && !strings.Contains(out, "relative") {
		t.Errorf("Apply of a mixed tree: exit %d, %s", code, out)
	}
	m.cell("/home/alice/thief", "shop", "one", alice)
	m.fails(alice, 1, "another user's cell", "cell", "mitosis", "/home/alice/thief")
	m.write("/home/alice/peek/app.py", "", 0o644)
	if err := os.Symlink("/etc/shadow", m.path("/home/alice/peek/cell.toml")); err != nil {
		t.Fatal(err)
	}
	m.chown("/home/alice/peek", alice)
	if out, code := call(alice, "Apply", "sb", "/home/alice/peek", "false"); code == 0 || !strings.Contains(out, "permission denied") {
		t.Errorf("Apply with another's file for a manifest: exit %d, %s", code, out)
	}
	// data/ as a link into another's home opens nothing.
	m.cell("/home/alice/link", "link", "one", alice)
	m.write("/home/bob/open/secret", "", 0o644)
	m.chown("/home/bob/open", bob)
	if err := os.Symlink("/home/bob/open", m.path("/home/alice/link/data")); err != nil {
		t.Fatal(err)
	}
	if _, code := m.try(alice, "cell", "mitosis", "/home/alice/link"); code == 0 {
		if got := m.get(alice, "/home/alice/link", "/home/alice/link/data"); strings.Contains(got, "secret") {
			t.Errorf("a cell sees bob's closed home: %s", got)
		}
	}
	// A directory that another may exchange, and /tmp.
	m.cell("/home/bob/in", "in", "one", bob)
	m.chown("/home/bob/in", 0)
	m.fails(0, 5, "could exchange it", "cell", "mitosis", "/home/bob/in")
	m.run(alice, "cp", "-r", "/home/alice/thief", "/tmp/thief")
	m.run(alice, "sed", "-i", "s/shop/temp/", "/tmp/thief/cell.toml")
	m.run(alice, "cell", "mitosis", "/tmp/thief")
	if got := m.get(alice, "/tmp/thief", "/"); got != "one" {
		t.Errorf("a cell in /tmp says %q", got)
	}
	m.run(alice, "cell", "apoptosis", "temp")
	m.write("/home/alice/thief/cell.toml", "[cell]\nname = \"door\"\nbuild = \"cp app.py bin/app\"\nexec = [\"bin/app\"]\nspeaks = \"http\"\n[net]\npublish = [\"127.0.0.1:80\"]\n", 0o644)
	m.fails(alice, 5, "ports below", "cell", "mitosis", "/home/alice/thief")

	// An administrator decides otherwise.
	m.run(0, "sh", "-c", `mkdir -p /etc/polkit-1/rules.d && cat >/etc/polkit-1/rules.d/10-test.rules <<'END'
polkit.addRule(function(action, subject) {
    if (subject.user == "bob" && action.id == "network.cell.manage-others") return polkit.Result.YES;
    if (subject.user == "alice" && action.id == "network.cell.run-own") return polkit.Result.NO;
});
END
chmod 755 /etc/polkit-1/rules.d; chmod 644 /etc/polkit-1/rules.d/10-test.rules; systemctl restart polkit`)
	m.fails(alice, 5, "may not run cells here", "cell", "stop", "web")
	m.run(bob, "cell", "stop", "web")
	// Without polkit everybody has what is theirs, and no more.
	m.run(0, "sh", "-c", "rm /usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service; systemctl mask --now polkit; busctl call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig")
	m.run(alice, "cell", "start", "web")
	m.fails(alice, 5, "belongs to bob", "cell", "stop", "shop")
	m.fails(bob, 5, "belongs to alice", "cell", "stop", "web")
	m.run(alice, "cell", "stop", "web")
	m.run(alice, "cell", "apoptosis", "web")
}

func TestUpgrade(t *testing.T) {
	m := newMachine(t)
	m.cell("/home/alice/web", "web", "one", alice)
	m.boot()
	dir := "/home/alice/web"
	m.run(alice, "cell", "mitosis", dir)
	set := func(version string) {
		m.run(alice, "sed", "-i", `s/^VERSION = .*/VERSION = "`+version+`"/`, dir+"/app.py")
	}
	first := m.property("cell@web.service", "MainPID")
	opened := m.property("cell@web.socket", "ActiveEnterTimestampMonotonic")
	set("two")
	m.run(alice, "cell", "mitosis", dir)
	if got := m.get(alice, dir, "/"); got != "two" {
		t.Errorf("after the upgrade it says %q", got)
	}
	second := m.property("cell@web.service", "MainPID")
	if second == first {
		t.Error("the upgrade did not restart it")
	}
	set("bad")
	m.fails(alice, 3, "rolled back to the old version", "cell", "mitosis", dir)
	if got := m.get(alice, dir, "/"); got != "two" {
		t.Errorf("after the roll-back it says %q", got)
	}
	if got := m.property("cell@web.socket", "ActiveEnterTimestampMonotonic"); got != opened {
		t.Error("the socket was closed in between")
	}
	// A changed definition is a new pair; alice's it stays.
	set("three")
	m.run(alice, "sh", "-c", "printf '\\n[life]\\nstop_within = \"3s\"\\n' >>"+dir+"/cell.toml")
	m.run(alice, "cell", "mitosis", dir)
	if got := m.get(alice, dir, "/"); got != "three" {
		t.Errorf("after the exchange it says %q", got)
	}
	if got := m.status(m.property("cell@web.service", "MainPID"), "Uid"); got != uids(alice) {
		t.Errorf("it runs as %s", got)
	}
	m.has(0, []string{"stat", "-c", "%U %a", "/run/cell/web.sock"}, "alice 600")
}

// lingering starts alice's own manager.
func (m *machine) lingering() {
	m.t.Helper()
	m.run(0, "loginctl", "enable-linger", "alice")
	m.until(alice, "running", "systemctl", "--user", "is-system-running")
}

func TestUserManager(t *testing.T) {
	m := newMachine(t)
	m.cell("/home/alice/web", "web", "one", alice)
	m.cell("/home/bob/shop", "shop", "one", bob)
	m.boot()
	m.lingering()
	own := func(words ...string) []string { return append([]string{"env", "CELL_MANAGER=user"}, words...) }
	m.has(alice, own("cell", "host"), "user")
	m.userScenario(own)
	// Wanted cells come back with the user's next session.
	m.run(alice, "systemctl", "--user", "enable", "celld")
	m.reboot()
	m.active(alice, "--user", "cell@web.socket")
	if got := m.get(alice, "/home/alice/web", "/"); got != "one" {
		t.Errorf("after the reboot web says %q", got)
	}
	m.run(alice, own("cell", "apoptosis", "web")...)
}

// userScenario runs alice's cell in alice's own manager.
func (m *machine) userScenario(own func(...string) []string) {
	t := m.t
	t.Helper()
	m.kinds("/home/alice", alice)
	m.useKinds("/home/alice", alice, own)
	m.has(alice, own("cell", "mitosis", "/home/alice/web"), "web: 1 cell ready")
	m.has(alice, own("cell", "status", "web"), "ready")
	m.has(alice, own("cell", "systemctl", "status", "--no-pager", "cell@web"), "active (running)")
	if got := m.get(alice, "/home/alice/web", "/"); got != "one" {
		t.Errorf("web says %q", got)
	}
	m.until(alice, `"GET / HTTP/1.1" 200`, own("cell", "logs", "web")...)
	m.until(alice, `"GET / HTTP/1.1" 200`, own("cell", "journalctl", "--no-pager", "-u", "cell@web")...)
	pid := strings.TrimSpace(m.run(alice, "systemctl", "--user", "show", "-P", "MainPID", "cell@web.service"))
	if got := m.status(pid, "Uid"); got != uids(alice) {
		t.Errorf("it runs as %s", got)
	}
	for key, want := range map[string]string{"NoNewPrivs": "1", "Seccomp": "2", "CapBnd": "0000000000000000", "CapEff": "0000000000000000"} {
		if got := m.status(pid, key); got != want {
			t.Errorf("%s of the cell: %s", key, got)
		}
	}
	manager := strings.TrimSpace(m.run(0, "systemctl", "show", "-P", "MainPID", fmt.Sprintf("user@%d.service", alice)))
	for _, ns := range []string{"net", "mnt", "user"} {
		a, b := m.run(0, "readlink", "/proc/"+pid+"/ns/"+ns), m.run(0, "readlink", "/proc/"+manager+"/ns/"+ns)
		if a == b {
			t.Errorf("the cell shares the %s namespace of its manager", ns)
		}
	}
	for path, want := range map[string]string{
		"/home": "alice", "/home/alice": "web", "/write": "written", "/touch": "Read-only file system",
		"/run/cell": "broker", "/run/user": "No such file or directory",
	} {
		if got := m.get(alice, "/home/alice/web", path); got != want {
			t.Errorf("alice's cell sees %s: %q, wanted %q", path, got, want)
		}
	}
	m.sealed(alice, own, "web")
	m.run(alice, "systemctl", "--user", "kill", "-s", "KILL", "--kill-whom=main", "celld")
	m.has(alice, own("cell", "ps"), "web", "ready")
	m.run(alice, own("cell", "stop", "web")...)
	m.has(alice, own("cell", "ps"), "stopped")
	m.run(alice, own("cell", "start", "web")...)
}

// TestNotInstalled runs the programs as they come out of a build.
func TestNotInstalled(t *testing.T) {
	m := newMachine(t)
	m.hello("/srv/hello", 0)
	m.cell("/home/alice/web", "web", "one", alice)
	m.cell("/home/bob/shop", "shop", "one", bob)
	for _, f := range []string{
		"/usr/local/lib/systemd/system/celld.service", "/usr/local/lib/systemd/user/celld.service", "/etc/dbus-1/system.d/network.cell.Manager1.conf",
		"/usr/local/share/dbus-1/system-services/network.cell.Manager1.service", "/usr/local/share/dbus-1/services/network.cell.Manager1.service",
		"/etc/systemd/system/multi-user.target.wants/celld.service",
		"/usr/local/lib/systemd/system/cellnetd.service", "/usr/local/lib/sysusers.d/cell.conf", "/usr/share/polkit-1/rules.d/cell.rules",
		"/usr/local/share/dbus-1/system-services/network.cell.Net1.service", "/etc/dbus-1/system.d/network.cell.Net1.conf",
		"/usr/local/lib/systemd/system/cell-gpu.service", "/usr/local/lib/systemd/user/cell-gpu.service", "/etc/dbus-1/system.d/network.cell.Gpu1.conf",
		"/usr/local/share/dbus-1/system-services/network.cell.Gpu1.service", "/usr/local/share/dbus-1/services/network.cell.Gpu1.service",
		"/etc/systemd/system/multi-user.target.wants/cellnetd.service",
	} {
		if err := os.Remove(m.path(f)); err != nil {
			t.Errorf("not where make install put it: %v", err)
		}
	}
	if err := os.MkdirAll(m.path("/opt/built in"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"cell", "celld", "cellnetd", "cell-gpu", "cell-donor", "cell-init", "cell-membrane", "cell-inside", "cell-http"} {
		if err := os.Rename(m.path("/usr/local/bin", p), m.path("/opt/built in", p)); err != nil {
			t.Fatal(err)
		}
	}
	m.boot()
	m.fails(0, 1, "make install", "/opt/built in/cell", "mitosis", "/srv/hello")
	m.fails(bob, 1, "enable-linger", "/opt/built in/cell", "ps")
	m.lingering()
	m.has(alice, []string{"/opt/built in/cell", "host"}, "user")
	began := time.Now()
	m.userScenario(func(words ...string) []string {
		if words[0] == "cell" {
			words[0] = "/opt/built in/cell"
		}
		return words
	})
	t.Logf("took %v", time.Since(began).Round(time.Millisecond))

	// Installed on the machine as it runs: at once the system's celld answers everybody, and alice's own stays at hand.
	for _, d := range []string{"packaging", "units"} {
		if err := os.CopyFS(m.path("/opt/source", d), os.DirFS(filepath.Join("../..", d))); err != nil {
			t.Fatal(err)
		}
	}
	m.run(0, "userdel", "cell-net")
	install := []string{"env", "BUILT=/opt/built in", "sh", "/opt/source/packaging/install.sh"}
	m.run(0, install...)
	m.active(0, "celld")
	m.has(0, []string{"systemctl", "is-enabled", "celld"}, "enabled")
	m.has(0, []string{"systemctl", "is-enabled", "cellnetd"}, "enabled")
	m.has(0, []string{"cell", "net", "status"}, "in no tissue")
	m.run(0, "cell", "mitosis", "/srv/hello")
	m.has(alice, []string{"cell", "host"}, "system")
	m.has(alice, []string{"cell", "ps"}, "hello")
	pid := strings.TrimSpace(m.run(alice, "systemctl", "--user", "show", "-P", "MainPID", "cell@web.service"))
	m.has(alice, []string{"env", "CELL_MANAGER=user", "cell", "ps"}, "web", "ready")
	m.has(alice, []string{"systemctl", "--user", "show", "-P", "FragmentPath", "celld"}, "/usr/local/lib/systemd/user/celld.service")
	if now := strings.TrimSpace(m.run(alice, "systemctl", "--user", "show", "-P", "MainPID", "cell@web.service")); now != pid || now == "0" {
		t.Errorf("process of alice's cell: %s, was %s", now, pid)
	}
	// An upgrade replaces celld alone, and leaves a disabled one disabled.
	pid = m.property("cell@hello.service", "MainPID")
	before := m.property("celld.service", "MainPID")
	m.run(0, "systemctl", "disable", "celld")
	m.run(0, install...)
	m.fails(0, 1, "disabled", "systemctl", "is-enabled", "celld")
	m.has(0, []string{"cell", "ps"}, "hello", "ready")
	if now := m.property("cell@hello.service", "MainPID"); now != pid {
		t.Errorf("process of the cell: %s, was %s", now, pid)
	}
	if m.property("celld.service", "MainPID") == before {
		t.Error("celld was not replaced")
	}
}
