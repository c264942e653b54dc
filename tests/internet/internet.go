// Package internet makes networks of a test's own out of network namespaces, with links that can be cut and NATs of every kind. All of it
// ends with the test.
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
	for tool, of := range map[string]string{"ip": "iproute2", "nsenter": "util-linux", "nft": "nftables", "curl": "curl"} {
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
	n.attach(h.space, h.Address)
	return h
}

// attach gives a namespace a link to the network.
func (n *Net) attach(space, address string) {
	n.t.Helper()
	far := "p" + address[strings.LastIndexByte(address, '.')+1:]
	n.ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", far, "netns", n.space)
	n.ip("-n", n.space, "link", "set", far, "master", "br0", "up")
	n.ip("-n", space, "addr", "add", address+"/24", "dev", "eth0")
	n.ip("-n", space, "link", "set", "eth0", "up")
}

// Path is that of the host's namespace.
func (h *Host) Path() string { return "/run/netns/" + h.space }

// Cut takes the host's cable out.
func (h *Host) Cut() { h.net.ip("-n", h.space, "link", "set", "eth0", "down") }

// Plug puts the host's cable in again.
func (h *Host) Plug() { h.net.ip("-n", h.space, "link", "set", "eth0", "up") }

// Move gives the host another address, of another subnet of the same network; IPv6 is one, too.
func (h *Host) Move(address string) {
	h.net.t.Helper()
	bits := "/24"
	if strings.Contains(address, ":") {
		bits = "/64"
	}
	h.net.ip("-n", h.space, "addr", "flush", "dev", "eth0", "scope", "global")
	h.net.ip("-n", h.space, "addr", "add", address+bits, "dev", "eth0")
	h.Address = address
}

// NAT is a kind of one; RFC 4787 has the words.
type NAT string

// The kinds of NAT.
const (
	FullCone          NAT = "full cone"          // whoever writes to a mapping comes through
	AddressRestricted NAT = "address-restricted" // whose address was written to
	PortRestricted    NAT = "port-restricted"    // whose address and port were written to
	Symmetric         NAT = "symmetric"          // as before, and another mapping for each of them
)

// natPort is the UDP port inside that full cones and address-restricted NATs lead to.
const natPort = "23550"

// Router is a NAT with one host behind it.
type Router struct {
	net            *Net
	space, outside string
	inside, subnet string
}

// Behind makes a host behind a NAT of its own.
func (n *Net) Behind(kind NAT, name string) (*Host, *Router) {
	n.t.Helper()
	n.next++
	r := &Router{
		net: n, space: fmt.Sprintf("cell%d-nat%d", os.Getpid(), n.next), outside: fmt.Sprintf("198.18.0.%d", n.next),
		inside: fmt.Sprintf("10.%d.0.2", n.next), subnet: fmt.Sprintf("10.%d.0", n.next),
	}
	n.make(r.space)
	n.attach(r.space, r.outside)
	n.set(r.space, "/proc/sys/net/ipv4/ip_forward", "1")
	h := &Host{net: n, space: fmt.Sprintf("cell%d-%s", os.Getpid(), name), Address: r.inside}
	n.make(h.space)
	r.Take(h)
	r.Become(kind)
	return h, r
}

// Take puts a host behind the router, from wherever it is and in place of whichever is there.
func (r *Router) Take(h *Host) {
	r.net.t.Helper()
	n := r.net
	for space, link := range map[string]string{h.space: "eth0", r.space: "in0"} {
		_ = exec.Command("ip", "-n", space, "link", "del", link).Run() // where there is one
	}
	n.ip("-n", h.space, "link", "add", "eth0", "type", "veth", "peer", "name", "in0", "netns", r.space)
	n.ip("-n", r.space, "addr", "replace", r.subnet+".1/24", "dev", "in0")
	n.ip("-n", r.space, "link", "set", "in0", "up")
	n.ip("-n", h.space, "addr", "add", r.inside+"/24", "dev", "eth0")
	n.ip("-n", h.space, "link", "set", "eth0", "up")
	n.ip("-n", h.space, "route", "add", "default", "via", r.subnet+".1")
	h.Address = r.inside
}

// Become makes the NAT one of another kind, which knows no mappings.
func (r *Router) Become(kind NAT) {
	r.net.t.Helper()
	source, in := "masquerade", ""
	switch kind {
	case FullCone:
		in = `iifname "eth0" udp dport ` + natPort + " dnat to " + r.inside
	case AddressRestricted:
		in = `iifname "eth0" udp dport ` + natPort + " ip saddr @written dnat to " + r.inside
	case Symmetric:
		source = "masquerade random,fully-random"
	}
	// What comes unasked is dropped on the router itself, too: it would take the port from the host behind.
	r.net.nft(r.space, `flush ruleset
table ip nat {
	set written { type ipv4_addr; flags timeout,dynamic; timeout 1m; }
	chain pre { type nat hook prerouting priority -100; `+in+`; }
	chain post { type nat hook postrouting priority 100; oifname "eth0" `+source+` ; }
	chain through { type filter hook forward priority 0; policy drop;
		iifname "in0" update @written { ip daddr }
		iifname "in0" accept
		ct state established,related accept
		ct status dnat accept
	}
	chain unasked { type filter hook input priority 0; iifname "eth0" ct state new drop; }
}
`)
	_ = exec.Command("nsenter", "--net=/run/netns/"+r.space, "conntrack", "-F").Run() // where that is installed
}

// set writes a file of the network namespace's.
func (n *Net) set(space, file, value string) {
	n.t.Helper()
	if out, err := exec.Command("nsenter", "--net=/run/netns/"+space, "sh", "-c", `echo "$1" >"$2"`, "sh", value, file).CombinedOutput(); err != nil {
		n.t.Fatalf("set %s: %v: %s", file, err, out)
	}
}

func (n *Net) nft(space, rules string) {
	n.t.Helper()
	c := exec.Command("nsenter", "--net=/run/netns/"+space, "nft", "-f", "-")
	c.Stdin = strings.NewReader(rules)
	if out, err := c.CombinedOutput(); err != nil {
		n.t.Fatalf("nft: %v: %s\n%s", err, out, rules)
	}
}
