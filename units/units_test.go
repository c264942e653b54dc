package units

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestExposure holds what systemd itself says of how far a daemon's unit opens the machine to it: 2.5 of 10 at most.
func TestExposure(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	found, err := filepath.Glob("system/*.service")
	if err != nil {
		t.Fatal(err)
	}
	daemons := 0
	for _, file := range found {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "[Service]") { // of the bus
			continue
		}
		daemons++
		unit := filepath.Join(t.TempDir(), filepath.Base(file))
		if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "@BINDIR@", "/usr/bin")), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=25", unit).CombinedOutput()
		if strings.Contains(string(out), "unrecognized option") || strings.Contains(string(out), "unknown option") {
			t.Skip("this systemd-analyze looks at loaded units only")
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
	if daemons == 0 {
		t.Error("no daemon has a unit")
	}
}
