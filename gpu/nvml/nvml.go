//go:build cgo

package nvml

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/cell-network/cell/gpu"
	"github.com/cell-network/cell/internal/pci"
	"github.com/cell-network/cell/sdk/api"
)

// Driver asks NVIDIA's library. But for Event its methods are called one at a time.
type Driver struct {
	Library string // path of libnvidia-ml; empty: libnvidia-ml.so.1 wherever the loader finds it

	mu     sync.Mutex
	lib    nvml.Interface // loaded and initialised, or nil
	events nvml.EventSet  // or nil
	known  map[int]api.GPU
	seen   map[string]uint64 // by UUID: the time stamp of the last sample of how busy processes are
}

// symbols are the names of each function that is called, the newest first: a library has one of them, or lacks the function.
var symbols = map[string][]string{
	"Count":         {"nvmlDeviceGetCount_v2", "nvmlDeviceGetCount"},
	"Handle":        {"nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex"},
	"UUID":          {"nvmlDeviceGetUUID"},
	"HandleByUUID":  {"nvmlDeviceGetHandleByUUID"},
	"Name":          {"nvmlDeviceGetName"},
	"Memory":        {"nvmlDeviceGetMemoryInfo"},
	"Minor":         {"nvmlDeviceGetMinorNumber"},
	"PCI":           {"nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo_v2", "nvmlDeviceGetPciInfo"},
	"DriverVersion": {"nvmlSystemGetDriverVersion"},
	"CUDA":          {"nvmlSystemGetCudaDriverVersion"},
	"NVMLVersion":   {"nvmlSystemGetNVMLVersion"},
	"MIG":           {"nvmlDeviceGetMigMode"},
	"MIGHandle":     {"nvmlDeviceGetMigDeviceHandleByIndex"},
	"MIGCount":      {"nvmlDeviceGetMaxMigDeviceCount"},
	"GPUInstance":   {"nvmlDeviceGetGpuInstanceId"},
	"Compute":       {"nvmlDeviceGetComputeInstanceId"},
	"Temperature":   {"nvmlDeviceGetTemperature"},
	"Power":         {"nvmlDeviceGetPowerUsage"},
	"PowerLimit":    {"nvmlDeviceGetEnforcedPowerLimit"},
	"Energy":        {"nvmlDeviceGetTotalEnergyConsumption"},
	"Clock":         {"nvmlDeviceGetClockInfo"},
	"Utilization":   {"nvmlDeviceGetUtilizationRates"},
	"Processes":     {"nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2", "nvmlDeviceGetComputeRunningProcesses"},
	"Graphics":      {"nvmlDeviceGetGraphicsRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v2", "nvmlDeviceGetGraphicsRunningProcesses"},
	"MPS":           {"nvmlDeviceGetMPSComputeRunningProcesses_v3", "nvmlDeviceGetMPSComputeRunningProcesses_v2", "nvmlDeviceGetMPSComputeRunningProcesses"},
	"ProcessBusy":   {"nvmlDeviceGetProcessUtilization"},
	"Topology":      {"nvmlDeviceGetTopologyCommonAncestor"},
	"P2P":           {"nvmlDeviceGetP2PStatus"},
	"Events":        {"nvmlEventSetCreate"},
	"SetLimits":     {"nvmlDeviceSetMemoryLimits_v1"},
	"GetLimits":     {"nvmlDeviceGetMemoryLimits_v1"},
}

// has tells whether the library has a function.
func (d *Driver) has(what string) bool {
	names, ok := symbols[what]
	if !ok {
		panic("no symbol " + what)
	}
	return slices.ContainsFunc(names, func(n string) bool { return d.lib.Extensions().LookupSymbol(n) == nil })
}

// missing are the newest names of the functions that the library lacks.
func (d *Driver) missing() (out []string) {
	for what, names := range symbols {
		if !d.has(what) {
			out = append(out, names[0])
		}
	}
	slices.Sort(out)
	return out
}

