package vmtests

import (
	"regexp"
	"strings"
	"testing"
)

// A hostile cell of an ordinary user tries what it may not. What cell explain calls enforced is what the kernel then refuses.
func init() {
	scenario("sandbox", oneGuest, hostile)
	scenario("sandbox-13", newGuest, hostile)
}

// attempt is a script that must fail, and what it then says.
type attempt struct{ script, refused string }

var attempts = []attempt{
	{"cat /home/bob/bobs/cell.toml", "No such file or directory"},
	{"ls /root/.bashrc", "No such file or directory|Permission denied"},
	{"touch /etc/mine", "Read-only file system"},
	{"touch /usr/mine", "Read-only file system"},
	{"touch cell.toml", "Read-only file system"},
	{"touch run/exec/mine", "Read-only file system"},
	{"cat /dev/vda", "No such file or directory"},
	{"mknod /tmp/disk b 254 0", "Operation not permitted"},
	{"mount -t tmpfs none /mnt", "permission denied|must be superuser|Operation not permitted"},
	{"unshare --user true", "Operation not permitted"},
	{"unshare --mount true", "Operation not permitted"},
	{"pgrep -x systemd", ""},
	{"python3 -c 'import os; os.setuid(0)'", "PermissionError|Invalid argument"},
	{"python3 -c 'import socket; socket.create_connection((\"10.0.0.1\", 80), 3)'", "Network is unreachable"},
	{"python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'", "Address family not supported"},
	{"python3 -c 'import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))'", "PermissionError"},
	{"echo mine >/proc/sys/kernel/hostname", "Read-only file system|Permission denied|cannot create"},
	{"echo 1 >/sys/fs/cgroup/cgroup.procs", "Read-only file system|Permission denied|cannot create"},
	{"ls /run/cell/bobs.sock", "No such file or directory"},
	{"date -s 2000-01-01", "not permitted"},
	{"dmesg", "not permitted"},
	{"install -m 4755 /bin/sh /tmp/sh", "not permitted"},
}

// shell is a cell that runs what it is told, once told.
const shell = `import http.server, socket, subprocess, urllib.parse
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        script = self.rfile.read(int(self.headers["Content-Length"])).decode()
        r = subprocess.run(["/bin/sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        body = ("%d\n" % r.returncode).encode() + r.stdout
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "-"
s = http.server.HTTPServer(("", 0), H, bind_and_activate=False)
s.socket.close()
s.socket = socket.socket(fileno=3)
s.server_name, s.server_port = "x", 0
s.serve_forever()
`

func hostile(t *testing.T, g *guest) {
	g.misfit("/home/bob/bobs", "bob", "")
	g.as("alice", "mkdir -p ~/hostile && cat >~/hostile/shell.py <<'PY'\n"+shell+"PY\ncat >~/hostile/cell.toml <<'TOML'\n[cell]\nexec = [\"/usr/bin/python3\", \"shell.py\"]\nspeaks = \"http\"\nTOML\ncell mitosis ~/hostile")
	do := func(script string) (string, bool) {
		t.Helper()
		out := g.run("curl -sS --max-time 120 --unix-socket /home/alice/hostile/run/cell.sock http://cell/ --data-binary @- <<'SCRIPT'\n" + script + "\nSCRIPT")
		code, text, _ := strings.Cut(out, "\n")
		return text, code == "0"
	}
	if out, ok := do("id -un && touch data/mine && ls /usr/bin/env && touch /tmp/mine"); !ok || !strings.HasPrefix(out, "alice") {
		t.Fatalf("what it may do does not work: %s", out)
	}
	for _, a := range attempts {
		out, ok := do(a.script)
		refused := false
		for _, text := range strings.Split(a.refused, "|") {
			refused = refused || strings.Contains(out, text)
		}
		if ok || !refused {
			t.Errorf("%s: allowed: %v, it says %q, want %q", a.script, ok, out, a.refused)
		}
	}
	if out := g.run("cell explain hostile"); strings.Contains(out, "no: ") || strings.Contains(out, "not known") || strings.Count(out, "attempts refused") != 10 {
		t.Errorf("cell explain does not agree:\n%s", out)
	}
	// Root's cell is nobody to the machine, and what it writes is root's.
	g.run("mkdir -p /srv/roots/data && cat >/srv/roots/shell.py <<'PY'\n" + shell + "PY\ncat >/srv/roots/cell.toml <<'TOML'\n[cell]\nname = \"roots\"\nexec = [\"/usr/bin/python3\", \"shell.py\"]\nspeaks = \"http\"\nTOML\ncell mitosis /srv/roots")
	g.run("curl -sS --max-time 60 --unix-socket /srv/roots/run/cell.sock http://cell/ --data-binary 'touch data/mine'")
	if out := g.run("stat -c %U /srv/roots/data/mine; grep ^Uid: /proc/$(systemctl show -P MainPID cell@roots)/status"); !regexp.MustCompile(`^root\nUid:\s+[0-9]{10}\s`).MatchString(out) {
		t.Errorf("root's cell is, and writes as: %q", out)
	}
	if out := g.run("cell explain roots"); strings.Contains(out, "no: ") || strings.Contains(out, "not known") || strings.Count(out, "attempts refused") != 10 {
		t.Errorf("root's cell:\n%s", out)
	}
	g.says(get("/home/bob/bobs", ""), "misfit 1 serve")
	// Where users may have no namespaces their cells do not start, and the log says what to do; root's do.
	g.run("echo 0 >/proc/sys/kernel/unprivileged_userns_clone && systemctl restart cell@roots && ! systemctl restart cell@hostile")
	if out := g.run("journalctl -o cat --no-pager -u cell@hostile | tail -n 20"); !strings.Contains(out, "hostile is not started unsealed: new namespaces: operation not permitted; sysctl kernel.unprivileged_userns_clone=1") {
		t.Errorf("without user namespaces: %s", out)
	}
}
