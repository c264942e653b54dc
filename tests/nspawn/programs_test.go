package nspawn

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

const ask = `import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode().decode("unicode_escape").encode())
time.sleep(0.5)
print(s.recv(4096))
`

// Programs that refuse to be root, or give root away, run as they are in cells of root and of users.
func TestPrograms(t *testing.T) {
	for _, p := range []string{"nginx", "psql", "memcached", "redis-server"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
	m := newMachine(t)
	m.write("/srv/ask.py", ask, 0o644)
	for home, uid := range map[string]int{"/srv": 0, "/home/alice": alice} {
		if err := os.CopyFS(m.path(home, "programs"), os.DirFS("../../examples/programs")); err != nil {
			t.Fatal(err)
		}
		m.chown(home+"/programs", uid)
	}
	m.boot()
	// A user has no other users to become.
	m.run(alice, "sed", "-i", "/^user = /d", "/home/alice/programs/nginx/cell.toml")
	for home, uid := range map[string]int{"/srv": 0, "/home/alice": alice} {
		at := home + "/programs"
		m.run(uid, "cell", "mitosis", at+"/nginx")
		if got := m.get(uid, at+"/nginx", "/"); got != "nginx" {
			t.Errorf("%s: nginx says %q", home, got)
		}
		m.run(uid, "cell", "mitosis", at+"/redis")
		m.has(uid, []string{"python3", "/srv/ask.py", at + "/redis/run/cell.sock", `SET a b\r\nGET a\r\n`}, "+OK")
		m.run(uid, "cell", "mitosis", at+"/memcached")
		m.has(uid, []string{"python3", "/srv/ask.py", at + "/memcached/run/cell.sock", `set a 0 0 1\r\nb\r\n`}, "STORED")
		m.run(uid, "cell", "mitosis", at+"/postgres")
		m.run(uid, "sh", "-c", "mkdir "+at+"/pg && ln -s "+at+"/postgres/run/cell.sock "+at+"/pg/.s.PGSQL.5432")
		m.has(uid, []string{"psql", "-h", at + "/pg", "-U", "app", "-d", "postgres", "-Atc", "select 6 * 7"}, "42")
		for _, name := range []string{"nginx", "redis", "memcached", "postgres"} {
			m.sealed(uid, plain, name)
			m.run(uid, "cell", "apoptosis", name)
		}
		if out := m.run(0, "find", at+"/postgres/data", "!", "-uid", strings.Fields(uids(uid))[0]); strings.TrimSpace(out) != "" {
			t.Errorf("%s: not its owner's: %s", home, out)
		}
	}
}

// A secret that systemd-creds encrypted for this machine is read by root's cells.
func TestEncryptedSecret(t *testing.T) {
	m := newMachine(t)
	m.write("/srv/keeper/cell.toml", `[cell]
exec = ["/bin/sh", "-c", "echo it is $(cat ${secrets}/db); exec sleep 600"]
speaks = "tcp"
[secrets]
db = "encrypted:db.cred"
`, 0o644)
	m.boot()
	m.run(0, "sh", "-c", "printf top | systemd-creds encrypt --with-key=host --name=db - /srv/keeper/db.cred")
	m.run(0, "cell", "mitosis", "/srv/keeper")
	m.until(0, "it is top", "cell", "logs", "keeper")
	m.run(0, "sh", "-c", "printf top | systemd-creds encrypt --with-key=host --name=other - /srv/keeper/db.cred")
	m.fails(0, 1, "", "systemctl", "restart", "cell@keeper")
	m.has(0, []string{"cell", "logs", "--systemd", "keeper"}, "secret db: /usr/bin/systemd-creds ended with 1")
	m.run(0, "cell", "apoptosis", "keeper")
}
