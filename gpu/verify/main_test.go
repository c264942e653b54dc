//go:build cgo

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cell-network/cell/gpu/nvml/nvmltest"
)

// All checks over stubs of both libraries: each is made, or says why it is not, and one that does not hold is told.
func TestVerify(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it makes device files, which needs root")
	}
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	dir := t.TempDir()
	run := func(name string, args ...string) (string, error) {
		c := exec.Command(name, args...)
		c.Dir = dir
		c.Env = append(os.Environ(), "NVML_STUB="+filepath.Join(dir, "stub"))
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := exec.Command("go", "build", "-o", dir+"/", ".", "../../cmd/cell-membrane", "../../cmd/cell-inside").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "dev.sh"), []byte(nvmltest.Devices), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := run("unshare", "--mount", "--propagation", "slave", "sh", "dev.sh", "true"); err != nil {
		t.Skipf("no device files can be made here: %s", out)
	}
	if err := os.Remove(filepath.Join(dir, "dev")); err != nil {
		t.Fatal(err)
	}
	library, err := nvmltest.Build(dir, "NEW")
	if err != nil {
		t.Fatal(err)
	}
	cuda, err := nvmltest.BuildCUDA(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("CELL_NVML", library)
	t.Setenv("CELL_CUDA", cuda)
	if err := os.WriteFile(filepath.Join(dir, "stub"), []byte("memory 4096\ndevices 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// The stub lets a control group have more than its limit, which has to be seen.
	out, err := run("unshare", "--mount", "--propagation", "slave", "sh", "dev.sh", "./verify", "-seconds", "2", "-membrane", "./cell-membrane", "-o", "table.md")
	t.Log(out)
	if err == nil {
		t.Error("a limit that does not hold was taken for one that does")
	}
	table, err := os.ReadFile(filepath.Join(dir, "table.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"NVIDIA Stub, driver 580.95.05, CUDA 13.0",
		"with its memory and control group, and gone when it ends | 2048 MiB",
		"Use of more than was granted is seen | twice after",
		"busy | 60 % and 20 %|20 % and 60 %",
		"Energy, busy: the counter against power × time | ",
		"with the grant computes | found 134217728; computed | yes",
		"without it has no device | failed: cuInit: CUDA error 100 | yes",
		"holds nothing of it | 0 of 268435456 words of 1024 MiB | yes",
		"bounds a control group's memory | 4 GiB more than 2 were given | **no**",
	} {
		if _, some, ok := strings.Cut(want, "busy | "); ok && !strings.HasPrefix(want, "Energy") {
			a, b, _ := strings.Cut(some, "|")
			if !strings.Contains(string(table), a) && !strings.Contains(string(table), b) {
				t.Errorf("neither %s nor %s", a, b)
			}
			continue
		}
		if !strings.Contains(string(table), want) {
			t.Errorf("not in the table: %s", want)
		}
	}
	if n := strings.Count(string(table), "**no**"); n != 1 {
		t.Errorf("%d checks did not hold", n)
	}
}
