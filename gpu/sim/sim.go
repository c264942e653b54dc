// Package sim is a driver of devices that are not there, with all that goes wrong with real ones. It is for tests.
package sim

import (
	"fmt"
	"sync"
	"time"

	"github.com/cell-network/cell/gpu"
	"github.com/cell-network/cell/sdk/api"
)

// Driver has the devices that it is given. Its clock is moved by hand.
type Driver struct {
	mu     sync.Mutex
	all    api.GPUs
	on     map[string][]gpu.Process
	drawn  map[string]float64 // joules
	watts  map[string]float64
	silent map[string]bool // no counter of energy
	now    time.Time
	hang   chan struct{}
	events chan gpu.Event
}

// New makes one with devices.
func New(devices ...api.GPU) *Driver {
	return &Driver{
		all: api.GPUs{Driver: "sim", Devices: devices}, on: map[string][]gpu.Process{}, drawn: map[string]float64{}, watts: map[string]float64{},
		silent: map[string]bool{}, now: time.Unix(1_700_000_000, 0), events: make(chan gpu.Event, 16),
	}
}

// Device is one with so many GiB.
func Device(index int, gib uint64) api.GPU {
	return api.GPU{
		UUID: fmt.Sprintf("GPU-%d", index), Name: "Sim", Vendor: "nobody", Index: index, Memory: gib << 30,
		Nodes: []string{fmt.Sprintf("/dev/sim%d", index), "/dev/simctl"},
	}
}

// Run puts a process on a device.
func (d *Driver) Run(uuid string, p gpu.Process) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.on[uuid] = append(d.on[uuid], p)
}

// End takes a process from all devices.
func (d *Driver) End(pid int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for uuid, list := range d.on {
		var rest []gpu.Process
		for _, p := range list {
			if p.PID != pid {
				rest = append(rest, p)
			}
		}
		d.on[uuid] = rest
	}
}

// Draw sets what a device draws from now on, in watts; counted says whether its driver counts the energy.
func (d *Driver) Draw(uuid string, watts float64, counted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watts[uuid], d.silent[uuid] = watts, !counted
}

// Pass lets time go by.
func (d *Driver) Pass(t time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(t)
	for uuid, w := range d.watts {
		d.drawn[uuid] += w * t.Seconds()
	}
}

// Reload is the driver loaded anew: counters begin at 0.
func (d *Driver) Reload() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.drawn)
}

// Hang makes all calls wait until the function that it returns is called.
func (d *Driver) Hang() (free func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	hang := make(chan struct{})
	d.hang = hang
	return func() {
		d.mu.Lock()
		d.hang = nil
		d.mu.Unlock()
		close(hang)
	}
}

// Fault reports one.
func (d *Driver) Fault(uuid string, xid uint64) {
	d.events <- gpu.Event{UUID: uuid, XID: xid, At: d.now}
}

// Lose makes a device fall off its bus.
func (d *Driver) Lose(uuid, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.all.Devices {
		if d.all.Devices[i].UUID == uuid {
			d.all.Devices[i].Problem = why
		}
	}
}

func (d *Driver) wait() {
	d.mu.Lock()
	hang := d.hang
	d.mu.Unlock()
	if hang != nil {
		<-hang
	}
}

// Inventory is of the devices that it was given.
func (d *Driver) Inventory() (api.GPUs, error) {
	d.wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.all
	all.Devices = append([]api.GPU{}, all.Devices...)
	return all, nil
}

// Sample is at its own time.
func (d *Driver) Sample() ([]gpu.Sample, error) {
	d.wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []gpu.Sample
	for _, dev := range d.all.Devices {
		watts, busy := d.watts[dev.UUID], uint32(50)
		s := gpu.Sample{UUID: dev.UUID, At: d.now, Power: &watts, Busy: &busy, Processes: append([]gpu.Process{}, d.on[dev.UUID]...)}
		if !d.silent[dev.UUID] {
			j := d.drawn[dev.UUID]
			s.Energy = &j
		}
		out = append(out, s)
	}
	return out, nil
}

// Limit is not supported.
func (d *Driver) Limit(string, string, uint64) error { return fmt.Errorf("not supported") }

// Event gives what Fault was told.
func (d *Driver) Event(wait time.Duration) (gpu.Event, error) {
	select {
	case e := <-d.events:
		return e, nil
	case <-time.After(wait):
		return gpu.Event{}, nil
	}
}
