package nspawn

import (
	"strings"
	"testing"
)

// Answers each connection on any address of the machine with where it came to.
const outside = `import socket, threading
l = socket.socket(socket.AF_INET6)
l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
l.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
l.bind(("::", 8181))
l.listen(100)
while True:
    c, _ = l.accept()
    c.sendall(("at " + c.getsockname()[0].replace("::ffff:", "") + "\n").encode())
    c.close()
`

// Tries from inside of a cell what its caller asks for, as NAME PORT [udp].
const tries = `import socket
l = socket.socket(fileno=3)
while True:
    c, _ = l.accept()
    name, port, *kind = c.recv(4096).decode().split()
    try:
        s = socket.create_connection((name, int(port)), timeout=10) if not kind else socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if kind:
            s.settimeout(2)
            s.connect((name, int(port)))
            s.send(b"x")
        said = s.recv(4096).decode().strip() or "closed"
    except OSError as e:
        said = str(e)
    c.sendall(said.encode())
    c.close()
`

// A cell reaches by TCP the hosts of its list, by name and by address, and nothing else by any means.
func TestHosts(t *testing.T) {
	m := newMachine(t)
	m.write("/srv/ask.py", ask, 0o644)
	m.write("/srv/outside.py", outside, 0o644)
	homes := map[string]int{"/srv": 0, "/home/alice": alice}
	for home, uid := range homes {
		m.write(home+"/web/cell.toml", `[cell]
speaks = "tcp"
exec = ["/usr/bin/python3", "tries.py"]
[net]
internet = ["outside.example:8181", "198.51.100.7:8181", "[2001:db8::7]:8181", "inner.example:8181", "absent.example:8181", "outside.example:9"]
`, 0o644)
		m.write(home+"/web/tries.py", tries, 0o644)
		m.chown(home+"/web", uid)
	}
	m.boot()
	m.run(0, "sh", "-c", "ip address add 198.51.100.7/32 dev lo; ip address add 198.51.100.8/32 dev lo; ip -6 address add 2001:db8::7/128 dev lo nodad; "+
		"printf '198.51.100.7 outside.example\n127.0.0.1 inner.example\n198.51.100.8 other.example\n' >> /etc/hosts")
	m.run(0, "systemd-run", "--unit=outside", "/usr/bin/python3", "/srv/outside.py")
	for home, uid := range homes {
		m.run(uid, "cell", "mitosis", home+"/web")
		m.has(uid, []string{"cell", "explain", "web"}, "outside.example:8181", "host outside")
		for asked, want := range map[string]string{
			"outside.example 8181":     "at 198.51.100.7",
			"198.51.100.7 8181":        "at 198.51.100.7",
			"2001:db8::7 8181":         "at 2001:db8::7",
			"outside.example 8182":     "refused",
			"outside.example 9":        "reset", // nobody listens there
			"198.51.100.8 8181":        "unreachable",
			"other.example 8181":       "", // no such name: it is not resolved by the machine
			"inner.example 8181":       "reset",
			"127.0.0.1 8181":           "refused",
			"outside.example 8181 udp": "refused",
		} {
			out, _ := m.try(uid, "python3", "/srv/ask.py", home+"/web/run/cell.sock", asked)
			if !strings.Contains(out, want) || want == "" && strings.Contains(out, "at ") {
				t.Errorf("%s: %s: %s", home, asked, out)
			}
		}
		m.has(uid, []string{"cell", "logs", "web"}, "its address 127.0.0.1 is no host outside", "connect to outside.example:9: dial tcp 198.51.100.7:9: connect: connection refused")
		m.sealed(uid, plain, "web")
		m.run(uid, "cell", "apoptosis", "web")
	}
}

// A job whose run was missed while the machine was off is made up for, and goes on by its schedule.
func TestJobs(t *testing.T) {
	m := newMachine(t)
	homes := map[string]int{"/srv": 0, "/home/alice": alice}
	name := func(uid int) string { return map[int]string{0: "backup", alice: "backup-a"}[uid] }
	for home, uid := range homes {
		m.write(home+"/backup/cell.toml", `[cell]
name = "`+name(uid)+`"
speaks = "job"
exec = ["/bin/sh", "-c", "echo run as $(id -u); sleep 1; exit ${CODE}"]
env = { CODE = "0" }
[life]
schedule = "*-*-* 04:00 UTC"
`, 0o644)
		m.chown(home+"/backup", uid)
	}
	m.boot()
	for home, uid := range homes {
		m.run(uid, "cell", "mitosis", home+"/backup")
		m.has(uid, []string{"cell", "status", name(uid)}, ": waiting", "next run ")
		m.run(uid, "cell", "start", name(uid))
		m.has(uid, []string{"cell", "status", name(uid)}, "runs  ", "done")
		if out := m.run(0, "cell", "logs", name(uid)); strings.Count(out, "run as") != 1 {
			t.Errorf("after one run: %s", out)
		}
		m.run(0, "touch", "-d", "2 days ago", "/var/lib/systemd/timers/stamp-cell@"+name(uid)+".timer")
	}
	m.reboot()
	for _, uid := range homes {
		m.until(0, "run as", "cell", "logs", name(uid))
		m.until(uid, ": waiting", "cell", "status", name(uid))
		m.has(0, []string{"systemctl", "list-timers", "--all", "--no-pager"}, "cell@"+name(uid)+".timer")
		m.run(uid, "cell", "apoptosis", name(uid))
		if out, _ := m.try(0, "ls", "/var/lib/systemd/timers"); strings.Contains(out, "cell@"+name(uid)+".timer") {
			t.Errorf("what systemd remembers of %s is left: %s", name(uid), out)
		}
	}
}
