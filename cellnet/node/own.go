package node

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/link"
	"github.com/cell-network/cell/cellnet/record"
	"github.com/cell-network/cell/cellnet/registry"
	"github.com/cell-network/cell/cellnet/wg"
	"github.com/cell-network/cell/sdk/api"
)

// sign makes a record of this machine's that is newer than what is held in its slot, and takes it.
func (n *Node) sign(r *record.Record) error {
	r.Signer, r.Issued, r.Tissue = n.self(), time.Now(), n.reg.Tissue()
	r.Version = n.reg.Version(r)
	if _, err := n.reg.Put(r.Sign(n.key)); err != nil {
		return fmt.Errorf("state %v: %w", r.Kind, err)
	}
	n.tell()
	return nil
}

// tell has the others told of news soon.
func (n *Node) tell() {
	select {
	case n.news <- struct{}{}:
	default:
	}
}

// restate states what this machine and its cells are, where that has changed or is old; n.mu is held.
func (n *Node) restate() error {
	m, ok := n.reg.Member(n.self())
	if !ok {
		return nil
	}
	body, err := n.facts(n.reg.Tissue())
	if err != nil {
		return err
	}
	if n.stated && !bytes.Equal(m.Node.Boot, body.Boot) {
		// What is held of this machine is not what it has stated.
		if time.Since(n.cloned) < cloneEvery {
			return nil
		}
		n.cloned = time.Now()
		n.Log.Error("another machine has this one's key", "advice", clonedAdvice)
	}
	n.stated = true
	was := m.Node
	was.Uptime = body.Uptime
	if !m.Stated || !bytes.Equal(was.Append(nil), body.Append(nil)) || time.Since(m.Heard) > registry.Refresh {
		if err := n.sign(&record.Record{Kind: record.Node, Body: body.Append(nil), Expires: time.Now().Add(registry.Facts)}); err != nil {
			return err
		}
	}
	if n.cells == nil && time.Since(m.Heard) < registry.Refresh { // celld has not said yet
		return nil
	}
	return n.restateCells(m)
}

// cloneEvery is how often a machine states what it is when another one with its key states something else.
const cloneEvery = time.Minute

const clonedAdvice = "another machine runs with a copy of this one's state: cell leave on both, and join anew"

// facts are what this machine states of itself to a tissue.
func (n *Node) facts(tissue identity.Tissue) (record.NodeBody, error) {
	b := record.NodeBody{
		WireGuard: record.WireGuardKey(n.secret.Public()), Version: n.Version, Cores: uint32(runtime.NumCPU()), Port: n.state.Port,
		NAT: n.nat, Helpers: n.helpers,
	}
	if n.next != (wg.Key{}) {
		b.Next = record.WireGuardKey(n.next.Public())
	}
	for _, u := range n.users() {
		b.Users = append(b.Users, record.User{Number: u.number, Name: u.name})
	}
	addrs, err := link.Addresses(tissue.Prefix())
	if err != nil {
		return b, err
	}
	b.Endpoints = append(b.Endpoints, n.outside...)
	for _, a := range addrs {
		b.Endpoints = append(b.Endpoints, netip.AddrPortFrom(a, n.state.Port))
	}
	b.Boot, b.MFlops = n.boot[:], mflops()
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		b.Memory, b.Uptime = si.Totalram*uint64(si.Unit), uint64(si.Uptime)
	}
	var fs unix.Statfs_t
	if unix.Statfs(n.dir, &fs) == nil {
		b.Storage = fs.Blocks * uint64(fs.Bsize)
	}
	return b, nil
}

// Announce takes the cells that celld says run here.
func (n *Node) Announce(cells []api.Announced) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cells = append([]api.Announced{}, cells...)
	if n.reg == nil {
		return nil
	}
	if err := n.restate(); err != nil {
		return err
	}
	return n.apply()
}

// page is how many bytes of cells a record has at most.
const page = 3 << 10

func (n *Node) restateCells(m registry.Member) error {
	all, err := n.numbered()
	if err != nil {
		return err
	}
	var pages []record.CellsBody
	size := page
	for _, c := range all {
		one := len(record.CellsBody{Cells: []record.Cell{c}}.Append(nil))
		if size+one > page || len(pages[len(pages)-1].Cells) == 60 {
			pages, size = append(pages, record.CellsBody{}), 0
		}
		last := &pages[len(pages)-1]
		last.Cells, size = append(last.Cells, c), size+one
	}
	most := 48
	if len(pages) > most {
		n.Log.Warn("more cells than the tissue is told of", "cells", len(all))
		pages = pages[:most]
	}
	had := slices.Clone(m.Cells)
	told := 0
	for _, p := range pages {
		told += len(p.Cells)
	}
	if same(had, all) && time.Since(m.Heard) < registry.Refresh {
		return nil
	}
	for i := range most {
		r := &record.Record{Kind: record.Cells, Subject: []byte{byte(i)}, Expires: time.Now().Add(registry.Facts)}
		r.Signer = n.self()
		if i < len(pages) {
			r.Body = pages[i].Append(nil)
		} else if n.reg.Version(r) == 1 { // a page that there never was
			break
		}
		if err := n.sign(r); err != nil {
			return err
		}
	}
	return nil
}

func same(a, b []record.Cell) bool {
	return bytes.Equal(record.CellsBody{Cells: a}.Append(nil), record.CellsBody{Cells: b}.Append(nil))
}

// numbered are this machine's cells, each with a number of its own that it keeps.
func (n *Node) numbered() ([]record.Cell, error) {
	if n.state.Numbers == nil {
		n.state.Numbers = map[string]uint16{}
	}
	used := map[uint16]bool{}
	for _, number := range n.state.Numbers {
		used[number] = true
	}
	var all []record.Cell
	changed, next := false, uint16(identity.FirstCell)
	for _, c := range n.cells {
		number, ok := n.state.Numbers[c.Name]
		for ; !ok; next++ {
			if next == 1<<16-1 {
				return nil, failure(api.ErrFailed, "there are no addresses left for %s", c.Name)
			}
			if !used[next] {
				number, ok, changed, used[next] = next, true, true, true
				n.state.Numbers[c.Name] = number
			}
		}
		all = append(all, record.Cell{
			Number: number, Name: c.Name, Instances: uint32(c.Instances), Version: c.Version, Hash: c.Hash, Accepts: c.Accepts,
			Speaks: c.Speaks, Port: uint16(c.Port),
		})
	}
	slices.SortFunc(all, func(a, b record.Cell) int { return strings.Compare(a.Name, b.Name) })
	if changed {
		return all, n.save()
	}
	return all, nil
}
