package celld

import (
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/celld/systemd"
)

// The words that people read, for each way in which systemd says that a service ended.
func TestReason(t *testing.T) {
	for want, st := range map[string]systemd.State{
		"killed: over its 64 MB of memory":      {Result: "oom-kill", MemoryMax: 64 << 20},
		"killed: the machine was out of memory": {Result: "oom-kill"},
		"exit 3":                                {Result: "exit-code", Status: 3},
		"its program cannot be run (is it built, and executable?)": {Result: "exit-code", Status: 203},
		"killed: segmentation fault":                               {Result: "core-dump", Status: 11},
		"killed: it hung (no watchdog sign)":                       {Result: "watchdog"},
		"it ended by itself":                                       {Result: "success"},
	} {
		if got := reason(&st); got != want {
			t.Errorf("%+v: %q, want %q", st, got, want)
		}
	}
}

func TestDescribe(t *testing.T) {
	up := systemd.State{Trigger: "active", Service: "active"}
	for _, c := range []struct {
		st          *systemd.State
		h           health
		state, note string
	}{
		{nil, health{}, "stopped", ""},
		{&up, health{}, "ready", ""},
		{&up, health{text: "exit 9", at: time.Now()}, "ready", "restarted: exit 9, 0s ago"},
		{&up, health{text: "exit 9", at: time.Now().Add(-2 * time.Hour)}, "ready", ""},
		{&systemd.State{Trigger: "active", Service: "inactive"}, health{}, "sleeping", "wakes on the first call"},
		{&systemd.State{Trigger: "active", Service: "activating", ServiceSub: "auto-restart", Result: "exit-code", Status: 1}, health{}, "failed", "exit 1"},
		{&systemd.State{Trigger: "active", Service: "activating", ServiceSub: "start"}, health{}, "starting", ""},
		{nil, health{gaveUp: true, bad: 20, text: "exit 1"}, "failed", "given up after 20 bad starts: exit 1"},
	} {
		got := describe("shop", "/shop", c.st, c.h)
		if got.State != c.state || !strings.HasPrefix(got.Note, c.note) || c.note == "" && got.Note != "" {
			t.Errorf("%+v %+v: %s %q, want %s %q", c.st, c.h, got.State, got.Note, c.state, c.note)
		}
	}
}
