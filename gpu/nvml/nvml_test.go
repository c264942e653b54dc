//go:build cgo

package nvml

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/gpu"
	"github.com/cell-network/cell/gpu/nvml/nvmltest"
	"github.com/cell-network/cell/internal/pci"
	"github.com/cell-network/cell/sdk/api"
)

// answer is what a child says that used the real code over the stub.
type answer struct {
	GPUs    api.GPUs
	Samples []gpu.Sample
	Event   gpu.Event
	Errors  []string
	Limit   string
}

// The library is loaded once in a process, so every case is a process of its own.
func TestMain(m *testing.M) {
	if library := os.Getenv("NVML_TEST_LIBRARY"); library != "" {
		child(library)
		return
	}
	os.Exit(m.Run())
}

func child(library string) {
	d := &Driver{Library: library}
	var a answer
	note := func(err error) {
		if err != nil {
			a.Errors = append(a.Errors, err.Error())
		}
	}
	var err error
	for _, step := range strings.Split(os.Getenv("NVML_TEST_STEPS"), ",") {
		switch name, arg, _ := strings.Cut(step, "="); name {
		case "inventory":
			a.GPUs, err = d.Inventory()
			note(err)
		case "sample":
			a.Samples, err = d.Sample()
			note(err)
		case "event":
			a.Event, err = d.Event(10 * time.Second)
			note(err)
		case "limit":
			if err := d.Limit("GPU-00000000-0000-0000-0000-000000000001", arg, 5<<30); err != nil {
				a.Limit = err.Error()
			} else {
				a.Limit = "set"
			}
		case "say": // to the stub
			note(os.WriteFile(os.Getenv("NVML_STUB"), []byte(strings.ReplaceAll(arg, ";", "\n")+"\n"), 0o644))
		case "name":
			note(os.WriteFile("/proc/self/comm", []byte(strings.ReplaceAll(arg, ":", "=")), 0))
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(a)
}

var libraries = map[string]string{}

func library(t *testing.T, define string) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is not installed")
	}
	if libraries[define] == "" {
		dir, err := os.MkdirTemp("", "nvml")
		if err != nil {
			t.Fatal(err)
		}
		path, err := nvmltest.Build(dir, define)
		if err != nil {
			t.Fatal(err)
		}
		libraries[define] = path
	}
	return libraries[define]
}

func ask(t *testing.T, library, stub, steps string) answer {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stub")
	if err := os.WriteFile(file, []byte(stub), 0o644); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), "NVML_TEST_LIBRARY="+library, "NVML_STUB="+file, "NVML_TEST_STEPS="+steps)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("the child: %v\n%s", err, out)
	}
	var a answer
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return a
}

func TestInventory(t *testing.T) {
	a := ask(t, library(t, ""), "devices 2\npower 1 300\nbusy 1 80\n", "inventory")
	if a.GPUs.Driver != "580.95.05" || a.GPUs.CUDA != "13.0" || a.GPUs.Problem != "" || len(a.GPUs.Devices) != 2 || a.GPUs.Limits {
		t.Fatalf("%+v", a.GPUs)
	}
	d := a.GPUs.Devices[1]
	if d.UUID != "GPU-00000000-0000-0000-0000-000000000001" || d.Memory != 16<<30 || *d.Used != 300<<20 || *d.Power != 300 || *d.Busy != 80 ||
		*d.Temperature != 41 || *d.ClockSM != 1980 || *d.ClockMemory != 3201 || d.PCI != "0000:42:00.0" || *d.Energy <= 0 || d.MIG != "off" || *d.PowerLimit != 700 {
		t.Errorf("%+v", d)
	}
	if want := []string{"/dev/nvidia1", "/dev/nvidiactl", "/dev/nvidia-uvm"}; !reflect.DeepEqual(d.Nodes, want) {
		t.Errorf("nodes %v", d.Nodes)
	}
	if d.Near["GPU-00000000-0000-0000-0000-000000000000"] != 20 {
		t.Errorf("near %v", d.Near)
	}
	// What a driver lacks is named, and what was not asked stays unknown.
	if want := []string{"nvmlDeviceGetMemoryLimits_v1", "nvmlDeviceGetP2PStatus", "nvmlDeviceGetMPSComputeRunningProcesses_v3", "nvmlDeviceSetMemoryLimits_v1"}; len(a.GPUs.Missing) != len(want) {
		t.Errorf("missing %v", a.GPUs.Missing)
	}
}

// A driver without the newer calls: a call that was not looked up first would end the child.
func TestOldDriver(t *testing.T) {
	a := ask(t, library(t, "OLD"), "", "name=gpu0:700,inventory,sample,event,limit=/sys")
	d := a.GPUs.Devices[0]
	if d.Energy != nil || d.Power == nil || d.MIG != "" || len(a.GPUs.Missing) < 8 {
		t.Errorf("%+v, missing %v", d, a.GPUs.Missing)
	}
	if len(a.Samples) != 2 || len(a.Samples[0].Processes) != 1 || *a.Samples[0].Processes[0].Memory != 700<<20 || a.Samples[0].Energy != nil {
		t.Errorf("%+v", a.Samples)
	}
	if !strings.Contains(fmt.Sprint(a.Errors), "tells of no faults") || a.Limit != "this driver bounds no memory" {
		t.Errorf("%v, %s", a.Errors, a.Limit)
	}
}

