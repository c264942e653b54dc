package broker

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Which control groups are cells, under every sort of manager, and which only look so.
func TestCellOf(t *testing.T) {
	const (
		system   = "0::/system.slice/celld.service\n"
		user     = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/celld.service\n"
		embedded = "0::/app.slice/celld.service\n"
		hybrid   = "12:memory:/x\n1:name=systemd:/app.slice/celld.service\n0::/\n"
	)
	tests := []struct{ name, own, caller, want string }{
		{"a cell", system, "0::/cell.slice/cell-shop.slice/cell@shop.service\n", "shop"},
		{"a child", system, "0::/cell.slice/cell-shop.slice/cell-shop-web.slice/cell@shop.web.service\n", "shop.web"},
		{"a replica", system, "0::/cell.slice/cell-shop.slice/cell@shop:3.service\n", "shop:3"},
		{"a group that the cell made", system, "0::/cell.slice/cell-shop.slice/cell@shop.service/payload\n", "shop"},
		{"no cell", system, "0::/system.slice/sshd.service\n", ""},
		{"a session", system, "0::/user.slice/user-1000.slice/session-3.scope\n", ""},
		{"a user's unit of that name", system, "0::/user.slice/user-1000.slice/user@1000.service/cell.slice/cell-shop.slice/cell@shop.service\n", ""},
		{"a unit of that name elsewhere", system, "0::/system.slice/cell@shop.service\n", ""},
		{"another unit in the slice", system, "0::/cell.slice/evil.service/cell@shop.service\n", ""},
		{"a user's cell", user, "0::/user.slice/user-1000.slice/user@1000.service/cell.slice/cell-a.slice/cell@a.service\n", "a"},
		{"another user's cell", user, "0::/user.slice/user-1001.slice/user@1001.service/cell.slice/cell-a.slice/cell@a.service\n", ""},
		{"the machine's cell, asked of a user's celld", user, "0::/cell.slice/cell-a.slice/cell@a.service\n", ""},
		{"embedded", embedded, "0::/cell.slice/cell-a.slice/cell@a.service\n", "a"},
		{"two hierarchies", hybrid, "12:memory:/x\n1:name=systemd:/cell.slice/cell-a.slice/cell@a.service\n0::/\n", "a"},
		{"two hierarchies, told by the wrong one", hybrid, "12:name=x:/cell.slice/cell-a.slice/cell@a.service\n0::/\n", ""},
		{"nothing", system, "", ""},
		{"damaged", system, "0::\n:::\ncell@a.service", ""},
	}
	for _, tt := range tests {
		if got := cellOf(parseGroup(tt.caller), managerRoot(parseGroup(tt.own))); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// The runtime's signals interrupt even a look that waits for nothing; nobody who runs is refused for them.
func TestHasEndedUnderSignals(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	stop, done := make(chan bool), make(chan bool)
	go func(thread int) {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Tgkill(os.Getpid(), thread, unix.SIGURG)
			}
		}
	}(unix.Gettid())
	defer func() { close(stop); <-done }()
	for range 20_000 {
		if ended, err := hasEnded(fd); ended || err != nil {
			t.Fatalf("this process: %v %v", ended, err)
		}
	}
}
