package celld

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cell-network/cell/celld/systemd"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

// GPUs knows the graphics processors of the machine and gives none away; it is cell-gpu on the bus.
type GPUs interface {
	There() bool // whether there can be one; without it nothing else is asked
	Inventory(context.Context) (api.GPUs, error)
	Choose(ctx context.Context, want api.GPUWant, held []api.GPUGrant) ([]api.GPUGrant, error)
	Use(context.Context) ([]api.GPUUse, error)
	Limit(ctx context.Context, uuid, cgroup string, bytes uint64) (enforced bool, err error)
}

// none is what a machine without a device says.
const none = "no graphics processor that Cell knows is in this machine"

// retry is how often a cell that waits for a device looks again.
const retry = 500 * time.Millisecond

// openGranted opens a pair that asks for devices with those that are free. One after the other, so that of two that race for the last
// one the second sees what the first has.
func (s *Server) openGranted(ctx context.Context, p unit.Pair, open func(unit.Pair) error) error {
	want := p.Manifest.Resources.GPU
	begun := time.Now()
	for {
		devices, err := s.grant(ctx, p, open)
		if err == nil {
			s.gpus.note(p.Name, devices)
			return nil
		}
		name := errorName(err)
		if name != api.ErrNotReady && name != api.ErrInvalid && name != api.ErrHung {
			return err
		}
		if s.gpus.unwanted(p.Name) {
			return failure(api.ErrNotReady, "it was stopped while it waited for a GPU: %s", api.ErrorText(err))
		}
		if name == api.ErrNotReady && time.Since(begun) < want.Wait {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(retry):
				continue
			}
		}
		if want.Optional {
			s.Log.Info("runs without a graphics processor", "cell", p.Name, "why", api.ErrorText(err))
			return open(p)
		}
		return failure(name, "%s", api.ErrorText(err))
	}
}

// grant chooses devices for a pair and opens it with them.
func (s *Server) grant(ctx context.Context, p unit.Pair, open func(unit.Pair) error) ([]api.GPUGrant, error) {
	s.gpus.turn.Lock()
	defer s.gpus.turn.Unlock()
	if s.GPUs == nil || !s.GPUs.There() {
		return nil, failure(api.ErrInvalid, "it needs a GPU, and %s", none)
	}
	_, r, err := s.rootOf(p.Name)
	if err != nil {
		return nil, err
	}
	held, err := s.held(ctx)
	if err != nil {
		return nil, err
	}
	// A bridge has what the instance has that it stands for.
	own := strings.TrimSuffix(p.Name, unit.BridgeSuffix)
	held = slices.DeleteFunc(held, func(g api.GPUGrant) bool { return g.Cell == own })
	want := p.Manifest.Resources.GPU
	grants, err := s.GPUs.Choose(ctx, api.GPUWant{
		Cell: own, Owner: r.Owner, Count: want.Count, Memory: uint64(want.Memory), Share: want.Share,
	}, held)
	if err != nil {
		return nil, err
	}
	at, err := s.place(p.Manifest.Dir, r.Owner)
	if err != nil {
		return nil, err
	}
	var devices []unit.Device
	for _, g := range grants {
		devices = append(devices, unit.Device{ID: g.ID(), Grant: g.String(), Nodes: g.Nodes})
	}
	return grants, open(p.Granted(devices, at))
}

// errorName is the name of an error of celld's or of another daemon's.
func errorName(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Name
	}
	return api.ErrorName(err)
}

// held is what cells have, as their loaded units say.
func (s *Server) held(ctx context.Context) ([]api.GPUGrant, error) {
	states, err := s.seen(ctx, func(string) bool { return true }, s.Systemd.Definition)
	if err != nil {
		return nil, err
	}
	out := []api.GPUGrant{}
	for _, name := range slices.Sorted(maps.Keys(states)) {
		grants, err := grantsOf(states[name])
		if err != nil {
			return nil, err
		}
		for _, g := range grants {
			if !slices.ContainsFunc(out, func(o api.GPUGrant) bool { return o.Cell == g.Cell && o.ID() == g.ID() }) { // a bridge's
				out = append(out, g)
			}
		}
	}
	return out, nil
}

