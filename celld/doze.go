package celld

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cell-network/cell/celld/systemd"
	"github.com/cell-network/cell/celld/unit"
)

// doze puts a program to sleep that takes the socket but knows nothing of idleness: when for its idle time it had no
// connection and used next to no processor time, it is stopped; its socket wakes it again. Cells of the SDK and proxies
// do that themselves, so nothing here runs for them.
func (s *Server) doze(ctx context.Context, name string) {
	_, r, err := s.rootOf(name)
	if err != nil {
		return
	}
	f, err := s.load(r.Dir)
	if err != nil {
		return
	}
	p, ok := f.pairs[name]
	if !ok || p.Manifest.Speaks == "cell" || p.Program != nil || p.Manifest.Life.Warm || p.Manifest.Life.IdleTimeout == 0 {
		return
	}
	go s.watchIdle(ctx, p)
}

func (s *Server) watchIdle(ctx context.Context, p unit.Pair) {
	limit := p.Manifest.Life.IdleTimeout
	every := min(max(limit/4, 250*time.Millisecond), 30*time.Second)
	tick := time.NewTicker(every)
	defer tick.Stop()
	path := s.listensOn(ctx, p.Name)
	var pid uint32
	var used uint64
	idle := time.Now()
	for {
		st := systemd.State{Name: p.Name}
		if err := s.Systemd.Detail(ctx, &st); err != nil || st.Service != "active" || pid != 0 && st.PID != pid {
			return
		}
		pid = st.PID
		open, err := connections(path, p.Manifest.Net.Publish)
		// A hundredth of the time is what a runtime's own housekeeping takes at most.
		if err != nil || open > 0 || st.CPU-used > uint64(every/100) {
			idle = time.Now()
		}
		used = st.CPU
		if time.Since(idle) >= limit {
			if err := s.Systemd.Stop(ctx, unit.ServiceUnit(p.Name)); err != nil {
				s.Log.Error("put to sleep", "cell", p.Name, "error", err)
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

// connections counts who is connected to a listener: its Unix socket by path, its doors by local port.
func connections(path string, publish []string) (int, error) {
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
	if len(publish) == 0 {
		return n, nil
	}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			continue // a kernel without that family has no such connections
		}
		n += established(string(data), publish)
	}
	return n, nil
}

// established counts connections in the kernel's table whose local port is one of publish.
func established(table string, publish []string) int {
	n := 0
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != "01" {
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		if err != nil {
			continue
		}
		for _, a := range publish {
			if strings.HasSuffix(a, ":"+strconv.FormatUint(port, 10)) {
				n++
			}
		}
	}
	return n
}
