package vmtests

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// meter is a program that serves, or measures: megabytes a second of a long transfer, or microseconds of a ping of 64 bytes.
const meter = `
import socket, sys, time
how, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
if how == "serve":
    s = socket.create_server((host, port), family=socket.AF_INET6)
    while True:
        c, _ = s.accept()
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kind, n = c.recv(1), 0
        while True:
            b = c.recv(65536)
            if not b:
                break
            n += len(b)
            if kind == b"p":
                c.sendall(b)
        if kind == b"b":
            c.sendall(b"%d" % n)
        c.close()
c = socket.create_connection((host, port))
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
if how == "bulk":
    c.sendall(b"b")
    begun, block = time.time(), bytes(65536)
    for _ in range(256):
        c.sendall(block)
    c.shutdown(socket.SHUT_WR)
    assert c.recv(100) == b"%d" % (256 * 65536)
    print(16 / (time.time() - begun))
else:
    c.sendall(b"p")
    all = []
    for _ in range(300):
        begun = time.time()
        c.sendall(bytes(64))
        n = 0
        while n < 64:
            n += len(c.recv(64))
        all.append(time.time() - begun)
    print(sorted(all)[150] * 1e6)
`

// The mesh against a tunnel of the kernel's WireGuard that somebody set up by hand between the same machines; it asserts nothing.
func init() {
	scenario("mesh-speed", oneGuest, func(t *testing.T, a *guest) {
		b := a.twin(t)
		n := newNetwork(t)
		_, ea := n.plug(a)
		_, eb := n.plug(b)
		token := a.run("cell invite")
		b.run("echo " + token + " | cell join - --node b")
		mesh := func(g *guest) string {
			return g.run(`cell nodes --json | python3 -c 'import json,sys; print([n["address"] for n in json.load(sys.stdin) if n["path"] == "self"][0])'`)
		}
		keys := map[*guest]string{}
		for _, g := range []*guest{a, b} {
			g.run("cat >/opt/meter.py <<'PY'" + meter + "PY\nwg genkey >/opt/bare.key && ip link add bare type wireguard && ip link set bare mtu 1420 && wg set bare private-key /opt/bare.key listen-port 5555")
			keys[g] = g.run("wg pubkey </opt/bare.key")
		}
		for i, g := range []*guest{a, b} {
			other, end := b, eb
			if g == b {
				other, end = a, ea
			}
			g.run(fmt.Sprintf("ip addr add fd99::%d/64 dev bare nodad && ip link set bare up && wg set bare peer %s endpoint %s:5555 allowed-ips fd99::%d/128", i+1, keys[other], end, 2-i))
		}
		a.run("nft insert rule inet cell input tcp dport 7777 accept; systemd-run --quiet python3 /opt/meter.py serve :: 7777")
		a.until(":7777", "ss -Hltn6")
		ways := []string{mesh(a), "fd99::1"}
		for _, what := range []string{"ping", "bulk"} {
			got := [2][]float64{}
			for range 5 {
				for i, to := range ways {
					v, err := strconv.ParseFloat(strings.TrimSpace(b.run("python3 /opt/meter.py "+what+" "+to+" 7777")), 64)
					if err != nil {
						t.Fatal(err)
					}
					got[i] = append(got[i], v)
				}
			}
			slices.Sort(got[0])
			slices.Sort(got[1])
			unit := map[string]string{"ping": "µs", "bulk": "MB/s"}[what]
			t.Logf("%s in %s: mesh %.1f, bare WireGuard %.1f, ratio %.2f", what, unit, got[0][2], got[1][2], got[0][2]/got[1][2])
		}
	})
}
