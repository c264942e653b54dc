package celld

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cell-network/cell/celld/unit"
)

// exchange replaces a pair whose definition changed, without refusing a caller. A service's definition cannot change
// while its socket lives, and the new pair needs the old one's name. So a bridge pair with the new definition opens on a
// path of its own and is renamed over the public one; the old pair finishes what it accepted and ends; the final pair
// takes the bridge's place in the same way.
func (s *Server) exchange(ctx context.Context, p unit.Pair) error {
	if err := (release{p.Manifest.Dir}).prepare(p.Name, s.LinkDir); err != nil {
		return err
	}
	public := unit.SocketPath(s.SocketDir, p.Name)
	bridge := p.Renamed(p.Name+unit.BridgeSuffix, public+".bridge")
	if err := s.close(ctx, bridge.Name); err != nil { // of an exchange that was cut off
		return err
	}
	if err := s.takeOver(ctx, bridge, public); err != nil {
		return err
	}
	// From here on the work is finished even when the caller goes: the name must not stay with the bridge.
	ctx, cancel := cleanUp(ctx)
	defer cancel()
	if err := s.retire(ctx, p.Name); err != nil {
		return err
	}
	if err := s.takeOver(ctx, p.Renamed(p.Name, public+".next"), public); err != nil {
		return err
	}
	s.recovered(p.Name)
	if err := s.retire(ctx, bridge.Name); err != nil {
		return err
	}
	return s.door(ctx, p)
}

// takeOver opens a pair, waits until it is ready and gives it the public path. A pair that fails leaves nothing behind
// and the public path as it was.
func (s *Server) takeOver(ctx context.Context, p unit.Pair, public string) error {
	err := s.openPair(ctx, p)
	if err == nil {
		err = s.start(ctx, p)
	}
	if err == nil {
		err = os.Rename(s.listensOn(ctx, p.Name), public)
	}
	if err == nil {
		return nil
	}
	clean, cancel := cleanUp(ctx)
	defer cancel()
	return errors.Join(err, s.closeUnits(clean, p.Name))
}

// retire ends a pair that lost the public path: first its service serves whom the backlog still holds.
func (s *Server) retire(ctx context.Context, name string) error {
	path := s.listensOn(ctx, name)
	for range 100 {
		n, err := backlog(path)
		if err != nil || n == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	// The service goes before its socket, so that a caller who was accepted is served to the end.
	err := s.stopUnits(ctx, unit.ServiceUnit(name), unit.SocketUnit(name), unit.ServiceUnit(name))
	s.gpus.forget(name)
	return err
}

// closeUnits stops all units of an instance and leaves the public path alone.
func (s *Server) closeUnits(ctx context.Context, name string) error {
	err := s.stopUnits(ctx, unit.All(name)...)
	s.gpus.forget(name)
	if err == nil {
		s.happened(name, "gone", "")
	}
	return err
}

func (s *Server) stopUnits(ctx context.Context, names ...string) error {
	for _, u := range names {
		if err := s.Systemd.Stop(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// backlog counts the connections that wait to be accepted: a connecting socket's peer shows in /proc/net/unix with the
// listener's path and, until accepted, without an inode of its own (0).
func backlog(path string) (int, error) {
	data, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return 0, fmt.Errorf("read the backlog of %s: %w", path, err)
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) == 8 && f[7] == path && f[6] == "0" {
			n++
		}
	}
	return n, nil
}
