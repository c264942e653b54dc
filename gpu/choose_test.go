package gpu_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cell-network/cell/gpu"
	"github.com/cell-network/cell/gpu/sim"
	"github.com/cell-network/cell/sdk/api"
)

const gb = 1 << 30

func sliced(index int, sizes ...uint64) api.GPU {
	d := sim.Device(index, 141)
	d.MIG = "on"
	for i, s := range sizes {
		d.Slices = append(d.Slices, api.Slice{UUID: fmt.Sprintf("MIG-%d-%d", index, i), Name: fmt.Sprintf("%dg", s), Memory: s * gb, Nodes: append(slices.Clone(d.Nodes), fmt.Sprintf("/dev/cap%d", i))})
	}
	return d
}

func with(d api.GPU, change func(*api.GPU)) api.GPU {
	change(&d)
	return d
}

func TestChoose(t *testing.T) {
	two := []api.GPU{sim.Device(0, 80), sim.Device(1, 24)}
	share := func(cell string, owner int, uuid string, n uint64) api.GPUGrant {
		return api.GPUGrant{Cell: cell, Owner: owner, UUID: uuid, Memory: n * gb, Share: true}
	}
	number := uint64(3 * gb)
	for _, c := range []struct {
		name    string
		devices []api.GPU
		held    []api.GPUGrant
		want    api.GPUWant
		ids     string // of the grants, or what the error has in it
		never   bool
	}{
		{"the smallest that does", two, nil, api.GPUWant{Cell: "a", Count: 1, Memory: 8 * gb}, "GPU-1", false},
		{"a whole one", two, nil, api.GPUWant{Cell: "a", Count: 1}, "GPU-1", false},
		{"one that is large enough", two, nil, api.GPUWant{Cell: "a", Count: 1, Memory: 60 * gb}, "GPU-0", false},
		{"the other one", two, []api.GPUGrant{{Cell: "b", UUID: "GPU-1"}}, api.GPUWant{Cell: "a", Count: 1, Memory: 8 * gb}, "GPU-0", false},
		{"none left", two, []api.GPUGrant{{Cell: "b", UUID: "GPU-1"}, {Cell: "c", UUID: "GPU-0"}}, api.GPUWant{Cell: "a", Count: 1, Memory: 8 * gb}, "error: needs a GPU with 8GB, and 0 can be had now: GPU 0 (Sim) is c's; GPU 1 (Sim) is b's", false},
		{"none large enough", two, nil, api.GPUWant{Cell: "a", Count: 1, Memory: 100 * gb}, "error: needs a GPU with 100GB, and this machine has 0 that can be: GPU 0 (Sim) has 80GB; GPU 1 (Sim) has 24GB", true},
		{"too many", two, nil, api.GPUWant{Cell: "a", Count: 3}, "error: needs 3 GPUs, and this machine has 2 that can be", true},
		{"no device", nil, nil, api.GPUWant{Cell: "a", Count: 1}, "error: needs a GPU, and this machine has none", true},
		{"no number", two, nil, api.GPUWant{Cell: "a"}, "error: 0 devices", true},
		{"a share without a size", two, nil, api.GPUWant{Cell: "a", Count: 1, Share: true}, "error: a share", true},
		{"beside its brother", two, []api.GPUGrant{share("b", 7, "GPU-0", 10)}, api.GPUWant{Cell: "a", Owner: 7, Count: 1, Memory: 10 * gb, Share: true}, "GPU-1", false},
		{"where less is left", two, []api.GPUGrant{share("b", 7, "GPU-1", 10)}, api.GPUWant{Cell: "a", Owner: 7, Count: 1, Memory: 10 * gb, Share: true}, "GPU-1", false},
		{"not where it does not fit beside it", two, []api.GPUGrant{share("b", 7, "GPU-1", 14)}, api.GPUWant{Cell: "a", Owner: 7, Count: 1, Memory: 10 * gb, Share: true}, "GPU-0", false},
		{"a reserve stays", two[1:], nil, api.GPUWant{Cell: "a", Count: 1, Memory: 24 * gb, Share: true}, "error: needs a GPU with 24GB, and this machine has 0", true},
		{"not with a stranger", two[1:], []api.GPUGrant{share("b", 8, "GPU-1", 1)}, api.GPUWant{Cell: "a", Owner: 7, Count: 1, Memory: gb, Share: true}, "error: needs a GPU with 1GB, and 0 can be had now: GPU 1 (Sim) is shared by cells of another user", false},
		{"not beside who wants it alone", two[1:], []api.GPUGrant{share("b", 7, "GPU-1", 1)}, api.GPUWant{Cell: "a", Owner: 7, Count: 1, Memory: gb}, "error: needs a GPU with 1GB, and 0 can be had now: GPU 1 (Sim) is b's", false},
		{"a slice", []api.GPU{sliced(0, 70, 18)}, nil, api.GPUWant{Cell: "a", Count: 1, Memory: 8 * gb}, "MIG-0-1", false},
		{"the next slice", []api.GPU{sliced(0, 70, 18)}, []api.GPUGrant{{Cell: "b", UUID: "GPU-0", Slice: "MIG-0-1"}}, api.GPUWant{Cell: "a", Count: 1, Memory: 8 * gb}, "MIG-0-0", false},
		{"no slice as a whole device", []api.GPU{sliced(0, 70, 18)}, nil, api.GPUWant{Cell: "a", Count: 1}, "error: needs a GPU, and this machine has 0 that can be: slice 70g of GPU 0 is a slice", true},
		{"no device of whom a slice is held", []api.GPU{sliced(0, 70)}, []api.GPUGrant{{Cell: "b", UUID: "GPU-0"}}, api.GPUWant{Cell: "a", Count: 1, Memory: gb}, "is b's", false},
		{"one that is broken", []api.GPU{with(sim.Device(0, 80), func(d *api.GPU) { d.Problem = "fault 79" })}, nil, api.GPUWant{Cell: "a", Count: 1}, "error: needs a GPU, and 0 can be had now: GPU 0 (Sim): fault 79", false},
		{
			"one that somebody uses without a grant",
			[]api.GPU{with(sim.Device(0, 80), func(d *api.GPU) {
				d.Processes = []api.GPUProcess{{PID: 42, Kind: "compute", Cell: "gone"}}
			})},
			nil,
			api.GPUWant{Cell: "a", Count: 1},
			"error: needs a GPU, and 0 can be had now: GPU 0 (Sim) is used by process 42, to whom nobody granted it", false,
		},
		{
			"its own process",
			[]api.GPU{with(sim.Device(0, 80), func(d *api.GPU) {
				d.Processes = []api.GPUProcess{{PID: 42, Kind: "compute", Cell: "a"}}
			})},
			nil,
			api.GPUWant{Cell: "a", Count: 1},
			"GPU-0", false,
		},
		{
			"its brother's process", []api.GPU{with(sim.Device(0, 80), func(d *api.GPU) {
				d.Processes = []api.GPUProcess{{PID: 42, Kind: "compute", Cell: "b"}}
			})}, []api.GPUGrant{share("b", 7, "GPU-0", 10)}, api.GPUWant{Cell: "a", Owner: 7, Count: 1, Memory: gb, Share: true}, "GPU-0", false,
		},
		{
			"one with a display",
			[]api.GPU{with(sim.Device(0, 8), func(d *api.GPU) {
				d.Processes = []api.GPUProcess{{PID: 42, Kind: "graphics", Memory: &number}}
			})},
			nil,
			api.GPUWant{Cell: "a", Count: 1, Memory: 6 * gb},
			"error: needs a GPU with 6GB, and 0 can be had now: GPU 0 (Sim) has 5GB left", false,
		},
		{
			"two that are near",
			[]api.GPU{
				with(sim.Device(0, 80), func(d *api.GPU) { d.Near = map[string]int{"GPU-1": 50, "GPU-2": 50} }),
				with(sim.Device(1, 80), func(d *api.GPU) { d.Near = map[string]int{"GPU-0": 50, "GPU-2": 1} }),
				with(sim.Device(2, 80), func(d *api.GPU) { d.Near = map[string]int{"GPU-0": 50, "GPU-1": 1} }),
			},
			nil,
			api.GPUWant{Cell: "a", Count: 2},
			"GPU-1 GPU-2", false,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			grants, err := gpu.Choose(c.devices, c.held, c.want)
			var e *gpu.Error
			if errors.As(err, &e) != (err != nil) {
				t.Fatalf("error %T", err)
			}
			if err != nil {
				if got := "error: " + e.Text; !strings.Contains(got, c.ids) || e.Never != c.never {
					t.Errorf("%s (never %v), want %s (never %v)", got, e.Never, c.ids, c.never)
				}
				return
			}
			var ids []string
			for _, g := range grants {
				ids = append(ids, g.ID())
				if len(g.Nodes) < 2 || g.Cell != "a" || g.Memory != c.want.Memory {
					t.Errorf("grant %+v", g)
				}
				if back, err := api.ParseGPUGrant(g.String()); err != nil || back.ID() != g.ID() || back.Memory != g.Memory || back.Share != g.Share || back.Owner != g.Owner {
					t.Errorf("%q is read as %+v, %v", g, back, err)
				}
			}
			if got := strings.Join(ids, " "); got != c.ids {
				t.Errorf("%s, want %s", got, c.ids)
			}
		})
	}
}

