package celld

import (
	"context"
	"fmt"
	"os"

	"github.com/cell-network/cell/celld/systemd"
	"github.com/cell-network/cell/celld/unit"
)

// cleanUpAfter empties the cache/ of a cell that has gone to sleep where its manifest asks for that and none of its instances runs, as
// they share the directory. Who wakes at this very moment finds it empty.
func (s *Server) cleanUpAfter(ctx context.Context, name string) {
	n, err := s.node(name)
	if err != nil || !n.Manifest.Life.AutoCleanup {
		return
	}
	root, _, err := s.rootOf(name)
	if err != nil {
		return
	}
	defer s.lock(root)() // no exchange brings a successor meanwhile
	for _, instance := range unit.Instances(n) {
		st := systemd.State{Name: instance}
		if err := s.Systemd.Detail(ctx, &st); err != nil || busy(&st) || st.Service == "reloading" {
			return
		}
	}
	if err := emptyCache(n.Manifest.Dir); err != nil {
		s.Log.Error("empty the cache", "cell", n.Name, "error", err)
	}
}

// emptyCache removes what is in dir/cache. It follows no link out of dir.
func emptyCache(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	cache, err := root.OpenRoot("cache")
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer cache.Close()
	d, err := cache.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	for _, name := range names {
		if rerr := cache.RemoveAll(name); rerr != nil {
			return fmt.Errorf("remove cache/%s: %w", name, rerr)
		}
	}
	return err
}
