package gpu_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/gpu"
	"github.com/cell-network/cell/gpu/sim"
	"github.com/cell-network/cell/sdk/api"
)

// where are the control groups of processes.
type where map[int]string

func (w where) Cgroup(pid int) string { return w[pid] }

const groupA, groupB = "/cell.slice/cell-a.slice/cell@a.service", "/cell.slice/cell-b.slice/cell@b:2.service"

func process(pid int, memory uint64, busy int) gpu.Process {
	p := gpu.Process{GPUProcess: api.GPUProcess{PID: pid, Kind: "compute", Memory: &memory}}
	if busy >= 0 {
		b := uint32(busy)
		p.Busy = &b
	}
	return p
}

func used(t *testing.T, s *gpu.Server) map[string]api.GPUUse {
	t.Helper()
	all, err := s.Use()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]api.GPUUse{}
	for _, u := range all {
		out[u.Cell] = u
	}
	return out
}

func TestEnergy(t *testing.T) {
	d := sim.New(sim.Device(0, 80))
	s := gpu.NewServer(d, where{1: groupA, 2: groupB, 3: groupB}, time.Minute)
	d.Draw("GPU-0", 100, true)
	used(t, s)
	d.Pass(10 * time.Second)
	if u := used(t, s); len(u) != 0 {
		t.Fatalf("nobody used it, but %v", u)
	}
	// Alone on it: all is its own.
	d.Run("GPU-0", process(1, gb, 30))
	used(t, s)
	d.Draw("GPU-0", 300, true)
	d.Pass(10 * time.Second)
	u := used(t, s)["a"]
	if u.Joules == nil || math.Abs(*u.Joules-3000) > 1 || u.Source != api.ByCounter || u.Error > 35 || *u.Memory != gb || u.Busy < 4.9 || u.Busy > 5.1 {
		t.Fatalf("alone: %+v", u)
	}
	// Beside another one that is three times as busy.
	d.Run("GPU-0", process(2, 2*gb, 60))
	d.Run("GPU-0", process(3, 2*gb, 30))
	used(t, s)
	d.Pass(10 * time.Second)
	all := used(t, s)
	a, b := all["a"], all["b:2"]
	if math.Abs(*a.Joules-3750) > 1 || a.Source != api.ByShare || math.Abs(*b.Joules-2250) > 1 || b.Error < 200 || *b.Memory != 4*gb {
		t.Fatalf("shared: %+v, %+v", a, b)
	}
	// How busy they are is not told: halves, and an error as large.
	d.End(1)
	d.End(2)
	d.End(3)
	d.Run("GPU-0", process(1, gb, -1))
	d.Run("GPU-0", process(2, gb, -1))
	used(t, s)
	before := used(t, s)
	d.Pass(10 * time.Second)
	all = used(t, s)
	if j := *all["a"].Joules - *before["a"].Joules; math.Abs(j-1500) > 1 || all["a"].Error-before["a"].Error < 1400 {
		t.Fatalf("guessed: %v ± %v", j, all["a"].Error-before["a"].Error)
	}
	// A driver that was loaded anew, a machine that slept: nothing is added, and never something negative.
	before = all
	d.Reload()
	used(t, s)
	d.Pass(time.Hour)
	if all = used(t, s); *all["a"].Joules != *before["a"].Joules {
		t.Errorf("over a gap: %v after %v", *all["a"].Joules, *before["a"].Joules)
	}
	// Without a counter from the power.
	d.End(2)
	d.Draw("GPU-0", 200, false)
	used(t, s)
	before = used(t, s)
	d.Pass(10 * time.Second)
	all = used(t, s)
	if j := *all["a"].Joules - *before["a"].Joules; math.Abs(j-2000) > 1 || all["a"].Source != api.ByPower {
		t.Errorf("by power: %v, %+v", j, all["a"])
	}
}

func TestHang(t *testing.T) {
	d := sim.New(sim.Device(0, 80))
	s := gpu.NewServer(d, where{}, time.Second)
	free := d.Hang()
	_, err := s.Inventory()
	var hung *gpu.Hung
	if !errors.As(err, &hung) || hung.What != "inventory" {
		t.Fatalf("%v", err)
	}
	// Who asks next is told at once.
	begun := time.Now()
	for range 100 {
		if _, err := s.Choose(api.GPUWant{Cell: "a", Count: 1}, nil); !errors.As(err, &hung) {
			t.Fatalf("%v", err)
		}
	}
	if took := time.Since(begun); took > 50*time.Second {
		t.Errorf("each of a hundred waited: %v", took)
	}
	free()
	for end := time.Now().Add(time.Minute); ; {
		if _, err = s.Choose(api.GPUWant{Cell: "a", Count: 1}, nil); err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		t.Errorf("it answers again, but: %v", err)
	}
}

func TestFaults(t *testing.T) {
	d := sim.New(sim.Device(0, 80), sim.Device(1, 80))
	s := gpu.NewServer(d, where{}, time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan []any, 16)
	go s.Watch(ctx, time.Millisecond, func(_ string, args ...any) { told <- args })
	d.Fault("GPU-0", 13) // a program's own
	<-told
	d.Fault("GPU-1", 79)
	<-told
	got, err := s.Choose(api.GPUWant{Cell: "a", Count: 1}, nil)
	if err != nil || got[0].UUID != "GPU-0" {
		t.Errorf("%v, %v", got, err)
	}
	_, err = s.Choose(api.GPUWant{Cell: "b", Count: 2}, nil)
	if err == nil || !strings.Contains(err.Error(), "fault 79") {
		t.Errorf("%v", err)
	}
	d.Lose("GPU-0", "lost")
	if _, err = s.Choose(api.GPUWant{Cell: "a", Count: 1}, nil); err == nil || !strings.Contains(err.Error(), "lost") {
		t.Errorf("%v", err)
	}
}

// A process of a cell that has ended, and stays on the device in whatever state, keeps it from the next one.
func TestSurvivor(t *testing.T) {
	d := sim.New(sim.Device(0, 80))
	s := gpu.NewServer(d, where{7: groupA}, time.Minute)
	d.Run("GPU-0", process(7, gb, 0))
	_, err := s.Choose(api.GPUWant{Cell: "next", Count: 1}, nil)
	if err == nil || !strings.Contains(err.Error(), "is used by process 7") {
		t.Fatalf("%v", err)
	}
	d.End(7)
	if _, err := s.Choose(api.GPUWant{Cell: "next", Count: 1}, nil); err != nil {
		t.Error(err)
	}
}

func TestLimitWantsAControlGroup(t *testing.T) {
	s := gpu.NewServer(sim.New(), where{}, time.Minute)
	for _, bad := range []string{"", "/", "cell", "/../etc", "/a/../b", "//a"} {
		if _, err := s.Limit("GPU-0", bad, 1); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if enforced, err := s.Limit("GPU-0", "/cell.slice", 1); enforced || err != nil {
		t.Errorf("%v, %v", enforced, err)
	}
}

func TestCellOf(t *testing.T) {
	for group, want := range map[string]string{
		groupA: "a", groupB: "b:2", groupA + "/below": "a", "/x/cell@shop.web:bridge.service": "shop.web", "/user.slice": "", "": "", "/cell@.socket": "",
	} {
		if got := gpu.CellOf(group); got != want {
			t.Errorf("%s: %q, want %q", group, got, want)
		}
	}
}