// open loads the library, or says why there is nothing.
func (d *Driver) open() (problem string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lib != nil {
		return ""
	}
	var options []nvml.LibraryOption
	if d.Library != "" {
		options = append(options, nvml.WithLibraryPath(d.Library))
	}
	lib := nvml.New(options...)
	switch ret := lib.Init(); ret {
	case nvml.SUCCESS:
		d.lib = lib
		return ""
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		if pci.NVIDIA() {
			return "an NVIDIA device is there, and its driver's library libnvidia-ml.so.1 is not; install the driver"
		}
		return "no NVIDIA device is there"
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return "NVIDIA's kernel driver is not loaded; modprobe nvidia, or install the driver for this kernel"
	case nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return "NVIDIA's driver was upgraded and the kernel still runs the old one; reboot"
	case nvml.ERROR_NO_PERMISSION:
		return "NVIDIA's device files may not be opened"
	default:
		return "NVIDIA's library does not start: " + text(ret)
	}
}

// text is what the library says of an error, or its number where it has not been loaded.
func text(ret nvml.Return) string { return strings.ToLower(strings.TrimSpace(ret.Error())) }

// gone tells whether a result means that the driver is not the one that was opened.
func gone(ret nvml.Return) bool {
	return ret == nvml.ERROR_UNINITIALIZED || ret == nvml.ERROR_DRIVER_NOT_LOADED || ret == nvml.ERROR_LIB_RM_VERSION_MISMATCH
}

// reopen makes the next call initialise the library anew. It is not shut down before: Event may be in it.
func (d *Driver) reopen() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lib, d.events = nil, nil
}

// devices are those of the driver, by index; one that is lost has no handle and is what it was.
func (d *Driver) devices(each func(index int, h nvml.Device, ret nvml.Return)) error {
	n, ret := d.lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		if gone(ret) {
			d.reopen()
		}
		return fmt.Errorf("count the devices: %s", text(ret))
	}
	for i := range n {
		h, ret := d.lib.DeviceGetHandleByIndex(i)
		each(i, h, ret)
	}
	return nil
}

// Inventory describes driver and devices.
func (d *Driver) Inventory() (api.GPUs, error) {
	if problem := d.open(); problem != "" {
		return api.GPUs{Problem: problem}, nil
	}
	out := api.GPUs{Missing: d.missing(), Devices: []api.GPU{}}
	for _, needed := range []string{"Count", "Handle", "UUID", "Name", "Memory", "Minor"} {
		if !d.has(needed) {
			out.Problem = "NVIDIA's library lacks " + symbols[needed][0]
			return out, nil
		}
	}
	if d.has("DriverVersion") {
		out.Driver, _ = d.lib.SystemGetDriverVersion()
	}
	if d.has("NVMLVersion") {
		out.Library, _ = d.lib.SystemGetNVMLVersion()
	}
	if d.has("CUDA") {
		if v, ret := d.lib.SystemGetCudaDriverVersion(); ret == nvml.SUCCESS {
			out.CUDA = fmt.Sprintf("%d.%d", v/1000, v%1000/10)
		}
	}
	out.Limits = d.has("SetLimits") && d.has("GetLimits")
	if d.known == nil {
		d.known = map[int]api.GPU{}
	}
	handles := map[int]nvml.Device{}
	err := d.devices(func(i int, h nvml.Device, ret nvml.Return) {
		g, bad := api.GPU{}, ret
		if ret == nvml.SUCCESS {
			g, bad = d.describe(i, h)
		}
		if bad != nvml.SUCCESS {
			g = d.known[i]
			g.Index, g.Vendor, g.Problem = i, "NVIDIA", "the driver has lost it: "+text(bad)
			if bad != nvml.ERROR_GPU_IS_LOST && bad != nvml.ERROR_RESET_REQUIRED {
				g.Problem = "the driver does not describe it: " + text(bad)
			}
			g.Used, g.Temperature, g.Power, g.Energy, g.ClockSM, g.ClockMemory, g.Busy = nil, nil, nil, nil, nil, nil, nil
		} else {
			d.known[i], handles[i] = g, h
		}
		out.Devices = append(out.Devices, g)
	})
	if err != nil {
		return api.GPUs{Problem: err.Error()}, nil
	}
	d.near(out.Devices, handles)
	return out, nil
}

