package handover

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTakeDescriptors hands descriptors to a process, as systemd does.
func TestTakeDescriptors(t *testing.T) {
	if os.Getenv("HOT_TEST_TAKE") != "" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
		h := This()
		names := []string{}
		for name := range h.found {
			names = append(names, name)
		}
		slices.Sort(names)
		left := os.Getenv("LISTEN_FDS") + os.Getenv("LISTEN_FDNAMES") + os.Getenv("LISTEN_PID") + os.Getenv("FDSTORE")
		fmt.Println("took", len(h.listeners), names, h.held, h.last, h.max, left, h.err)
		return
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	fd, err := unix.MemfdCreate("n", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "n")
	defer file.Close()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, other := os.NewFile(uintptr(ends[0]), "a"), os.NewFile(uintptr(ends[1]), "b")
	defer conn.Close()
	defer other.Close()
	for _, c := range []struct {
		names string
		files []*os.File
		want  string
	}{
		{"cell@x.socket", []*os.File{socket}, "took 1 [] 0 0 9  <nil>"},
		{"", []*os.File{socket, socket}, "took 2 [] 0 0 9  <nil>"},
		{"cell@x.socket:memory/n/3:conn/c/12", []*os.File{socket, file, conn}, "took 1 [conn/c/12 memory/n/3] 2 12 9  <nil>"},
		{"cell@x:2.socket", []*os.File{socket}, "took 1 [] 0 0 9  <nil>"},
		{"cell@x:bridge.socket:conn/c/1", []*os.File{socket, conn}, "took 1 [conn/c/1] 1 1 9  <nil>"},
		{"conn/c/1:memory/n/1:memory/n/2", []*os.File{conn, file}, "took 0 [memory/n/1 memory/n/2] 2 2 9  <nil>"},
		{"conn/c/1:cell@x.socket", []*os.File{socket, socket}, "took 2 [] 0 0 9  <nil>"},
		{"conn:cell", []*os.File{socket, socket}, "took 2 [] 0 0 9  <nil>"},
		{"memory/n", []*os.File{socket}, "took 1 [] 0 0 9  <nil>"},
		// A listener of the cell's own is what its name says, not one of the cell's sockets.
		{"cell@x.socket:file/own/1", []*os.File{socket, socket}, "took 1 [file/own/1] 1 1 9  <nil>"},
		{"stored", []*os.File{conn}, "took 0 [] 0 0 9  take sockets: descriptor 3: the socket does not listen for connections"},
		{"conn/../1", []*os.File{file}, "took 0 [] 0 0 9  take sockets: descriptor 3: not a socket: socket operation on non-socket"},
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestTakeDescriptors$")
		cmd.Env = append(os.Environ(), "HOT_TEST_TAKE=1", "LISTEN_FDS="+strconv.Itoa(len(c.files)), "LISTEN_FDNAMES="+c.names, "FDSTORE=9")
		cmd.ExtraFiles = c.files
		out, err := cmd.CombinedOutput()
		if first, _, _ := strings.Cut(string(out), "\n"); first != c.want {
			t.Errorf("%s:\n%s, want\n%s (%v)", c.names, first, c.want, err)
		}
	}
}

func TestStoreMax(t *testing.T) {
	for variable, want := range map[string]int{"": 64, "7": 7, "0": 0, "x": 64, "-1": 64} {
		if got := storeMax(variable); got != want {
			t.Errorf("FDSTORE=%q is %d, want %d", variable, got, want)
		}
	}
}

// Who could not take what was handed over opens nothing.
func TestOpenAfterError(t *testing.T) {
	p := &Process{err: errors.New("take sockets: no")}
	if _, err := p.Open(Memory, "e"); err == nil || err.Error() != "open hot e: take sockets: no" {
		t.Error(err)
	}
}