func grantsOf(st *systemd.State) ([]api.GPUGrant, error) {
	var out []api.GPUGrant
	for _, text := range st.GPU {
		g, err := api.ParseGPUGrant(text)
		if err != nil {
			// Who has it is not known: nobody else may get it.
			return nil, fmt.Errorf("what %s has of the graphics processors: %w", st.Name, err)
		}
		g.Cell = strings.TrimSuffix(st.Name, unit.BridgeSuffix)
		out = append(out, g)
	}
	return out, nil
}

// Enzymes describes the graphics processors of the machine and who has them.
func (s *Server) Enzymes(ctx context.Context) (api.Enzymes, error) {
	all := api.Enzymes{GPUs: api.GPUs{Devices: []api.GPU{}}, Grants: []api.GPUGrant{}, Uses: []api.GPUUse{}}
	held, err := s.held(ctx)
	if err != nil {
		return all, err
	}
	all.Grants = held
	if s.GPUs == nil || !s.GPUs.There() {
		all.Problem = none
		return all, nil
	}
	if all.GPUs, err = s.GPUs.Inventory(ctx); err != nil {
		if api.ErrorName(err) != api.ErrHung {
			return all, fmt.Errorf("ask cell-gpu: %w", err)
		}
		all.Devices, all.Problem = []api.GPU{}, api.ErrorText(err)
		return all, nil
	}
	if all.Uses, err = s.GPUs.Use(ctx); err != nil {
		all.Uses, all.Problem = []api.GPUUse{}, api.ErrorText(err)
	}
	return all, nil
}

// gpus is what celld remembers of devices, so that it need not ask all units for it twice a second. What is granted is what units say.
type gpus struct {
	turn sync.Mutex // of who is granted something

	mu   sync.Mutex
	of   map[string][]api.GPUGrant // by instance
	over map[string]string         // instances that were ended for what they used, and why
	stop []*func(string) bool      // of those who want to stop cells
	wake chan struct{}
}

func (g *gpus) bell() chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wake == nil {
		g.wake = make(chan struct{}, 1)
	}
	return g.wake
}

// ring says that an instance that has devices may be running.
func (g *gpus) ring() {
	select {
	case g.bell() <- struct{}{}:
	default:
	}
}

func (g *gpus) note(instance string, grants []api.GPUGrant) {
	g.mu.Lock()
	if g.of == nil {
		g.of = map[string][]api.GPUGrant{}
	}
	g.of[instance] = grants
	g.mu.Unlock()
	g.ring()
}

// giveUp keeps the instances of in from waiting for a device until release is called: who stops a cell must wait for whoever starts
// cells of its tree.
func (g *gpus) giveUp(in func(instance string) bool) (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stop = append(g.stop, &in)
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.stop = slices.DeleteFunc(g.stop, func(other *func(string) bool) bool { return other == &in })
	}
}

func (g *gpus) unwanted(instance string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.stop, func(in *func(string) bool) bool { return (*in)(instance) })
}

func (g *gpus) forget(instance string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.of, instance)
}

// has tells whether an instance has a device.
func (g *gpus) has(instance string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.of[instance]) > 0
}

func (g *gpus) all() map[string][]api.GPUGrant {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.of)
}

// ended is why an instance was ended for what it used, once.
func (g *gpus) ended(instance string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	why := g.over[instance]
	delete(g.over, instance)
	return why
}

func (g *gpus) ends(instance, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over == nil {
		g.over = map[string]string{}
	}
	g.over[instance] = why
}

// look is how often the memory of devices is looked at while somebody has a part of one; who uses too much twice in a row is ended.
const look = 500 * time.Millisecond

