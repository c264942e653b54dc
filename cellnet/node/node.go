// Package node is what cellnetd does: it keeps a machine in its tissue. It holds the registry and exchanges it with the other
// machines, gives the device its peers and the kernel its rules, takes machines in, and carries calls between cells. It starts
// nothing: which cells there are and who may call them is celld's to say.
package node

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cell-network/cell/cellnet/firewall"
	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/link"
	"github.com/cell-network/cell/cellnet/names"
	"github.com/cell-network/cell/cellnet/paths"
	"github.com/cell-network/cell/cellnet/registry"
	"github.com/cell-network/cell/cellnet/relay"
	"github.com/cell-network/cell/cellnet/wg"
	"github.com/cell-network/cell/internal/durable"
	"github.com/cell-network/cell/sdk/api"
)

// Interface is the name of the mesh's.
const Interface = "cell0"

// Ports. That of WireGuard is open to everybody, the others to the machines of the tissue alone.
const (
	PortWireGuard = 23550 // UDP
	portCall      = 23550 // TCP: calls of cells
	portJoin      = 23551 // TCP: machines that ask to be taken in
	portSync      = 23552 // TCP: exchange of records
	portPaths     = 23553 // UDP: questions and requests about paths
)

// Cells is celld as the mesh needs it.
type Cells interface {
	ConnectFor(ctx context.Context, c api.RemoteCall) (*os.File, api.Reached, error)
	RenewFor(ctx context.Context, c api.RemoteCall) (api.Reached, error)
	JudgeFor(ctx context.Context, c api.RemoteCall) (allowed bool, rule string, err error)
}

// Error is an answer for a caller: a D-Bus error name and a text.
type Error struct{ Name, Text string }

func (e *Error) Error() string { return e.Text }

func failure(name, format string, args ...any) error {
	return &Error{name, fmt.Sprintf(format, args...)}
}

// saved is the machine's own state on disk, beside its keys and the registry.
type saved struct {
	Tissue    string                    `json:"tissue,omitempty"`
	Name      string                    `json:"name,omitempty"` // of this machine
	Port      uint16                    `json:"port,omitempty"`
	Numbers   map[string]uint16         `json:"numbers,omitempty"`   // of cells, which keep their addresses
	Users     map[string]uint16         `json:"users,omitempty"`     // numbers of users, who keep theirs, too
	Keyed     time.Time                 `json:"keyed,omitzero"`      // when this machine turned to its key of WireGuard
	Endpoints map[string]netip.AddrPort `json:"endpoints,omitempty"` // of other machines, where they were reached last
}

// Node is this machine.
type Node struct {
	Log      *slog.Logger
	Version  string
	Cells    Cells
	Resolver Resolver

	dir string
	ctx context.Context

	mu        sync.Mutex
	state     saved
	key       ed25519.PrivateKey
	secret    wg.Key                  // of WireGuard
	next      wg.Key                  // that it will turn to
	claims    map[wg.Key]identity.Key // whose keys of WireGuard are
	turned    map[identity.Key]wg.Key // keys to which others have turned, before their records say so
	turning   time.Time               // until when somebody may be about to
	boot      [16]byte                // differs for each process
	stated    bool                    // this process has stated what the machine is
	cloned    time.Time               // when another machine with the same key was noticed
	reg       *registry.Registry
	dev       wg.Device
	stop      context.CancelFunc // ends what runs while the mesh is up
	listeners []net.Listener
	doors     map[netip.AddrPort]net.Listener
	cells     []api.Announced
	peers     map[identity.Key]*peer
	paths     paths.Paths
	relay     relay.Relay
	control   *net.UDPConn                    // on portPaths
	seen      map[identity.Key]netip.AddrPort // where others' packets came from when paths were looked at last
	stepped   chan struct{}                   // closed after each step of the paths
	kicked    chan struct{}                   // has a value when a step is due
	outside   []netip.AddrPort
	own       []netip.AddrPort
	lan       map[identity.Key]netip.AddrPort // where machines were found on the networks that this one is in
	helpers   []identity.Key
	nat, sym  bool
	applied   string // what apply has written last
	rules     firewall.Wanted
	refusals  map[refused]uint64 // packets that were told of
	firewall  string
	names     string // who resolves names
	routed    bool   // the machine's resolver knows of the name server
	written   uint64 // change of the registry that is on disk

	news      chan struct{}   // records to tell others
	comparing int             // machines with which records are compared
	upCtx     context.Context // ends with what runs while the mesh is up
}

