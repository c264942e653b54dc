package vmtests

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// network is an Ethernet hub to which guests are plugged: what one sends goes to all others, as far as the links let it.
type network struct {
	t  testing.TB
	mu sync.Mutex

	links []*link
}

// link is a guest's cable.
type link struct {
	net  *network
	conn *net.UnixConn
	qemu *net.UnixAddr

	// Guarded by net.mu.
	down  bool
	delay time.Duration
	loss  float64 // of frames, in either direction
}

// The sockets of a guest's network card, in its directory: QEMU's end and the hub's.
const (
	cardSocket = "card.sock"
	hubSocket  = "hub.sock"
)

// card is a network card for a guest in dir. It is there from the start, plugged in or not, as a snapshot cannot get one later.
func card(dir string) []string {
	return []string{
		"-netdev", "dgram,id=net0,local.type=unix,local.path=" + filepath.Join(dir, cardSocket) + ",remote.type=unix,remote.path=" + filepath.Join(dir, hubSocket),
		"-device", "virtio-net-pci,netdev=net0",
	}
}

func newNetwork(t testing.TB) *network { return &network{t: t} }

// plug connects a guest and gives it an address of 10.0.0.0/24: 10.0.0.1 for the first, and so on.
func (n *network) plug(g *guest) (*link, string) {
	n.t.Helper()
	l, number := n.join(g.dir)
	// Guests of one snapshot have one hardware address until they get another.
	address := fmt.Sprintf("10.0.0.%d", number)
	g.run(fmt.Sprintf("ip link set eth0 down; ip link set eth0 address 52:54:00:00:00:%02x && ip link set eth0 up && ip addr add %s/24 dev eth0", number, address))
	return l, address
}

// join connects the machine whose network card has its sockets in a directory, and says the how manieth it is.
func (n *network) join(dir string) (*link, int) {
	n.t.Helper()
	path := filepath.Join(dir, hubSocket)
	_ = os.Remove(path)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { conn.Close() })
	l := &link{net: n, conn: conn, qemu: &net.UnixAddr{Name: filepath.Join(dir, cardSocket), Net: "unixgram"}}
	n.mu.Lock()
	n.links = append(n.links, l)
	number := len(n.links)
	n.mu.Unlock()
	go l.carry()
	return l, number
}

// set changes a link.
func (l *link) set(change func(*link)) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	change(l)
}

func (l *link) carry() {
	frame := make([]byte, 1<<16)
	for {
		n, err := l.conn.Read(frame)
		if err != nil {
			return
		}
		l.net.mu.Lock()
		for _, to := range l.net.links {
			if to == l || l.down || to.down || rand.Float64() < l.loss || rand.Float64() < to.loss {
				continue
			}
			data, delay := append([]byte(nil), frame[:n]...), l.delay+to.delay
			send := func() { _, _ = to.conn.WriteToUnix(data, to.qemu) }
			if delay == 0 {
				send()
			} else {
				time.AfterFunc(delay, send)
			}
		}
		l.net.mu.Unlock()
	}
}
