package bus

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/internal/pci"
	"github.com/cell-network/cell/sdk/api"
)

// GPUs is cell-gpu on the bus, which starts it where there is something for it.
type GPUs struct{ api.Gpu }

// There tells whether the machine has a device that cell-gpu knows, or a stand-in for its driver.
func (GPUs) There() bool { return os.Getenv("CELL_NVML") != "" || pci.NVIDIA() }

// answering is how long cell-gpu is waited for: it waits for its driver for a shorter time, and says so.
const answering = time.Minute

// Inventory is Gpu.Inventory.
func (g GPUs) Inventory(ctx context.Context) (api.GPUs, error) {
	ctx, cancel := context.WithTimeout(ctx, answering)
	defer cancel()
	return g.Gpu.Inventory(ctx)
}

// Choose is Gpu.Choose.
func (g GPUs) Choose(ctx context.Context, want api.GPUWant, held []api.GPUGrant) ([]api.GPUGrant, error) {
	ctx, cancel := context.WithTimeout(ctx, answering)
	defer cancel()
	return g.Gpu.Choose(ctx, want, held)
}

// Use is Gpu.Use.
func (g GPUs) Use(ctx context.Context) ([]api.GPUUse, error) {
	ctx, cancel := context.WithTimeout(ctx, answering)
	defer cancel()
	return g.Gpu.Use(ctx)
}

// Enzymes is open to everybody who may talk to celld.
func (m *manager) Enzymes() (string, *dbus.Error) {
	all, err := m.srv.Enzymes(m.ctx)
	if err != nil {
		return "", fail(err)
	}
	text, err := json.Marshal(all)
	return string(text), fail(err)
}