// describe reads a device. A value that the driver does not tell stays unknown; only without its identity it is none.
func (d *Driver) describe(i int, h nvml.Device) (g api.GPU, ret nvml.Return) {
	g = api.GPU{Index: i, Vendor: "NVIDIA"}
	if g.UUID, ret = h.GetUUID(); ret != nvml.SUCCESS {
		return g, ret
	}
	if g.Name, ret = h.GetName(); ret != nvml.SUCCESS {
		return g, ret
	}
	memory, ret := h.GetMemoryInfo()
	if ret != nvml.SUCCESS {
		return g, ret
	}
	g.Memory, g.Used = memory.Total, &memory.Used
	minor, ret := h.GetMinorNumber()
	if ret != nvml.SUCCESS {
		return g, ret
	}
	g.Nodes = nodes(minor)
	if d.has("PCI") {
		if p, ret := h.GetPciInfo(); ret == nvml.SUCCESS {
			g.PCI = fmt.Sprintf("%04x:%02x:%02x.0", p.Domain, p.Bus, p.Device)
		}
	}
	for _, n := range g.Nodes {
		if _, err := os.Stat(n); err != nil {
			g.Problem = n + " is missing; nvidia-modprobe -u -c " + strconv.Itoa(minor) + " makes it"
		}
	}
	d.moment(&g, h)
	d.slices(&g, h, minor)
	return g, nvml.SUCCESS
}

// moment reads what changes.
func (d *Driver) moment(g *api.GPU, h nvml.Device) {
	if d.has("Temperature") {
		g.Temperature = told(h.GetTemperature(nvml.TEMPERATURE_GPU))
	}
	if d.has("Power") {
		g.Power = scaled(h.GetPowerUsage())
	}
	if d.has("PowerLimit") {
		g.PowerLimit = scaled(h.GetEnforcedPowerLimit())
	}
	if d.has("Energy") {
		g.Energy = scaled(h.GetTotalEnergyConsumption())
	}
	if d.has("Clock") {
		g.ClockSM = told(h.GetClockInfo(nvml.CLOCK_SM))
		g.ClockMemory = told(h.GetClockInfo(nvml.CLOCK_MEM))
	}
	if d.has("Utilization") {
		if u, ret := h.GetUtilizationRates(); ret == nvml.SUCCESS && u.Gpu <= 100 {
			g.Busy = &u.Gpu
		}
	}
}

// told is a value, or nil where the driver does not tell it.
func told[T any](v T, ret nvml.Return) *T {
	if ret != nvml.SUCCESS {
		return nil
	}
	return &v
}

// scaled turns thousandths into whole ones.
func scaled[T uint32 | uint64](v T, ret nvml.Return) *float64 {
	if ret != nvml.SUCCESS {
		return nil
	}
	f := float64(v) / 1000
	return &f
}

// nodes are the device files that a program needs to compute on the device with that minor number.
func nodes(minor int) []string {
	return []string{"/dev/nvidia" + strconv.Itoa(minor), "/dev/nvidiactl", "/dev/nvidia-uvm"}
}

// slices reads the parts of a divided device that can be used: those with one compute instance, as nvidia-smi makes them with -C.
func (d *Driver) slices(g *api.GPU, h nvml.Device, minor int) {
	if !d.has("MIG") {
		return
	}
	mode, _, ret := h.GetMigMode()
	if ret != nvml.SUCCESS {
		return
	}
	if mode != nvml.DEVICE_MIG_ENABLE {
		g.MIG = "off"
		return
	}
	g.MIG = "on"
	d.eachSlice(h, func(s nvml.Device, gi, ci int) {
		uuid, ret := s.GetUUID()
		if ret != nvml.SUCCESS {
			return
		}
		memory, ret := s.GetMemoryInfo()
		if ret != nvml.SUCCESS {
			return
		}
		name, _ := s.GetName() // "NVIDIA H200 MIG 1g.18gb"
		if _, profile, ok := strings.Cut(name, "MIG "); ok {
			name = profile
		}
		slice := api.Slice{UUID: uuid, Name: name, Memory: memory.Total, Nodes: nodes(minor)}
		caps, err := capabilities("/proc/driver/nvidia-caps/mig-minors", minor, gi, ci)
		if err != nil {
			g.Problem = err.Error() // who got it without could not use it
		}
		slice.Nodes = append(slice.Nodes, caps...)
		g.Slices = append(g.Slices, slice)
	})
}

func (d *Driver) eachSlice(h nvml.Device, each func(s nvml.Device, gi, ci int)) {
	if !d.has("MIGCount") || !d.has("MIGHandle") || !d.has("GPUInstance") || !d.has("Compute") {
		return
	}
	n, ret := h.GetMaxMigDeviceCount()
	if ret != nvml.SUCCESS {
		return
	}
	for i := range n {
		s, ret := h.GetMigDeviceHandleByIndex(i)
		if ret != nvml.SUCCESS {
			continue // there is none with that number
		}
		gi, ret1 := s.GetGpuInstanceId()
		ci, ret2 := s.GetComputeInstanceId()
		if ret1 == nvml.SUCCESS && ret2 == nvml.SUCCESS {
			each(s, gi, ci)
		}
	}
}

