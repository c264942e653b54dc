package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/cell-network/cell/internal/durable"
)

// Kept is how many runs of a job are known.
const Kept = 10

// Run is a run of a job. Times are microseconds UTC.
type Run struct {
	ID     string `json:"id"` // systemd's, of the invocation
	Start  uint64 `json:"start"`
	End    uint64 `json:"end,omitempty"` // 0: it goes on, or nobody saw its end
	Result string `json:"result,omitempty"`
}

// Runs is a file of the last runs of jobs, by instance. It is safe for concurrent use.
type Runs struct {
	path string
	mu   sync.Mutex
	all  map[string][]Run // the newest last
}

// OpenRuns reads dir/runs.json; a missing file is no run, and one that is damaged is not worth more than that.
func OpenRuns(dir string) (*Runs, error) {
	r := &Runs{path: filepath.Join(dir, "runs.json"), all: map[string][]Run{}}
	data, err := os.ReadFile(r.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the runs of jobs: %w", err)
	}
	if json.Unmarshal(data, &r.all) != nil || r.all == nil {
		r.all = map[string][]Run{}
	}
	return r, nil
}

// Note takes what is known of a run; what was known of it before is replaced.
func (r *Runs) Note(instance string, run Run) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.all[instance]
	if i := slices.IndexFunc(list, func(x Run) bool { return x.ID == run.ID }); i >= 0 {
		if list[i] == run || run.End == 0 {
			return nil
		}
		list[i] = run
	} else {
		list = append(list, run)
	}
	r.all[instance] = list[max(0, len(list)-Kept):]
	return r.write()
}

// Forget drops the runs of an instance.
func (r *Runs) Forget(instance string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.all[instance]; !ok {
		return nil
	}
	delete(r.all, instance)
	return r.write()
}

// Of are the runs of an instance, the newest first.
func (r *Runs) Of(instance string) []Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.Clone(r.all[instance])
	slices.Reverse(list)
	return list
}

func (r *Runs) write() error {
	data, err := json.Marshal(r.all)
	if err == nil {
		err = durable.Write(r.path, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the runs of jobs: %w", err)
	}
	return nil
}
