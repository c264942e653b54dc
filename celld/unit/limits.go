package unit

import (
	"math"

	"github.com/cell-network/cell/sdk/manifest"
)

// infinity is how systemd writes "no limit".
const infinity = uint64(math.MaxUint64)

type deviceLimit struct {
	Path  string
	Bytes uint64
}

// Limits are the resource controls of n equal processes of a cell. All are named, also those without a limit, so that
// setting them in place takes an old limit away.
func Limits(m *manifest.Manifest, n int) []Property {
	r, times := m.Resources, uint64(max(1, n))
	limit := func(v int64) uint64 {
		if v <= 0 {
			return infinity
		}
		return uint64(v) * times
	}
	swap, cpu := infinity, infinity
	if r.MemoryMax > 0 {
		swap = 0 // memory.max without this only moves the excess to the swap
	}
	if r.CPUMax > 0 {
		cpu = uint64(r.CPUMax * float64(times) * 1e6)
	}
	props := []Property{
		prop("MemoryMax", limit(r.MemoryMax)),
		prop("MemorySwapMax", swap),
		prop("MemoryLow", uint64(r.MemoryMin)*times),
		prop("CPUQuotaPerSecUSec", cpu),
		prop("TasksMax", limit(int64(r.Tasks))),
	}
	weight := infinity
	if r.IOWeight > 0 {
		weight = uint64(r.IOWeight)
	}
	props = append(props, prop("IOWeight", weight))
	for _, io := range []struct {
		name string
		max  int64
	}{{"IOReadBandwidthMax", r.IORead}, {"IOWriteBandwidthMax", r.IOWrite}} {
		list := []deviceLimit{}
		if io.max > 0 {
			// systemd resolves a directory to the device that holds it.
			list = append(list, deviceLimit{m.Dir, uint64(io.max) * times})
		}
		props = append(props, prop(io.name, list))
	}
	return props
}