// Whatever is asked for in whatever order: nobody has what another one has who does not share it with him, and nothing holds more than
// it has.
func TestNeverTooMuch(t *testing.T) {
	granted := 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var devices []api.GPU
		for i := range 1 + r.IntN(4) {
			if r.IntN(3) == 0 {
				devices = append(devices, sliced(i, 18, 18, 35, 70))
			} else {
				devices = append(devices, sim.Device(i, uint64(8<<r.IntN(4))))
			}
		}
		var held []api.GPUGrant
		for step := range 30 {
			if len(held) > 0 && r.IntN(3) == 0 {
				gone := held[r.IntN(len(held))].Cell
				held = slices.DeleteFunc(held, func(g api.GPUGrant) bool { return g.Cell == gone })
				continue
			}
			want := api.GPUWant{Cell: fmt.Sprint("cell", step), Owner: r.IntN(2), Count: 1 + r.IntN(2), Memory: uint64(r.IntN(20)) * gb, Share: r.IntN(2) == 0}
			got, err := gpu.Choose(devices, held, want)
			if err != nil {
				continue
			}
			granted++
			if len(got) != want.Count {
				t.Fatalf("seed %d: %d grants for %d", seed, len(got), want.Count)
			}
			held = append(held, got...)
			check(t, seed, devices, held)
		}
	}
	if granted < 10000 {
		t.Errorf("only %d grants: it tests nothing", granted)
	}
}

func check(t *testing.T, seed uint64, devices []api.GPU, held []api.GPUGrant) {
	t.Helper()
	size, sum := map[string]uint64{}, map[string]uint64{}
	for _, d := range devices {
		size[d.UUID] = d.Memory
		for _, s := range d.Slices {
			size[s.UUID] = s.Memory
		}
	}
	for i, a := range held {
		sum[a.ID()] += a.Memory
		if a.Memory > size[a.ID()] {
			t.Fatalf("seed %d: %+v is more than there is", seed, a)
		}
		for _, b := range held[:i] {
			same := a.UUID == b.UUID && (a.Slice == b.Slice || a.Slice == "" || b.Slice == "")
			if same && !(a.Share && b.Share && a.Owner == b.Owner && a.Cell != b.Cell) {
				t.Fatalf("seed %d: %+v and %+v", seed, a, b)
			}
		}
	}
	for id, n := range sum {
		if n > size[id] {
			t.Fatalf("seed %d: %d of %d of %s", seed, n, size[id], id)
		}
	}
}
