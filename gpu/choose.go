package gpu

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cell-network/cell/sdk/api"
)

// Reserve is what stays free of a device that is shared, so that a display on it is never the one that gets nothing.
const Reserve = 512 << 20

// Error says why a cell gets no device. Never says that none here can serve it, whoever else goes.
type Error struct {
	Never bool
	Text  string
}

func (e *Error) Error() string { return e.Text }

// part is what can be granted: a device, or a slice of one.
type part struct {
	device *api.GPU
	slice  *api.Slice // or nil
	memory uint64
	free   uint64
}

func (p part) id() string {
	if p.slice != nil {
		return p.slice.UUID
	}
	return p.device.UUID
}

// Choose finds devices for a cell beside what others hold, or an *Error. It takes the smallest that do, so that the larger ones stay free
// for who needs them; devices that are shared already before those that are free; and several that are near one another.
//
// Nobody's grant overlaps another one's unless both share, have one owner, and fit together. A device on which a process runs that
// belongs to none of the grants is granted whole to nobody.
func Choose(devices []api.GPU, held []api.GPUGrant, want api.GPUWant) ([]api.GPUGrant, error) {
	if want.Count < 1 {
		return nil, &Error{true, fmt.Sprintf("%d devices are no number to ask for", want.Count)}
	}
	if want.Share && want.Memory == 0 {
		return nil, &Error{true, "a share of a device needs a size in memory"}
	}
	var fit []part
	var able, whyNot []string
	for i := range devices {
		d := &devices[i]
		if d.Problem != "" { // which may go away
			able, whyNot = append(able, d.UUID), append(whyNot, name(part{device: d})+": "+d.Problem)
			continue
		}
		for _, p := range parts(d) {
			if why := unable(p, want); why != "" {
				whyNot = append(whyNot, why)
				continue
			}
			able = append(able, p.id())
			free, why := room(p, held, want)
			if why != "" {
				whyNot = append(whyNot, why)
				continue
			}
			p.free = free
			fit = append(fit, p)
		}
	}
	if len(fit) < want.Count {
		return nil, refusal(len(devices), len(able), len(fit), want, whyNot)
	}
	slices.SortStableFunc(fit, func(a, b part) int {
		// A slice before a whole device; of the free memory the least: what is shared already has less.
		return cmp.Or(cmp.Compare(a.free, b.free), cmp.Compare(a.device.Index, b.device.Index), strings.Compare(a.id(), b.id()))
	})
	var grants []api.GPUGrant
	for _, p := range nearest(fit, want.Count) {
		g := api.GPUGrant{Cell: want.Cell, Owner: want.Owner, UUID: p.device.UUID, Memory: want.Memory, Share: want.Share, Nodes: p.device.Nodes}
		if p.slice != nil {
			g.Slice, g.Nodes = p.slice.UUID, p.slice.Nodes
		}
		grants = append(grants, g)
	}
	return grants, nil
}

func parts(d *api.GPU) []part {
	if d.MIG != "on" {
		return []part{{device: d, memory: d.Memory}}
	}
	out := make([]part, len(d.Slices))
	for i := range d.Slices {
		out[i] = part{device: d, slice: &d.Slices[i], memory: d.Slices[i].Memory}
	}
	return out
}

// unable says why a part cannot serve whoever else goes.
func unable(p part, want api.GPUWant) string {
	need := want.Memory
	if want.Share && p.slice == nil {
		need += Reserve
	}
	switch {
	case p.slice != nil && want.Memory == 0:
		return name(p) + " is a slice, which is given only to who says how much memory it needs"
	case p.memory < need:
		return fmt.Sprintf("%s has %s", name(p), size(p.memory))
	}
	return ""
}