func TestProcesses(t *testing.T) {
	var others []*exec.Cmd
	for range 2 {
		c := exec.Command("sh", "-c", "printf gpu1=2048 > /proc/self/comm; read x") // ends with its input
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		others = append(others, c)
	}
	defer func() {
		for _, c := range others {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}()
	for end := time.Now().Add(time.Minute); ; {
		a := ask(t, library(t, ""), "", "inventory,sample,sample")
		list := a.Samples[1].Processes
		if len(list) == 2 {
			first, second := list[0], list[1]
			if *first.Memory != 2<<30 || first.Kind != "compute" || first.Busy == nil || *first.Busy != 60 || second.Busy == nil || *second.Busy != 20 {
				t.Errorf("%+v", list)
			}
			if *a.GPUs.Devices[1].Used != 4<<30+300<<20 || len(a.Samples[0].Processes) != 0 {
				t.Errorf("%+v", a)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%+v", list)
		}
	}
}

func TestSlices(t *testing.T) {
	a := ask(t, library(t, ""), "mig 1\n", "inventory")
	d := a.GPUs.Devices[1]
	if d.MIG != "on" || len(d.Slices) != 2 || d.Slices[0].UUID != "MIG-00000000-0000-0000-0000-000000000001" || d.Slices[0].Name != "3g.8gb" || d.Slices[1].Memory != 8<<30 {
		t.Errorf("%+v", d)
	}
	if !strings.Contains(d.Problem, "mig-minors") { // which is not there
		t.Errorf("problem %q", d.Problem)
	}
}

func TestCapabilities(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mig-minors")
	if err := os.WriteFile(file, []byte("config 1\nmonitor 2\ngpu0/gi1/access 12\ngpu0/gi1/ci0/access 13\ngpu0/gi11/access 120\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := capabilities(file, 0, 1, 0)
	if want := []string{"/dev/nvidia-caps/nvidia-cap12", "/dev/nvidia-caps/nvidia-cap13"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := capabilities(file, 0, 2, 0); err == nil {
		t.Error("a slice that is not in it was found")
	}
}

func TestFaults(t *testing.T) {
	a := ask(t, library(t, ""), "", "inventory,say=lost 1,inventory")
	if d := a.GPUs.Devices[1]; d.Problem != "the driver has lost it: gpu is lost" || d.Used != nil || d.UUID == "" || d.Name == "" {
		t.Errorf("lost: %+v", d)
	}
	a = ask(t, library(t, ""), "xid 1 79\n", "inventory,event")
	if a.Event.XID != 79 || a.Event.UUID != "GPU-00000000-0000-0000-0000-000000000001" || !a.Event.Fatal() {
		t.Errorf("%+v %v", a.Event, a.Errors)
	}
	a = ask(t, library(t, ""), "unloaded 1\n", "inventory,sample")
	if !strings.Contains(a.GPUs.Problem, "is not loaded") || len(a.Errors) > 0 {
		t.Errorf("unloaded: %+v", a)
	}
	// It goes away and comes back while the daemon runs.
	a = ask(t, library(t, ""), "", "inventory,say=unloaded 1,inventory,inventory")
	if !strings.Contains(a.GPUs.Problem, "is not loaded") {
		t.Errorf("went away: %+v", a.GPUs)
	}
	a = ask(t, library(t, ""), "", "inventory,say=unloaded 1,inventory,say=devices 1,inventory")
	if len(a.GPUs.Devices) != 1 || a.GPUs.Problem != "" {
		t.Errorf("came back: %+v", a.GPUs)
	}
	a = ask(t, library(t, ""), "mismatch 1\n", "inventory")
	if !strings.Contains(a.GPUs.Problem, "reboot") {
		t.Errorf("mismatch: %q", a.GPUs.Problem)
	}
	a = ask(t, "/nonexistent/libnvidia-ml.so.1", "", "inventory,sample")
	if want := "no NVIDIA device is there"; !pci.NVIDIA() && a.GPUs.Problem != want {
		t.Errorf("no library: %q", a.GPUs.Problem)
	}
}

func TestLimit(t *testing.T) {
	group := t.TempDir()
	a := ask(t, library(t, "NEW"), "", "inventory,limit="+group)
	if !a.GPUs.Limits || a.Limit != "set" {
		t.Errorf("%+v", a)
	}
	for stub, want := range map[string]string{"refuse 1\n": "limit the memory of GPU-00000000-0000-0000-0000-000000000001: insufficient permissions"} {
		if a = ask(t, library(t, "NEW"), stub, "inventory,limit="+group); a.Limit != want {
			t.Errorf("%q", a.Limit)
		}
	}
	if a = ask(t, library(t, "NEW"), "", "inventory,limit=/nonexistent"); !strings.HasPrefix(a.Limit, "limit the memory") {
		t.Errorf("%q", a.Limit)
	}
}
