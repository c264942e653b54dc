package gpu

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cell-network/cell/sdk/api"
)

// Inventory describes the driver, its devices and the processes on them.
func (s *Server) Inventory() (api.GPUs, error) {
	all, err := s.driver.Inventory()
	if err != nil {
		return all, err
	}
	if all.Devices == nil {
		all.Devices = []api.GPU{}
	}
	samples, err := s.sample()
	if err != nil {
		return all, err
	}
	for i := range all.Devices {
		d := &all.Devices[i]
		for _, smp := range samples {
			if smp.UUID != d.UUID {
				continue
			}
			for _, p := range smp.Processes {
				d.Processes = append(d.Processes, p.GPUProcess)
			}
		}
		if why := s.health.of(d.UUID); d.Problem == "" {
			d.Problem = why
		}
	}
	return all, nil
}

// Choose finds devices for a cell.
func (s *Server) Choose(want api.GPUWant, held []api.GPUGrant) ([]api.GPUGrant, error) {
	all, err := s.Inventory()
	if err != nil {
		return nil, err
	}
	if all.Problem != "" && len(all.Devices) == 0 {
		return nil, &Error{Text: all.Problem}
	}
	return Choose(all.Devices, held, want)
}

// Use says what each control group uses and has used.
func (s *Server) Use() ([]api.GPUUse, error) {
	if _, err := s.sample(); err != nil {
		return nil, err
	}
	uses := s.meter.Uses()
	for i := range uses {
		uses[i].Cell = CellOf(uses[i].Cgroup)
	}
	return uses, nil
}

// Limit bounds what a control group, by its path, may have of a device's memory, where the driver can do that.
func (s *Server) Limit(uuid, cgroup string, bytes uint64) (enforced bool, err error) {
	if cgroup != filepath.Clean("/"+cgroup) || cgroup == "/" {
		return false, fmt.Errorf("%q is no control group", cgroup)
	}
	all, err := s.driver.Inventory()
	if err != nil || !all.Limits {
		return false, err
	}
	if err := s.driver.Limit(uuid, filepath.Join("/sys/fs/cgroup", cgroup), bytes); err != nil {
		return false, err
	}
	return true, nil
}

// sample looks at all devices and adds what it sees up.
func (s *Server) sample() ([]Sample, error) {
	all, err := s.driver.Sample()
	if err != nil {
		return nil, err
	}
	for i := range all {
		for j := range all[i].Processes {
			p := &all[i].Processes[j]
			p.Cgroup = s.who.Cgroup(p.PID)
			p.Cell = CellOf(p.Cgroup)
		}
		s.meter.Add(all[i])
	}
	return all, nil
}

// Watch looks at the devices again and again, which is what measures, and listens to their faults, until ctx ends. tell is told of a
// fault, and of the driver as it stops answering.
func (s *Server) Watch(ctx context.Context, every time.Duration, tell func(what string, args ...any)) {
	go s.listen(ctx, tell)
	t := time.NewTicker(every)
	defer t.Stop()
	bad := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		_, err := s.sample()
		now := ""
		if err != nil {
			now = fmt.Sprintf("%T", err) // its text has the time in it
			if now != bad {
				tell("the devices cannot be looked at", "error", err)
			}
		} else if bad != "" {
			tell("the devices can be looked at again")
		}
		bad = now
	}
}

// listen waits for faults. It calls the driver beside all others, which waiting for events is made for.
func (s *Server) listen(ctx context.Context, tell func(what string, args ...any)) {
	const longest = time.Minute
	wait := time.Second
	for ctx.Err() == nil {
		e, err := s.driver.driver.Event(5 * time.Second)
		if err == nil {
			wait = time.Second
		}
		switch {
		case err != nil: // the driver has not been asked anything yet, is gone, or tells of no faults
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
			wait = min(2*wait, longest)
		case e.UUID != "":
			s.health.note(e)
			tell("fault of a device", "uuid", e.UUID, "xid", e.XID, "fatal", e.Fatal())
		}
	}
}

// Busy tells whether there are processes on any device.
func (s *Server) Busy() bool { return s.meter.anybody() }

func (m *Meter) anybody() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.last {
		if len(groups(s)) > 0 {
			return true
		}
	}
	return false
}

// health is what devices' faults say of them.
type health struct {
	mu  sync.Mutex
	bad map[string]string
}

func newHealth() *health { return &health{bad: map[string]string{}} }

func (h *health) note(e Event) {
	if !e.Fatal() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bad[e.UUID] = fmt.Sprintf("fault %d of the device (XID) at %s; it is granted to nobody until cell-gpu starts anew", e.XID, e.At.Format("15:04:05"))
}

func (h *health) of(uuid string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bad[uuid]
}

// CellOf is the instance whose unit a control group is, or is below; a bridge is the instance that it stands for. Empty is none.
func CellOf(cgroup string) string {
	for part := range strings.SplitSeq(cgroup, "/") {
		if name, ok := strings.CutPrefix(part, "cell@"); ok && strings.HasSuffix(name, ".service") {
			return strings.TrimSuffix(strings.TrimSuffix(name, ".service"), ":bridge")
		}
	}
	return ""
}