// room is how much of a part is free for a cell, or why there is none.
func room(p part, held []api.GPUGrant, want api.GPUWant) (free uint64, why string) {
	free = p.memory
	if want.Share && p.slice == nil {
		free -= min(free, Reserve)
	}
	holders := map[string]bool{}
	for _, g := range held {
		if !overlap(p, g) {
			continue
		}
		holders[g.Cell] = true
		switch {
		case g.Cell == want.Cell:
			return 0, fmt.Sprintf("%s is its own already", name(p))
		case !g.Share || !want.Share:
			return 0, fmt.Sprintf("%s is %s's", name(p), g.Cell)
		case g.Owner != want.Owner:
			return 0, fmt.Sprintf("%s is shared by cells of another user", name(p))
		}
		free -= min(free, g.Memory)
	}
	for _, proc := range p.device.Processes {
		if proc.Kind == "graphics" && want.Memory > 0 {
			// A display is on it: what it takes is not there.
			if proc.Memory != nil {
				free -= min(free, *proc.Memory)
			}
			continue
		}
		// Its own: it is replaced while it runs.
		known := proc.Cell != "" && (holders[proc.Cell] || proc.Cell == want.Cell)
		if known || p.slice != nil && proc.Slice != "" && proc.Slice != p.slice.UUID {
			continue
		}
		return 0, fmt.Sprintf("%s is used by process %d, to whom nobody granted it", name(p), proc.PID)
	}
	if free < want.Memory {
		return 0, fmt.Sprintf("%s has %s left", name(p), size(free))
	}
	return free, ""
}

// overlap tells whether a part is, or is of, what somebody has.
func overlap(p part, g api.GPUGrant) bool {
	if p.device.UUID != g.UUID {
		return false
	}
	return p.slice == nil || g.Slice == "" || p.slice.UUID == g.Slice
}

// nearest are n of the parts, which are in the order of preference, that are nearest to one another: around each one those nearest to
// it are tried, and the set whose longest distance is the shortest is taken.
func nearest(fit []part, n int) []part {
	if n == 1 {
		return fit[:1]
	}
	var best []part
	far := 0
	for _, start := range fit {
		all := slices.Clone(fit)
		slices.SortStableFunc(all, func(a, b part) int {
			return cmp.Compare(distance(start, a), distance(start, b))
		})
		set, longest := all[:n], 0
		for i, a := range set {
			for _, b := range set[:i] {
				longest = max(longest, distance(a, b))
			}
		}
		if best == nil || longest < far {
			best, far = set, longest
		}
	}
	return best
}

// unknown is further than what any driver says.
const unknown = 1 << 20

func distance(a, b part) int {
	if a.device.UUID == b.device.UUID {
		return 0
	}
	if d, ok := a.device.Near[b.device.UUID]; ok {
		return d
	}
	return unknown
}

func name(p part) string {
	if p.slice != nil {
		return fmt.Sprintf("slice %s of GPU %d", p.slice.Name, p.device.Index)
	}
	if p.device.Name == "" { // it was lost before it said who it is
		return fmt.Sprintf("GPU %d", p.device.Index)
	}
	return fmt.Sprintf("GPU %d (%s)", p.device.Index, p.device.Name)
}

func refusal(devices, able, fit int, want api.GPUWant, why []string) *Error {
	what := "a GPU"
	if want.Count > 1 {
		what = fmt.Sprintf("%d GPUs", want.Count)
	}
	if want.Memory > 0 {
		what += " with " + size(want.Memory)
	}
	e := &Error{Never: able < want.Count}
	switch {
	case devices == 0:
		e.Text = fmt.Sprintf("needs %s, and this machine has none", what)
	case e.Never:
		e.Text = fmt.Sprintf("needs %s, and this machine has %d that can be", what, able)
	default:
		e.Text = fmt.Sprintf("needs %s, and %d can be had now", what, fit)
	}
	if len(why) > 0 {
		e.Text += ": " + strings.Join(why, "; ")
	}
	return e
}

func size(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.4gGB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.4gMB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%dB", n)
}
