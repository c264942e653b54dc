package celld

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cell-network/cell/celld/systemd"
	"github.com/cell-network/cell/celld/unit"
)

// doze puts a program to sleep that takes the socket but knows nothing of idleness: when for its idle time it had no
// connection and used next to no processor time, it is stopped; its socket wakes it again. Cells of the SDK
// do that themselves, so nothing here runs for them.
func (s *Server) doze(ctx context.Context, name string) {
	v, err := s.Systemd.One(ctx, unit.ServiceUnit(name), "Service", "Environment")
	if err != nil {
		return // it has gone again
	}
	env, _ := v.([]string)
	if limit := unit.DozeOf(env); limit > 0 {
		go s.watchIdle(ctx, name, limit)
	}
}

func (s *Server) watchIdle(ctx context.Context, name string, limit time.Duration) {
	every := min(max(limit/4, 250*time.Millisecond), 30*time.Second)
	tick := time.NewTicker(every)
	defer tick.Stop()
	path := s.listensOn(ctx, name)
	var pid uint32
	var used uint64
	idle := time.Now()
	for {
		st := systemd.State{Name: name}
		if err := s.Systemd.Detail(ctx, &st); err != nil || st.Service != "active" || pid != 0 && st.PID != pid {
			return
		}
		pid = st.PID
		open, err := connections(path)
		// A hundredth of the time is what a runtime's own housekeeping takes at most.
		if err != nil || open > 0 || st.CPU-used > uint64(every/100) {
			idle = time.Now()
		}
		used = st.CPU
		if time.Since(idle) >= limit && s.handedOver(ctx, name) > 0 { // asked late, as it costs the cell some work
			idle = time.Now()
		}
		if time.Since(idle) >= limit {
			if err := s.Systemd.Stop(ctx, unit.ServiceUnit(name)); err != nil {
				s.Log.Error("put to sleep", "cell", name, "error", err)
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// connections counts who is connected to a listener: the kernel names an accepted socket by its listener's path.
func connections(path string) (int, error) {
	data, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return 0, fmt.Errorf("count connections of %s: %w", path, err)
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 8 && f[7] == path && f[5] == "03" {
			n++
		}
	}
	return n, nil
}
