package api

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
)

// GpuXML is the commented contract of network.cell.Gpu1.
//
//go:embed network.cell.Gpu1.xml
var GpuXML string

// ErrHung says that a driver has not answered for a while; what was asked may still happen.
const ErrHung = "network.cell.Error.Hung"

func (g Gpu) call(ctx context.Context, method string, args ...any) *dbus.Call {
	return call(ctx, g.Conn.Object(GpuName, GpuPath), GpuName+"."+method, args...)
}

// GPUs are the graphics processors of a machine. What the driver does not tell is nil, and never 0.
type GPUs struct {
	Driver  string   `json:"driver,omitempty"` // version
	CUDA    string   `json:"cuda,omitempty"`   // newest version that the driver runs, as "13.0"
	Library string   `json:"library,omitempty"`
	Limits  bool     `json:"limits"`            // the driver bounds the memory of a control group
	Missing []string `json:"missing,omitempty"` // calls that this driver lacks
	Problem string   `json:"problem,omitempty"` // why nothing is known of devices
	Devices []GPU    `json:"devices"`
}

// GPU is one device.
type GPU struct {
	UUID    string   `json:"uuid"`
	Name    string   `json:"name"`
	Vendor  string   `json:"vendor"`
	Index   int      `json:"index"` // in the driver's order
	PCI     string   `json:"pci,omitempty"`
	Memory  uint64   `json:"memory"` // bytes
	Used    *uint64  `json:"memory_used,omitempty"`
	Nodes   []string `json:"nodes"`             // device files that a program needs to use it
	MIG     string   `json:"mig,omitempty"`     // "on", "off", or empty where it cannot be divided
	Slices  []Slice  `json:"slices,omitempty"`  // with MIG
	Problem string   `json:"problem,omitempty"` // why it is granted to nobody

	Temperature *uint32  `json:"temperature_c,omitempty"`
	Power       *float64 `json:"power_w,omitempty"`
	PowerLimit  *float64 `json:"power_limit_w,omitempty"`
	Energy      *float64 `json:"energy_j,omitempty"` // since the driver was loaded
	ClockSM     *uint32  `json:"clock_sm_mhz,omitempty"`
	ClockMemory *uint32  `json:"clock_memory_mhz,omitempty"`
	Busy        *uint32  `json:"busy_percent,omitempty"`

	Near      map[string]int `json:"near,omitempty"` // to others by UUID: the smaller the nearer
	Processes []GPUProcess   `json:"processes,omitempty"`
}

// Slice is a part of a device that its hardware keeps apart (MIG).
type Slice struct {
	UUID   string   `json:"uuid"`
	Name   string   `json:"name"` // of its profile, as "1g.18gb"
	Memory uint64   `json:"memory"`
	Nodes  []string `json:"nodes"`
}

// GPUProcess is a process that has a device open.
type GPUProcess struct {
	PID    int     `json:"pid"`
	Kind   string  `json:"kind"` // "compute", "graphics" or "mps"
	Memory *uint64 `json:"memory,omitempty"`
	Slice  string  `json:"slice,omitempty"`  // UUID
	Cgroup string  `json:"cgroup,omitempty"` // empty where the process is not to be seen
	Cell   string  `json:"cell,omitempty"`   // instance; filled in by celld
}

// GPUWant is what a cell asks for.
type GPUWant struct {
	Cell   string `json:"cell"`   // instance
	Owner  int    `json:"owner"`  // user
	Count  int    `json:"count"`  // devices
	Memory uint64 `json:"memory"` // bytes of each; 0 is a whole device
	Share  bool   `json:"share"`  // with other cells of the owner that share
}

// GPUGrant is a device, or a slice of one, that a cell has.
type GPUGrant struct {
	Cell   string   `json:"cell"`
	Owner  int      `json:"owner"`
	UUID   string   `json:"uuid"`   // of the device
	Slice  string   `json:"slice"`  // UUID, or empty for the device
	Memory uint64   `json:"memory"` // bytes; 0 is all of it
	Share  bool     `json:"share"`
	Nodes  []string `json:"nodes"`
}

// ID is how programs name what is granted.
func (g GPUGrant) ID() string {
	if g.Slice != "" {
		return g.Slice
	}
	return g.UUID
}

// String is a grant as a cell's unit holds it, without the cell and the nodes.
func (g GPUGrant) String() string {
	s := fmt.Sprintf("%s|%s|%d|%d", g.UUID, g.Slice, g.Memory, g.Owner)
	if g.Share {
		s += "|share"
	}
	return s
}

// ParseGPUGrant reads what String wrote.
func ParseGPUGrant(s string) (g GPUGrant, err error) {
	f := strings.Split(s, "|")
	if len(f) < 4 || len(f) > 5 || f[0] == "" || len(f) == 5 && f[4] != "share" {
		return g, fmt.Errorf("%q is no grant of a GPU", s)
	}
	g = GPUGrant{UUID: f[0], Slice: f[1], Share: len(f) == 5}
	if g.Memory, err = strconv.ParseUint(f[2], 10, 64); err == nil {
		g.Owner, err = strconv.Atoi(f[3])
	}
	if err != nil {
		return GPUGrant{}, fmt.Errorf("%q is no grant of a GPU: %w", s, err)
	}
	return g, nil
}

// GPUUse is what the processes of a control group use of a device.
type GPUUse struct {
	Cgroup string   `json:"cgroup"`
	Cell   string   `json:"cell,omitempty"` // instance; filled in by celld
	UUID   string   `json:"uuid"`           // of the device
	Memory *uint64  `json:"memory,omitempty"`
	Joules *float64 `json:"joules,omitempty"` // since cell-gpu has seen it
	Error  float64  `json:"joules_error"`     // by which Joules may be wrong
	Source string   `json:"joules_source,omitempty"`
	Busy   float64  `json:"busy_seconds"` // of the whole device
}

// Where the joules of a GPUUse come from.
const (
	ByCounter = "counter"            // the device's counter, while nobody else used it
	ByShare   = "counter by use"     // the device's counter, divided by how busy each kept it
	ByPower   = "power over seconds" // there is no counter: what it drew at each look
)

// Enzymes is what is known of graphics processors on a machine and who has them.
type Enzymes struct {
	GPUs
	Grants []GPUGrant `json:"grants"`
	Uses   []GPUUse   `json:"uses"`
}

func unmarshal[T any](text string, err error) (v T, _ error) {
	if err == nil {
		err = json.Unmarshal([]byte(text), &v)
	}
	return v, err
}

// Inventory describes the driver, its devices and the processes on them.
func (g Gpu) Inventory(ctx context.Context) (GPUs, error) {
	return unmarshal[GPUs](g.inventory(ctx))
}

// Choose finds devices for a cell beside what live cells hold.
func (g Gpu) Choose(ctx context.Context, want GPUWant, held []GPUGrant) ([]GPUGrant, error) {
	w, err := json.Marshal(want)
	if err != nil {
		return nil, err
	}
	h, err := json.Marshal(held)
	if err != nil {
		return nil, err
	}
	return unmarshal[[]GPUGrant](g.choose(ctx, string(w), string(h)))
}

// Use says what each control group uses and has used.
func (g Gpu) Use(ctx context.Context) ([]GPUUse, error) {
	return unmarshal[[]GPUUse](g.use(ctx))
}

// Enzymes describes the graphics processors of the machine, and which cells have them.
func (m Manager) Enzymes(ctx context.Context) (Enzymes, error) {
	return unmarshal[Enzymes](m.enzymes(ctx))
}
