package celld

import (
	"maps"
	"sync"
	"time"

	"github.com/cell-network/cell/celld/store"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

// recent is how old what was read of a tree may be: a tree of a thousand cells takes some fifty milliseconds, and its cells
// connect at the same time when they start.
const recent = time.Second

// trees are the wanted trees by root, as they were read last.
type trees struct {
	mu  sync.Mutex
	all map[string]*known
}

// known is a tree as it was read, which nobody changes.
type known struct {
	mu    sync.Mutex
	root  store.Root
	begun time.Time
	tree  *manifest.Tree
}

// changed makes the next look at a tree read it: what was applied holds at once.
func (s *Server) changed(root string) {
	k := s.known.of(root)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.begun = time.Time{}
}

func (t *trees) of(root string) *known {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = map[string]*known{}
	}
	k := t.all[root]
	if k == nil {
		k = &known{}
		t.all[root] = k
	}
	return k
}

// tree reads a wanted tree with the replicas that are wanted, unless that was done since. Who asks meanwhile waits and takes the
// same. While somebody edits the tree and it has errors, it is what it was before: cells that run call on.
func (s *Server) tree(root string, r store.Root, since time.Time) (*manifest.Tree, error) {
	k := s.known.of(root)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.root.Dir != r.Dir || k.root.Owner != r.Owner:
		k.tree = nil
	case !maps.Equal(k.root.Replicas, r.Replicas):
	case k.tree != nil && !k.begun.Before(since):
		return k.tree, nil
	}
	begun := time.Now()
	tree, errs := s.loadTree(r.Dir, r.Owner)
	if len(errs) > 0 && k.tree == nil {
		return nil, failure(api.ErrInvalid, "%v", errs)
	}
	if k.root, k.begun = r, begun; len(errs) == 0 {
		for name, n := range r.Replicas {
			tree.Replicate(name, n) // where it does not fit any more, the cells that run are those of the manifest
		}
		k.tree = tree
	}
	return k.tree, nil
}
