package api

import (
	"context"
	_ "embed"
	"encoding/json"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
)

// NetXML is the commented contract of network.cell.Net1.
//
//go:embed network.cell.Net1.xml
var NetXML string

func (m Net) call(ctx context.Context, method string, args ...any) *dbus.Call {
	return call(ctx, m.Conn.Object(NetName, NetPath), NetName+"."+method, args...)
}

// Node is a machine of the tissue as another one sees it.
type Node struct {
	Name    string    `json:"name"`
	ID      string    `json:"id"`      // its public key, as cell://…
	Address string    `json:"address"` // IPv6, within the tissue
	Path    string    `json:"path"`    // "self", "direct", "lan", "relay" or "none"
	RTT     float64   `json:"rtt_ms"`  // 0 where it was not measured
	Role    string    `json:"role"`    // "member", "guest" or "donor"
	Version string    `json:"version"`
	Seen    time.Time `json:"seen"` // when it was heard of last; zero for never

	Endpoint string   `json:"endpoint,omitempty"`      // where its packets come from, outside of the tissue
	Key      string   `json:"wireguard_key,omitempty"` // of WireGuard, in base64 as wg(8) shows it
	Via      string   `json:"via,omitempty"`           // name of the node that passes them on
	Cells    int      `json:"cells"`
	Capacity Capacity `json:"capacity"`
}

// Capacity is what a machine has.
type Capacity struct {
	Cores   int    `json:"cores"`
	Memory  uint64 `json:"memory"`  // bytes
	Storage uint64 `json:"storage"` // bytes, of the file system with the daemon's state
	Uptime  uint64 `json:"uptime"`  // seconds
	MFlops  uint64 `json:"mflops"`  // an estimate, in millions of operations on float64 a second; 0 where there is none
}

// NetStatus is what the mesh is made of on one machine.
type NetStatus struct {
	Tissue    string `json:"tissue"` // its name; empty without one
	ID        string `json:"id,omitempty"`
	Node      string `json:"node,omitempty"` // this machine's name in it
	Address   string `json:"address,omitempty"`
	Interface string `json:"interface,omitempty"`
	WireGuard string `json:"wireguard,omitempty"` // "kernel", or "user space" and why
	Firewall  string `json:"firewall,omitempty"`  // "nftables", or why there is none
	Names     string `json:"names,omitempty"`     // who resolves NAME.cell
	Port      uint16 `json:"port,omitempty"`      // UDP, of WireGuard
	Records   int    `json:"records"`

	NAT      string   `json:"nat,omitempty"`     // what kind of one is before this machine; empty for none that was seen
	Outside  []string `json:"outside,omitempty"` // endpoints at which others see it
	Helpers  []string `json:"helpers,omitempty"` // nodes that keep it reachable behind its NAT
	Relaying int      `json:"relaying"`          // pairs of nodes for which it passes packets on

	Trouble string `json:"trouble,omitempty"` // what does not work, and what can be done
}

// Announced is a cell as its machine tells the others of it.
type Announced struct {
	Name      string   `json:"name"`
	Instances int      `json:"instances"`
	Version   string   `json:"version"`
	Hash      string   `json:"hash,omitempty"`    // wire hash of its genome
	Accepts   []string `json:"accepts,omitempty"` // of older callers that it serves
	Speaks    string   `json:"speaks"`
	Port      int      `json:"port,omitempty"`    // TCP, where programs reach it: 80 when it speaks http
	Owner     string   `json:"owner"`             // user name
	Open      bool     `json:"open,omitempty"`    // all of its owner's machines may reach it; who may call it there is decided by celld
	Callers   []string `json:"callers,omitempty"` // else who may, as in [auth] of a cell.toml
}

// Reason is one of those that decide whether a caller reaches a cell.
type Reason struct {
	What string `json:"what"` // as in "rule of b"
	Text string `json:"text"`
	Good bool   `json:"good"`
}

