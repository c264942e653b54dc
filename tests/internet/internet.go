// Package internet makes networks of a test's own out of network namespaces and links that can be cut. All of it ends with the test.
package internet

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Lacks says what this machine has not, or "".
func Lacks() string {
	if os.Geteuid() != 0 {
		return "network namespaces need root"
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return "there is no /dev/net/tun"
	}
	for tool, of := range map[string]string{"ip": "iproute2", "nsenter": "util-linux", "curl": "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			return of + " is not installed"
		}
	}
	if exec.Command("unshare", "--net", "true").Run() != nil {
		return "network namespaces cannot be made here"
	}
	return ""
}

// Net is a network namespace with a bridge, to which each host has a link.
type Net struct {
	t     testing.TB
	space string
	next  int
}

// New makes a network.
func New(t testing.TB) *Net {
	t.Helper()
	n := &Net{t: t, space: fmt.Sprintf("cell%d-net", os.Getpid())}
	n.make(n.space)
	n.ip("-n", n.space, "link", "add", "br0", "type", "bridge")
	n.ip("-n", n.space, "link", "set", "br0", "up")
	return n
}

func (n *Net) ip(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// make makes a network namespace that ends with the test.
func (n *Net) make(space string) {
	n.t.Helper()
	n.ip("netns", "add", space)
	n.t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", space).CombinedOutput(); err != nil {
			n.t.Errorf("ip netns del %s: %v: %s", space, err, out)
		}
	})
	n.ip("-n", space, "link", "set", "lo", "up")
}

// Host is a network namespace on a network.
type Host struct {
	net     *Net
	space   string
	Address string // IPv4
}

// Host makes a host, whose interface is called eth0.
func (n *Net) Host(name string) *Host {
	n.t.Helper()
	n.next++
	h := &Host{net: n, space: fmt.Sprintf("cell%d-%s", os.Getpid(), name), Address: fmt.Sprintf("198.18.0.%d", n.next)}
	n.make(h.space)
	far := fmt.Sprintf("p%d", n.next)
	n.ip("-n", h.space, "link", "add", "eth0", "type", "veth", "peer", "name", far, "netns", n.space)
	n.ip("-n", n.space, "link", "set", far, "master", "br0", "up")
	n.ip("-n", h.space, "addr", "add", h.Address+"/24", "dev", "eth0")
	n.ip("-n", h.space, "link", "set", "eth0", "up")
	return h
}

// Path is that of the host's namespace.
func (h *Host) Path() string { return "/run/netns/" + h.space }

// Cut takes the host's cable out.
func (h *Host) Cut() { h.net.ip("-n", h.space, "link", "set", "eth0", "down") }

// Plug puts the host's cable in again.
func (h *Host) Plug() { h.net.ip("-n", h.space, "link", "set", "eth0", "up") }
