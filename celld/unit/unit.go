// Package unit turns a cell of a tree into the systemd units it becomes: a socket and a service of the same stem, and slices. It is pure but for looking up a program's path; who sends the
// units to systemd is package systemd.
package unit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/membrane/spec"
	"github.com/cell-network/cell/sdk/manifest"
)

// Property is one property of a transient unit, as org.freedesktop.systemd1 wants it.
type Property struct {
	Name  string
	Value dbus.Variant
}

func prop(name string, value any) Property { return Property{name, dbus.MakeVariant(value)} }

// Place is what units depend on beside the cell itself.
type Place struct {
	SocketDir string // directory of the cells' sockets, owned by the manager's user
	User      bool   // an ordinary user's manager: sandboxing of doors needs PrivateUsers there
	Owner     string // user that cells run as; empty: the manager's own
	Programs  string // directory of Cell's own programs
	Proxy     string // path of systemd-socket-proxyd
	Trust     Trust
}

// Trust says whose code a cell is.
type Trust int

const (
	Own Trust = iota // its owner's
	// Foreign is somebody else's: it sees nothing of its owner, not even the name. Its directory has to lie where the path says nothing
	// either, as the kernel shows a process what is mounted from where (/proc/self/mountinfo).
	Foreign
)

// Pair is one instance of a cell as units.
type Pair struct {
	Name     string // dotted path, ":N" from the second replica on
	Manifest *manifest.Manifest
	Hash     string     // of everything below but the limits: equal hashes are equal definitions
	Socket   []Property // empty for a job
	Timer    []Property // of a job
	Service  []Property
	Seal     *spec.Spec // what Service seals its program with
	Door     *Door      // to the outside, or nil
	Limits   []Property // resource controls of the process, which change in place
	Slices   []Slice    // outermost first
}

// Door is a pair that lets the outside in: a socket on the published addresses, and a proxy to the cell's own socket.
// The cell's program sees one socket only, and an exchange of the cell's pair leaves the door open.
type Door struct {
	Publish []string
	Socket  []Property
	Service []Property
}

// Slice is a slice with its limits.
type Slice struct {
	Name   string
	Limits []Property
}

const (
	stem     = "cell@"
	doorStem = "cell-door@"
)

// ServiceUnit is the name of an instance's service.
func ServiceUnit(name string) string { return stem + name + ".service" }

// SocketUnit is the name of an instance's socket.
func SocketUnit(name string) string { return stem + name + ".socket" }

// TimerUnit is the name of what runs an instance of a job.
func TimerUnit(name string) string { return stem + name + ".timer" }

// Job tells whether it is run by its timer, and called by nobody.
func (p Pair) Job() bool { return p.Manifest != nil && p.Manifest.Speaks == "job" }

// Trigger is the name of the unit that starts the service: the socket, or a job's timer.
func (p Pair) Trigger() string {
	if p.Job() {
		return TimerUnit(p.Name)
	}
	return SocketUnit(p.Name)
}

// DoorSocket and DoorService name the pair that opens a cell to the outside.
func DoorSocket(name string) string { return doorStem + name + ".socket" }

// DoorService is the proxy behind DoorSocket.
func DoorService(name string) string { return doorStem + name + ".service" }

// All names every unit that an instance may have, in the order in which they are stopped: who lets callers in goes first.
func All(name string) []string {
	return []string{DoorSocket(name), DoorService(name), SocketUnit(name), TimerUnit(name), ServiceUnit(name)}
}

// NameOf finds the instance that a unit belongs to.
func NameOf(unit string) (name string, ok bool) {
	for _, prefix := range []string{stem, doorStem} {
		s, ok := strings.CutPrefix(unit, prefix)
		if !ok {
			continue
		}
		for _, suffix := range []string{".service", ".timer", ".socket"} {
			if n, ok := strings.CutSuffix(s, suffix); ok {
				return n, true
			}
		}
		return "", false
	}
	return "", false
}

// Patterns match the names of all units of cells.
func Patterns() []string { return []string{stem + "*", doorStem + "*"} }

// SliceName is the slice of a cell: a dash nests slices, so the dashes inside names are escaped (systemd.slice(5)).
func SliceName(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(p, "-", `\x2d`)
	}
	return "cell-" + strings.Join(parts, "-") + ".slice"
}

// SocketPath is where an instance listens; long names are shortened by a hash because the path of a socket has at most
// 107 bytes.
func SocketPath(dir, name string) string {
	if len(name) > 60 {
		sum := sha256.Sum256([]byte(name))
		name = name[:40] + "-" + hex.EncodeToString(sum[:8])
	}
	return filepath.Join(dir, name+".sock")
}

// Instances are the names of a node's replicas: NAME, NAME:2, NAME:3, …
func Instances(n *manifest.Node) []string {
	names := []string{n.Name}
	for i := 2; i <= n.Replicas; i++ {
		names = append(names, n.Name+":"+strconv.Itoa(i))
	}
	return names
}

// Base is the cell's name of an instance.
func Base(instance string) string {
	name, _, _ := strings.Cut(instance, ":")
	return name
}

// BridgeSuffix marks the instance that serves while a definition is exchanged.
const BridgeSuffix = ":bridge"

// Pairs describes every instance of a node.
func Pairs(n *manifest.Node, at Place) []Pair {
	out := make([]Pair, 0, n.Replicas)
	for _, name := range Instances(n) {
		out = append(out, pair(n, name, at))
	}
	return out
}

// Renamed is the pair under another instance name, listening on path: the bridge of an exchange, or the pair after it.
func (p Pair) Renamed(name, path string) Pair {
	q := p
	q.Name = name
	q.Socket = append([]Property{}, p.Socket...)
	for i, pr := range q.Socket {
		if pr.Name == "Listen" {
			q.Socket[i] = prop("Listen", []listener{{"Stream", path}})
		}
	}
	return q
}

// hash covers the definition; Listen is left out because an exchange of pairs changes its path.
func hash(lists ...[]Property) string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, list := range lists {
		for _, pr := range list {
			_ = enc.Encode([]string{pr.Name, pr.Value.String()})
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
