package celld

import (
	"context"
	"net"
	"os"
	"time"

	"github.com/cell-network/cell/celld/systemd"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/api"
)

// Own connects a cell to itself, which neither wakes nor asks anybody: what checks its health runs beside it.
func (s *Server) Own(ctx context.Context, who Caller) (*os.File, error) {
	if who.Cell == "" || who.Node != "" {
		return nil, failure(api.ErrDenied, "only a cell can be connected to itself")
	}
	// Not to wake it: who checks it may still ask when it has gone to sleep.
	if v, err := s.Systemd.One(ctx, unit.ServiceUnit(who.Cell), "Unit", "ActiveState"); err != nil || v != "active" {
		return nil, failure(api.ErrNotReady, "%s does not run", who.Cell)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", unit.SocketPath(s.SocketDir, who.Cell))
	if err != nil {
		return nil, failure(api.ErrNotReady, "%v", err)
	}
	defer c.Close()
	return c.(*net.UnixConn).File()
}

// Report takes from an instance how it is. One that is not well gets no new connections while another one is, and is started again.
func (s *Server) Report(ctx context.Context, who Caller, well bool, why string) error {
	if who.Cell == "" || who.Node != "" {
		return failure(api.ErrDenied, "only cells report how they are")
	}
	n, err := s.node(who.Cell)
	if err != nil {
		return err
	}
	if n.Manifest.Life.Health == nil {
		return failure(api.ErrInvalid, "%s has no [life] health", who.Cell)
	}
	s.mu.Lock()
	known := s.unwell[who.Cell]
	if s.unwell == nil {
		s.unwell = map[string]bool{}
	}
	if s.unwell[who.Cell] = !well; well {
		delete(s.unwell, who.Cell)
	}
	s.mu.Unlock()
	if well || known {
		return nil
	}
	s.Log.Warn("unhealthy", "cell", who.Cell, "why", why)
	if n.Manifest.Life.Restart != "no" {
		st := systemd.State{Name: who.Cell}
		if err := s.Systemd.Detail(ctx, &st); err != nil {
			return err
		}
		go s.startAgain(context.WithoutCancel(ctx), who.Cell, st.Run, why)
	}
	return nil
}

// isWell tells whether an instance has not said that it is unwell.
func (s *Server) isWell(instance string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.unwell[instance]
}

// startAgain ends an unhealthy run of an instance and begins another one, unless that has happened already.
func (s *Server) startAgain(ctx context.Context, name, run, why string) {
	defer func() {
		s.mu.Lock()
		delete(s.unwell, name)
		s.mu.Unlock()
	}()
	root, _, err := s.rootOf(name)
	if err != nil {
		return
	}
	defer s.lock(root)()
	st := systemd.State{Name: name}
	if err := s.Systemd.Detail(ctx, &st); err != nil || st.Run != run || st.Service != "active" {
		return
	}
	if err := s.Systemd.TryRestart(ctx, unit.ServiceUnit(name)); err != nil {
		s.Log.Error("start the unhealthy cell again", "cell", name, "error", err)
	}
	s.mu.Lock()
	h := s.health[name]
	h.text, h.at = "unhealthy: "+why, time.Now()
	if s.health == nil {
		s.health = map[string]health{}
	}
	s.health[name] = h
	s.mu.Unlock()
	s.happened(name, "died", "unhealthy: "+why)
}
