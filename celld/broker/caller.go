package broker

import (
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/celld/unit"
)

// caller is who asks: an instance of a cell or, when cell is empty, a program of a user.
type caller struct {
	cell string
	uid  int
}

// identify asks the kernel who connected. A process that the manager put into a cell's control group is that cell; who is in
// no such group, or in one that another manager made, counts by its user.
func (s *Server) identify(c *net.UnixConn) (caller, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return caller{}, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return caller{}, err
	}
	if cerr != nil {
		return caller{}, fmt.Errorf("ask who connected: %w", cerr)
	}
	who := caller{uid: int(cred.Uid)}
	if cred.Pid == 0 { // it is outside of the manager's namespace of processes, where no cell is
		return who, nil
	}
	// The id could be another process's by now: a descriptor that was opened before the look, and still shows the process
	// alive after it, says that it was the same all the time.
	pidfd, err := unix.PidfdOpen(int(cred.Pid), 0)
	if err != nil {
		return caller{}, fmt.Errorf("who connected is gone: %w", err)
	}
	defer unix.Close(pidfd)
	group, err := groupOf(int(cred.Pid))
	if err != nil {
		return caller{}, err
	}
	if err := unix.PidfdSendSignal(pidfd, 0, nil, 0); err == unix.ESRCH {
		return caller{}, fmt.Errorf("who connected is gone: %w", err)
	}
	who.cell = cellOf(group, s.root)
	return who, nil
}

// groupOf reads a process's control group: that of the unified hierarchy or, where systemd keeps its own one, of that.
func groupOf(pid int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", fmt.Errorf("read the control group: %w", err)
	}
	return parseGroup(string(data)), nil
}

func parseGroup(text string) string {
	unified, named := "", ""
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch {
		case parts[0] == "0" && parts[1] == "":
			unified = parts[2]
		case parts[1] == "name=systemd":
			named = parts[2]
		}
	}
	if named != "" && (unified == "" || unified == "/") {
		return named
	}
	return unified
}

// managerRoot is the control group below which a manager keeps its slices, from one of its services: a user's manager is the
// service user@UID itself, the machine's and an embedded one are at the top.
func managerRoot(own string) string {
	parts := strings.Split(own, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		if strings.HasPrefix(parts[i], "user@") && strings.HasSuffix(parts[i], ".service") {
			return strings.Join(parts[:i+1], "/")
		}
	}
	return ""
}

// cellOf is the instance whose service a control group belongs to. The group has to be in the slice of cells of the manager at
// root: a user's own manager can give any name to its units, below its own group.
func cellOf(group, root string) string {
	rest, ok := strings.CutPrefix(group, root+"/cell.slice/")
	if !ok {
		return ""
	}
	for part := range strings.SplitSeq(rest, "/") {
		if strings.HasSuffix(part, ".service") {
			name, ok := unit.NameOf(part)
			if !ok {
				return ""
			}
			return name
		}
	}
	return ""
}