// peer is what this machine knows of another one by itself.
type peer struct {
	rtt   time.Duration // of the shortest question of the last ones
	seen  time.Time
	nonce uint64 // of the last question
	asked time.Time

	greetings int  // questions that are to be sent
	reached   bool // when paths were looked at last
	comparing bool // records
}

// Open reads the state in dir, and brings the mesh up when this machine is in a tissue. Everything ends with ctx. Without a
// resolver programs are to be told of the name server by hand.
func Open(ctx context.Context, dir string, log *slog.Logger, version string, cells Cells, resolver Resolver) (*Node, error) {
	if resolver == nil {
		resolver = noResolver{}
	}
	n := &Node{Log: log, Version: version, Cells: cells, Resolver: resolver, dir: dir, ctx: ctx, news: make(chan struct{}, 1), kicked: make(chan struct{}, 1), stepped: make(chan struct{})}
	_, _ = rand.Read(n.boot[:]) // never fails
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	data, err := os.ReadFile(n.path("state.json"))
	if err == nil {
		err = json.Unmarshal(data, &n.state)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	if n.state.Tissue == "" {
		return n, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n, n.up()
}

// InTissue tells whether this machine is in a tissue; while it joins one, that is waited for.
func (n *Node) InTissue() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.reg != nil
}

func (n *Node) path(name string) string { return filepath.Join(n.dir, name) }

func (n *Node) save() error {
	data, err := json.MarshalIndent(n.state, "", "\t")
	if err == nil {
		err = durable.Write(n.path("state.json"), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	return nil
}

// secretFile reads 32 secret bytes, and makes them where there are none.
func (n *Node) secretFile(name string, make func() []byte) ([]byte, error) {
	b, err := os.ReadFile(n.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		b = make()
		err = durable.Write(n.path(name), b, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	if len(b) != 32 {
		return nil, fmt.Errorf("read the key: %s has %d bytes, wanted are 32", n.path(name), len(b))
	}
	return b, nil
}

// keys reads this machine's keys.
func (n *Node) keys() error {
	seed, err := n.secretFile("node.key", func() []byte { return identity.NewKey().Seed() })
	if err != nil {
		return err
	}
	n.key = ed25519.NewKeyFromSeed(seed)
	secret, err := n.secretFile("wireguard.key", newSecret)
	if err != nil {
		return err
	}
	next, err := n.secretFile("wireguard.next", newSecret)
	if err != nil {
		return err
	}
	copy(n.secret[:], secret)
	if copy(n.next[:], next); n.next == n.secret { // it had turned to it, and could not make another one
		n.next = wg.NewKey()
		err = durable.Write(n.path("wireguard.next"), n.next[:], 0o600)
	}
	return err
}

func newSecret() []byte { k := wg.NewKey(); return k[:] }

// self is this machine's key.
func (n *Node) self() identity.Key { return identity.KeyOf(n.key) }

// up brings the mesh up for the tissue of the state; n.mu is held.
func (n *Node) up() error {
	if err := n.keys(); err != nil {
		return err
	}
	var tissue identity.Tissue
	if b, err := hex.DecodeString(n.state.Tissue); err != nil || len(b) != len(tissue) {
		return fmt.Errorf("read the state: %q is no tissue", n.state.Tissue)
	} else {
		copy(tissue[:], b)
	}
	if n.reg == nil {
		n.reg = registry.New(tissue, time.Now)
		if err := n.reg.Load(n.path("registry")); err != nil {
			return err
		}
	}
	if err := n.open(n.secret); err != nil {
		return err
	}
	node := tissue.Node(n.self())
	if err := link.Set(Interface, identity.Address(node, identity.NodeItself), node, tissue.Prefix()); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(n.ctx)
	n.paths, n.outside, n.helpers, n.nat, n.sym = paths.Paths{}, nil, nil, false, false
	n.seen = map[identity.Key]netip.AddrPort{}
	n.upCtx, n.turned = ctx, map[identity.Key]wg.Key{}
	if n.state.Keyed.IsZero() {
		n.state.Keyed = time.Now()
	}
	n.stop, n.doors, n.peers, n.applied = stop, map[netip.AddrPort]net.Listener{}, map[identity.Key]*peer{}, ""
	n.routed, n.names = false, ""
	if err := n.restate(); err != nil {
		return err
	}
	if err := n.apply(); err != nil {
		return err
	}
	if err := n.listen(ctx); err != nil {
		return err
	}
	self := identity.Address(node, identity.NodeItself)
	var err error
	if err := names.Serve(ctx, netip.AddrPortFrom(self, portNames), n.Lookup); err != nil {
		n.Log.Warn(err.Error()) // calls go on without names
	}
	if n.control, err = listenPaths(ctx, netip.AddrPortFrom(self, portPaths)); err != nil {
		return err
	}
	go n.hear(ctx, n.control)
	go n.keepPaths(ctx)
	go n.exchange(ctx)
	go n.upkeep(ctx)
	n.Log.Info("in a tissue", "tissue", n.reg.Name(), "node", n.state.Name, "address", self, "wireguard", n.dev.Kind())
	return nil
}

// open makes the device, which may be there already.
func (n *Node) open(secret wg.Key) error {
	if n.dev != nil {
		return n.dev.SetKey(secret)
	}
	port := n.state.Port
	if port == 0 {
		port = PortWireGuard
	}
	dev, err := wg.Open(Interface, secret, port)
	if err != nil && n.state.Port == 0 { // another program has it
		dev, err = wg.Open(Interface, secret, 0)
	}
	if err != nil {
		return failure(api.ErrFailed, "%v", err)
	}
	n.dev = dev
	if n.state.Port, err = dev.Port(); err != nil {
		return err
	}
	return n.save()
}

// down ends what up began, without a trace in the kernel; n.mu is held.
func (n *Node) down() error {
	if n.stop != nil {
		n.stop()
		n.stop = nil
	}
	for _, l := range n.listeners {
		l.Close()
	}
	for _, l := range n.doors {
		l.Close()
	}
	n.listeners, n.doors = nil, nil
	if n.control != nil {
		n.control.Close()
		n.control = nil
	}
	n.relay.Close()
	var errs []error
	if n.dev != nil {
		errs = append(errs, n.dev.Close())
		n.dev = nil
	}
	errs = append(errs, firewall.CleanUp())
	if n.reg != nil {
		errs = append(errs, link.CleanUp(n.reg.Tissue().Prefix()))
	}
	n.reg = nil
	return errors.Join(errs...)
}

// CleanUp removes from the kernel what a daemon that ended has left behind, and needs no state of it but its directory.
func CleanUp(dir string) error {
	errs := []error{firewall.CleanUp(), wg.Delete(Interface)}
	data, err := os.ReadFile(filepath.Join(dir, "state.json"))
	var s saved
	if err == nil && json.Unmarshal(data, &s) == nil {
		var tissue identity.Tissue
		if b, err := hex.DecodeString(s.Tissue); err == nil && copy(tissue[:], b) == len(tissue) {
			errs = append(errs, link.CleanUp(tissue.Prefix()))
		}
	}
	return errors.Join(errs...)
}
