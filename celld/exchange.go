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
	if err := s.retire(ctx, p, p.Name); err != nil {
		return err
	}
	if err := s.takeOver(ctx, p.Renamed(p.Name, public+".next"), public); err != nil {
		return err
	}
	s.recovered(p.Name)
	if err := s.retire(ctx, p, bridge.Name); err != nil {
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

// retire ends the pair name of p that lost the public path: first its service serves whom the backlog still holds. A program of the SDK
// then answers all that it has accepted before it ends. Of another that is not known, so it gets a moment to do so.
func (s *Server) retire(ctx context.Context, p unit.Pair, name string) error {
	path := s.listensOn(ctx, name)
	if err := await(ctx, 2*time.Second, func() bool {
		n, err := backlog(path)
		return err != nil || n == 0
	}); err != nil {
		return err
	}
	if p.Manifest.Speaks != "cell" {
		if err := await(ctx, lastAnswers, func() bool {
			n, err := connections(path)
			return err != nil || n == 0 && s.handedOver(ctx, name) == 0
		}); err != nil {
			return err
		}
	}
	// The service goes before its socket, so that a caller who was accepted is served to the end.
	err := s.stopUnits(ctx, unit.ServiceUnit(name), unit.SocketUnit(name), unit.ServiceUnit(name))
	s.gpus.forget(name)
	return err
}

// lastAnswers is how long a program may take for them. A connection that its caller keeps takes all of it.
const lastAnswers = time.Second

// await waits until something holds, or for so long; its error is the context's.
func await(ctx context.Context, patience time.Duration, holds func() bool) error {
	for end := time.Now().Add(patience); !holds() && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
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
