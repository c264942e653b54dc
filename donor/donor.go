// Package donor is what makes a machine a donor that was started from an image: it finds its settings and its data, joins, says on the
// console how things are, and keeps the image new.
package donor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cell-network/cell/donor/layout"
	"github.com/cell-network/cell/donor/settings"
)

// Where things are on a donor.
const (
	run   = "/run/cell-donor"
	boot  = run + "/boot" // the system partition, read-only
	state = run + "/state.json"
	// The partition for data, and what of the machine is on it.
	data  = "/var/lib/cell-donor"
	cells = "/srv/cells"
)

// kept are the directories that are on the partition for data.
var kept = []struct {
	path string
	mode os.FileMode
}{
	{"/var/lib/cell", 0o700}, {"/var/lib/cell-net", 0o700}, {"/var/lib/systemd/timers", 0o755}, {cells, 0o755},
}

// State is what was found when the machine started.
type State struct {
	Settings  settings.Settings `json:"-"`
	Name      string            `json:"name"`
	Problem   string            `json:"problem,omitempty"`   // with donor.toml: nothing of it is in force
	Device    string            `json:"device,omitempty"`    // of the partition for data; empty without one
	Encrypted bool              `json:"encrypted,omitempty"` // that partition
	NoData    string            `json:"no_data,omitempty"`   // why there is none
	System    string            `json:"system,omitempty"`    // device of the system partition
	Debug     bool              `json:"debug,omitempty"`
}

func (s State) save() error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(state, b, 0o600)
}

// load reads the state, and the settings from the system partition that is still mounted.
func load() (s State, err error) {
	b, err := os.ReadFile(state)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read what prepare found: %w", err)
	}
	if s.Problem == "" {
		s.Settings, err = read(s.System)
	}
	return s, err
}

// read reads donor.toml from the system partition, or from the image where it was not started from one; without a file all is left out.
func read(system string) (settings.Settings, error) {
	file := layout.Settings
	if system != "" {
		file = filepath.Join(boot, settings.File)
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return settings.Settings{}, nil
	}
	if err != nil {
		return settings.Settings{}, err
	}
	return settings.Parse(b)
}

// version is the running image's.
func version() (uint64, error) {
	b, err := os.ReadFile(layout.Version)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}
