// Package gpu decides who gets which graphics processor, and counts what each uses. It knows devices and no vendor: a Driver tells what
// there is, and package nvml is the one for NVIDIA's.
package gpu

import (
	"time"

	"github.com/cell-network/cell/sdk/api"
)

// Driver is a vendor's. Its methods are called one at a time and may take as long as the vendor's library does, which may be for ever:
// see Guard.
type Driver interface {
	// Inventory describes driver and devices, without processes. Where nothing can be known, Problem says why and the error is nil.
	Inventory() (api.GPUs, error)
	// Sample reads what changes by the moment of each device.
	Sample() ([]Sample, error)
	// Limit bounds what a control group, by its directory, may have of a device's memory. It is called only where GPUs.Limits is set.
	Limit(uuid, cgroup string, bytes uint64) error
	// Event waits for the next fault of a device, at most so long; no UUID says that there was none.
	Event(wait time.Duration) (Event, error)
}

// Sample is a device at one moment.
type Sample struct {
	UUID      string
	At        time.Time
	Processes []Process
	Energy    *float64 // joules, since any point in the past
	Power     *float64 // watts
	Busy      *uint32  // percent of the time lately
}

// Process is what one has of a device.
type Process struct {
	api.GPUProcess
	Busy *uint32 // percent of the device, lately
}

// Event is a fault that a device's driver reported.
type Event struct {
	UUID string
	XID  uint64 // NVIDIA's number
	At   time.Time
}

// blameless are the faults that a program causes and the device survives (the list of NVIDIA's device plugin for Kubernetes).
var blameless = []uint64{13, 31, 43, 45, 68, 109}

// Fatal tells whether an event says something about the device and not only about a program on it.
func (e Event) Fatal() bool {
	for _, x := range blameless {
		if e.XID == x {
			return false
		}
	}
	return e.XID != 0
}

// Who finds out about the processes of this machine.
type Who interface {
	// Cgroup is the control group of a process, or empty when it is not to be seen.
	Cgroup(pid int) string
}

// Server answers what celld asks, over one or no driver.
type Server struct {
	driver *Guard
	who    Who
	meter  *Meter
	health *health
}

// NewServer makes one whose driver is waited for no longer than patience.
func NewServer(d Driver, who Who, patience time.Duration) *Server {
	return &Server{driver: NewGuard(d, patience), who: who, meter: NewMeter(), health: newHealth()}
}