// capabilities are the files that open a slice, from lines such as "gpu0/gi1/access 12" and "gpu0/gi1/ci0/access 13".
func capabilities(file string, minor, gi, ci int) ([]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("which files open a slice is not known: %w", err)
	}
	want := []string{fmt.Sprintf("gpu%d/gi%d/access", minor, gi), fmt.Sprintf("gpu%d/gi%d/ci%d/access", minor, gi, ci)}
	out := make([]string, len(want))
	for line := range strings.Lines(string(b)) {
		what, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		if i := slices.Index(want, what); i >= 0 {
			n, err := strconv.ParseUint(number, 10, 20)
			if err != nil {
				return nil, fmt.Errorf("%s: %q", file, line)
			}
			out[i] = filepath.Join("/dev/nvidia-caps", "nvidia-cap"+strconv.FormatUint(n, 10))
		}
	}
	if i := slices.Index(out, ""); i >= 0 {
		return nil, fmt.Errorf("%s does not name %s", file, want[i])
	}
	return out, nil
}

// near says how far devices are from one another: 1 over NVLink, else how far up the nearest thing is that both hang from, 10 to 50.
func (d *Driver) near(all []api.GPU, handles map[int]nvml.Device) {
	if len(handles) < 2 || !d.has("Topology") {
		return
	}
	for i := range all {
		for j := range all {
			a, b := handles[all[i].Index], handles[all[j].Index]
			if i == j || a == nil || b == nil {
				continue
			}
			level, ret := a.GetTopologyCommonAncestor(b)
			if ret != nvml.SUCCESS {
				continue
			}
			far := int(level) + 10
			if d.has("P2P") {
				if status, ret := a.GetP2PStatus(b, nvml.P2P_CAPS_INDEX_NVLINK); ret == nvml.SUCCESS && status == nvml.P2P_STATUS_OK {
					far = 1
				}
			}
			if all[i].Near == nil {
				all[i].Near = map[string]int{}
			}
			all[i].Near[all[j].UUID] = far
		}
	}
}

// notTold is how the library says that it does not know a process's memory.
const notTold = ^uint64(0)

// Sample reads what changes by the moment.
func (d *Driver) Sample() ([]gpu.Sample, error) {
	if d.open() != "" || !d.has("Count") || !d.has("Handle") || !d.has("UUID") {
		return nil, nil // Inventory says why
	}
	if d.seen == nil {
		d.seen = map[string]uint64{}
	}
	var out []gpu.Sample
	err := d.devices(func(_ int, h nvml.Device, ret nvml.Return) {
		if ret != nvml.SUCCESS {
			return
		}
		uuid, ret := h.GetUUID()
		if ret != nvml.SUCCESS {
			return
		}
		var g api.GPU
		d.moment(&g, h)
		s := gpu.Sample{UUID: uuid, At: time.Now(), Energy: g.Energy, Power: g.Power, Busy: g.Busy, Processes: d.processes(h)}
		d.busy(&s, h)
		out = append(out, s)
	})
	if err != nil {
		return nil, nil // Inventory says why
	}
	return out, nil
}

func (d *Driver) processes(h nvml.Device) (out []gpu.Process) {
	slice := map[[2]uint32]string{}
	if d.has("MIG") {
		if mode, _, ret := h.GetMigMode(); ret == nvml.SUCCESS && mode == nvml.DEVICE_MIG_ENABLE {
			d.eachSlice(h, func(s nvml.Device, gi, ci int) {
				if uuid, ret := s.GetUUID(); ret == nvml.SUCCESS {
					slice[[2]uint32{uint32(gi), uint32(ci)}] = uuid
				}
			})
		}
	}
	for _, kind := range []struct {
		symbol, name string
		list         func() ([]nvml.ProcessInfo, nvml.Return)
	}{
		{"MPS", "mps", h.GetMPSComputeRunningProcesses}, {"Processes", "compute", h.GetComputeRunningProcesses}, {"Graphics", "graphics", h.GetGraphicsRunningProcesses},
	} {
		if !d.has(kind.symbol) {
			continue
		}
		list, ret := kind.list()
		if ret != nvml.SUCCESS {
			continue
		}
		for _, p := range list {
			i := slices.IndexFunc(out, func(q gpu.Process) bool { return q.PID == int(p.Pid) })
			if i >= 0 {
				continue // it computes and draws: it is told of twice
			}
			q := gpu.Process{GPUProcess: api.GPUProcess{PID: int(p.Pid), Kind: kind.name, Slice: slice[[2]uint32{p.GpuInstanceId, p.ComputeInstanceId}]}}
			if m := p.UsedGpuMemory; m != notTold {
				q.Memory = &m
			}
			out = append(out, q)
		}
	}
	slices.SortFunc(out, func(a, b gpu.Process) int { return cmp.Compare(a.PID, b.PID) })
	return out
}

