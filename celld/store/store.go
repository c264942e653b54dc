// Package store keeps what is wanted over restarts and reboots: the directories of root cells and what was stopped in
// them. Everything else about a cell is in its own directory.
package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/cell-network/cell/internal/durable"
)

// Root is one wanted tree.
type Root struct {
	Dir     string   `json:"dir"`
	Owner   int      `json:"owner,omitempty"`   // user on whose behalf the machine's manager runs it
	Stopped []string `json:"stopped,omitempty"` // cells that were stopped by hand

	Replicas map[string]int `json:"replicas,omitempty"` // by name of the cell, where it is not what its manifest says

	// Of cells that retire when they are not called: the time of the last call, in seconds since 1970, and of retirement.
	Called  map[string]int64 `json:"called,omitempty"`
	Retired map[string]int64 `json:"retired,omitempty"`
}

// Store is a file of roots by name. It is safe for concurrent use.
type Store struct {
	path  string
	mu    sync.Mutex
	roots map[string]Root
}

// Open reads dir/wanted.json; a missing file is an empty store.
func Open(dir string) (*Store, error) {
	s := &Store{path: filepath.Join(dir, "wanted.json"), roots: map[string]Root{}}
	data, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("read wanted cells: %w", err)
	}
	if err := json.Unmarshal(data, &s.roots); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.path, err)
	}
	return s, nil
}

// Roots returns a copy of all roots by name.
func (s *Store) Roots() map[string]Root {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copied()
}

func (s *Store) copied() map[string]Root {
	out := make(map[string]Root, len(s.roots))
	for k, r := range s.roots {
		r.Stopped, r.Replicas = slices.Clone(r.Stopped), maps.Clone(r.Replicas)
		r.Called, r.Retired = maps.Clone(r.Called), maps.Clone(r.Retired)
		out[k] = r
	}
	return out
}

// Update changes the roots and writes them, unless nothing changes: a full disk starts what it started before. The file is replaced whole,
// so a crash leaves the old or the new one, and after an error the roots are as they were: see Hold.
func (s *Store) Update(change func(map[string]Root)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	roots := s.copied()
	change(roots)
	data, err := json.MarshalIndent(roots, "", "\t")
	if err != nil {
		return fmt.Errorf("write wanted cells: %w", err)
	}
	data = append(data, '\n')
	if written, err := os.ReadFile(s.path); err == nil && bytes.Equal(written, data) {
		return nil
	}
	if err := durable.Write(s.path, data, 0o600); err != nil {
		return fmt.Errorf("write wanted cells: %w", err)
	}
	s.roots = roots
	return nil
}

// Hold changes the roots without writing them, for what must be so even where Update fails. The next Update writes it, too.
func (s *Store) Hold(change func(map[string]Root)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s.roots)
}
