//go:build !cgo

package nvml

import (
	"errors"
	"time"

	"github.com/cell-network/cell/gpu"
	"github.com/cell-network/cell/sdk/api"
)

// Driver has no devices: this program was built without cgo.
type Driver struct{ Library string }

const without = "this cell-gpu was built without cgo, which NVIDIA's library needs"

// Inventory says why there is nothing.
func (*Driver) Inventory() (api.GPUs, error) { return api.GPUs{Problem: without}, nil }

// Sample has nothing to look at.
func (*Driver) Sample() ([]gpu.Sample, error) { return nil, nil }

// Limit is never called: nothing is granted.
func (*Driver) Limit(string, string, uint64) error { return errors.New(without) }

// Event has none.
func (*Driver) Event(time.Duration) (gpu.Event, error) { return gpu.Event{}, errors.New(without) }