// GuardGPUs keeps cells to what they were granted of the memory of devices, until ctx ends: by the driver where that can bound a control
// group, and in any case by looking. While no cell with a bound runs it does nothing.
func (s *Server) GuardGPUs(ctx context.Context) {
	if s.GPUs == nil {
		return
	}
	if held, err := s.held(ctx); err != nil {
		s.Log.Error("which graphics processors cells have is not known", "error", err)
	} else {
		of := map[string][]api.GPUGrant{}
		for _, g := range held {
			of[g.Cell] = append(of[g.Cell], g)
		}
		for cell, grants := range of {
			s.gpus.note(cell, grants)
		}
	}
	twice, limited := map[string]bool{}, map[string]string{}
	blind := false
	for ctx.Err() == nil {
		bounds := s.bounds(ctx)
		if len(bounds) == 0 {
			clear(twice)
			select {
			case <-ctx.Done():
			case <-s.gpus.bell():
			}
			continue
		}
		s.limitByDriver(ctx, bounds, limited)
		over, err := s.overuse(ctx, bounds)
		switch {
		case err != nil && !blind:
			s.Log.Error("the memory of graphics processors is not watched", "error", err)
		case err == nil && blind:
			s.Log.Info("the memory of graphics processors is watched again")
		}
		blind = err != nil
		for name, why := range over {
			if !twice[name] {
				continue
			}
			delete(over, name) // it begins anew
			s.Log.Warn("over its GPU memory", "cell", name, "why", why)
			s.gpus.ends(name, "over its GPU memory: "+why)
			if err := s.Systemd.Kill(ctx, unit.ServiceUnit(name)); err != nil {
				s.Log.Error("end a cell over its GPU memory", "cell", name, "error", err)
			}
		}
		clear(twice)
		for name := range over {
			twice[name] = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(look):
		}
	}
}

// bound is what a running instance may use of devices, by UUID.
type bound struct {
	state systemd.State
	bytes map[string]uint64
}

// bounds are those of the running instances that have a part of a device's memory; a slice is bounded by its hardware.
func (s *Server) bounds(ctx context.Context) map[string]bound {
	out := map[string]bound{}
	for name, grants := range s.gpus.all() {
		b := bound{systemd.State{Name: name}, map[string]uint64{}}
		for _, g := range grants {
			if g.Memory > 0 && g.Slice == "" {
				b.bytes[g.UUID] += g.Memory
			}
		}
		if len(b.bytes) == 0 {
			continue
		}
		if err := s.Systemd.Detail(ctx, &b.state); err == nil && b.state.ControlGroup != "" && b.state.PID != 0 {
			out[name] = b
		}
	}
	return out
}

// limitByDriver bounds each run once. A driver that cannot leaves it to the looks.
func (s *Server) limitByDriver(ctx context.Context, bounds map[string]bound, limited map[string]string) {
	for name, b := range bounds {
		if limited[name] == b.state.Run {
			continue
		}
		limited[name] = b.state.Run
		for uuid, bytes := range b.bytes {
			enforced, err := s.GPUs.Limit(ctx, uuid, b.state.ControlGroup, bytes)
			if err != nil {
				s.Log.Warn("the driver does not bound the memory of a cell; it is watched", "cell", name, "error", err)
			} else if enforced {
				s.Log.Info("the driver bounds the memory of a cell", "cell", name, "uuid", uuid, "bytes", bytes)
			}
		}
	}
}

// overuse are the instances that use more than they may, and what.
func (s *Server) overuse(ctx context.Context, bounds map[string]bound) (map[string]string, error) {
	uses, err := s.GPUs.Use(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, u := range uses {
		name, ok := unit.NameOf(path.Base(u.Cgroup))
		b, bounded := bounds[name]
		if !ok || !bounded || u.Memory == nil {
			continue
		}
		if most, ok := b.bytes[u.UUID]; ok && *u.Memory > most {
			out[name] = fmt.Sprintf("%s of %s", people(*u.Memory), people(most))
		}
	}
	return out, nil
}

// gpuRule says what a cell has of the devices that it asks for.
func (s *Server) gpuRule(p unit.Pair, st *systemd.State) []api.Rule {
	g := p.Manifest.Resources.GPU
	if g == nil {
		return nil
	}
	r := api.Rule{Group: "limits", What: "gpu", Requested: strconv.Itoa(g.Count), By: "its /dev", Enforced: "no: it has none"}
	if s.System {
		r.By += ", DeviceAllow" // a user's manager cannot filter devices
	}
	if g.Memory > 0 {
		r.Requested += " with " + manifest.FormatBytes(g.Memory)
	}
	grants, err := grantsOf(st)
	if err != nil {
		r.Enforced = "not known: " + err.Error()
		return []api.Rule{r}
	}
	var ids []string
	for _, x := range grants {
		ids = append(ids, x.ID())
	}
	if len(ids) > 0 {
		r.Enforced = "yes: " + strings.Join(ids, ", ")
		if g.Memory > 0 {
			r.Enforced += "; its memory is looked at twice a second"
		}
	}
	return []api.Rule{r}
}