// RemoteCall is a call over the mesh: first as the caller's celld asks for it, then as the callee's is told of it.
type RemoteCall struct {
	Target   string   `json:"target"`             // full name of the cell, or an instance as Reached names it
	Hash     string   `json:"hash,omitempty"`     // wire hash that the caller was built with
	Avoid    []string `json:"avoid,omitempty"`    // instances that come last
	Cell     string   `json:"cell,omitempty"`     // instance that calls; empty for a program that is no cell
	User     string   `json:"user"`               // name of the user on whose behalf it runs
	Instance string   `json:"instance,omitempty"` // of a renewal
	Nonce    []byte   `json:"nonce,omitempty"`    // of a renewal

	// Told by the callee's cellnetd, which WireGuard and the registry have told who is there.
	Node string `json:"node,omitempty"`
	Role string `json:"role,omitempty"`
}

// Reached says what a call over the mesh was connected to.
type Reached struct {
	Instance     string        `json:"instance"` // as in shop.users:2@node
	Replicas     int           `json:"replicas"`
	Takes        time.Duration `json:"takes,omitempty"`
	Speaks       string        `json:"speaks"`
	Nonce        []byte        `json:"nonce,omitempty"`
	Lifetime     time.Duration `json:"lifetime,omitempty"` // of the introduction
	Introduction []byte        `json:"introduction,omitempty"`
}

func decode[T any](text string, err error) (v T, _ error) {
	if err == nil {
		err = json.Unmarshal([]byte(text), &v)
	}
	return v, err
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // these are plain structures
	}
	return string(b)
}

// Nodes lists the machines of the tissue.
func (m Net) Nodes(ctx context.Context) ([]Node, error) { return decode[[]Node](m.nodes(ctx)) }

// Status says what the mesh is made of on this machine.
func (m Net) Status(ctx context.Context) (NetStatus, error) { return decode[NetStatus](m.status(ctx)) }

// Announce tells the others which cells run here.
func (m Net) Announce(ctx context.Context, cells []Announced) error {
	return m.announce(ctx, encode(cells))
}

// Dial connects to a cell on another machine.
func (m Net) Dial(ctx context.Context, c RemoteCall) (*os.File, Reached, error) {
	fd, text, err := m.dial(ctx, encode(c))
	return connection(fd, text, c.Target, err)
}

// Renew has the introduction of a connection made anew.
func (m Net) Renew(ctx context.Context, c RemoteCall) (Reached, error) {
	return decode[Reached](m.renew(ctx, encode(c)))
}

// ConnectFor connects a caller on another machine to a cell of this one.
func (m Manager) ConnectFor(ctx context.Context, c RemoteCall) (*os.File, Reached, error) {
	fd, text, err := m.connectFor(ctx, encode(c))
	return connection(fd, text, c.Target, err)
}

// RenewFor makes the introduction of a connection of ConnectFor anew.
func (m Manager) RenewFor(ctx context.Context, c RemoteCall) (Reached, error) {
	return decode[Reached](m.renewFor(ctx, encode(c)))
}

// JudgeFor tells whether a caller on another machine may call a cell of this one, and which rule says so.
func (m Manager) JudgeFor(ctx context.Context, c RemoteCall) (allowed bool, rule string, err error) {
	return m.judgeFor(ctx, encode(c))
}

// Why tells step by step whether a caller on this machine reaches a cell, and what decides that. caller is the name of a cell, or
// user:NAME.
func (m Net) Why(ctx context.Context, caller, cell string) ([]Reason, error) {
	return decode[[]Reason](m.why(ctx, caller, cell))
}

func connection(fd dbus.UnixFD, text, name string, err error) (*os.File, Reached, error) {
	if err != nil {
		return nil, Reached{}, err
	}
	f := os.NewFile(uintptr(fd), name)
	r, err := decode[Reached](text, nil)
	if err != nil {
		f.Close()
		return nil, r, err
	}
	return f, r, nil
}