// busy adds how busy each process keeps the device, from the samples that are new.
func (d *Driver) busy(s *gpu.Sample, h nvml.Device) {
	if !d.has("ProcessBusy") || len(s.Processes) < 2 {
		return // all of it is the one's
	}
	list, ret := h.GetProcessUtilization(d.seen[s.UUID])
	if ret != nvml.SUCCESS { // NOT_FOUND: nothing has run since
		return
	}
	newest := map[uint32]uint64{}
	for _, u := range list {
		if u.TimeStamp <= newest[u.Pid] || u.SmUtil > 100 { // some drivers return leftovers
			continue
		}
		newest[u.Pid] = u.TimeStamp
		d.seen[s.UUID] = max(d.seen[s.UUID], u.TimeStamp)
		for i := range s.Processes {
			if s.Processes[i].PID == int(u.Pid) {
				v := u.SmUtil
				s.Processes[i].Busy = &v
			}
		}
	}
}

// Limit bounds what a control group may have of a device's memory (NVML 13.4), and reads it back.
func (d *Driver) Limit(uuid, cgroup string, bytes uint64) error {
	if problem := d.open(); problem != "" {
		return errors.New(problem)
	}
	if !d.has("HandleByUUID") || !d.has("SetLimits") || !d.has("GetLimits") {
		return errors.New("this driver bounds no memory")
	}
	h, ret := d.lib.DeviceGetHandleByUUID(uuid)
	if ret != nvml.SUCCESS {
		return fmt.Errorf("find %s: %s", uuid, text(ret))
	}
	if ret := h.SetMemoryLimits_v1(cgroup, 0, bytes); ret != nvml.SUCCESS {
		return fmt.Errorf("limit the memory of %s: %s", uuid, text(ret))
	}
	l, ret := h.GetMemoryLimits_v1(cgroup)
	if ret != nvml.SUCCESS {
		return fmt.Errorf("read the limit of %s back: %s", uuid, text(ret))
	}
	if l.HardLimit != bytes {
		return fmt.Errorf("limit the memory of %s: the driver took %d bytes for %d", uuid, l.HardLimit, bytes)
	}
	return nil
}

// Event waits for a fault.
func (d *Driver) Event(wait time.Duration) (gpu.Event, error) {
	set, err := d.eventSet()
	if err != nil {
		return gpu.Event{}, err
	}
	e, ret := set.Wait(uint32(wait.Milliseconds()))
	switch {
	case ret == nvml.ERROR_TIMEOUT:
		return gpu.Event{}, nil
	case ret != nvml.SUCCESS:
		return gpu.Event{}, fmt.Errorf("wait for faults: %s", text(ret))
	case e.EventType != nvml.EventTypeXidCriticalError:
		return gpu.Event{}, nil
	}
	uuid, ret := e.Device.GetUUID()
	if ret != nvml.SUCCESS {
		// It has gone so far that it does not say who it is: Inventory finds the one that is lost.
		return gpu.Event{}, nil
	}
	return gpu.Event{UUID: uuid, XID: e.EventData, At: time.Now()}, nil
}

// eventSet subscribes to the faults of all devices, once.
func (d *Driver) eventSet() (nvml.EventSet, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.lib == nil:
		return nil, errors.New("the library is not loaded")
	case d.events != nil:
		return d.events, nil
	case !d.has("Events"):
		return nil, errors.New("this driver tells of no faults")
	}
	set, ret := d.lib.EventSetCreate()
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("subscribe to faults: %s", text(ret))
	}
	n, _ := d.lib.DeviceGetCount()
	for i := range n {
		if h, ret := d.lib.DeviceGetHandleByIndex(i); ret == nvml.SUCCESS {
			h.RegisterEvents(nvml.EventTypeXidCriticalError, set)
		}
	}
	d.events = set
	return set, nil
}
