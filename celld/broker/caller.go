package broker

import (
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/celld"
	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/membrane/spec"
)

// identify asks the kernel who connected.
func (s *Server) identify(c *net.UnixConn) (celld.Caller, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return celld.Caller{}, err
	}
	var cred *unix.Ucred
	var cerr error
	pidfd := -1
	if err := raw.Control(func(fd uintptr) {
		if cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); cerr == nil && cred.Pid != 0 {
			pidfd, cerr = peer(int(fd), int(cred.Pid))
		}
	}); err != nil {
		return celld.Caller{}, err
	}
	if cerr != nil {
		return celld.Caller{}, fmt.Errorf("ask who connected: %w", cerr)
	}
	if cred.Pid == 0 { // it is outside of the manager's namespace of processes, where no cell is
		return celld.Caller{UID: int(cred.Uid)}, nil
	}
	defer unix.Close(pidfd)
	group, err := groupOf(int(cred.Pid))
	if err != nil {
		return celld.Caller{}, err
	}
	// The id could be another process's by now. One that still runs after the look had it all the time.
	ended, err := hasEnded(pidfd)
	if err != nil {
		return celld.Caller{}, fmt.Errorf("look whether process %d still runs: %w", cred.Pid, err)
	}
	if ended {
		return celld.Caller{}, fmt.Errorf("who connected is gone: process %d", cred.Pid)
	}
	return s.callerOf(group, int(cred.Uid))
}

// hasEnded tells whether the process of a descriptor has ended.
func hasEnded(pidfd int) (bool, error) {
	for {
		// A signal of the runtime's ends even a look that waits for nothing (poll(2), EINTR).
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
		if err != unix.EINTR {
			return n != 0, err
		}
	}
}

// peer opens the process that connected. A kernel before 6.5 does not keep it: there a process could connect, leave the socket
// to a child and end, and its id be given to a cell's before this looks.
func peer(socket, pid int) (int, error) {
	fd, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if err == unix.ENOPROTOOPT {
		return unix.PidfdOpen(pid, 0)
	}
	return fd, err
}

// callerOf is who runs in a control group. A process that the manager put into a cell's group is that cell; who is in no cell's
// counts by its user. What is in a slice of cells and is none of this manager's is refused: it may do less than its user.
func (s *Server) callerOf(group string, uid int) (celld.Caller, error) {
	who := celld.Caller{Cell: cellOf(group, s.root), UID: uid}
	if who.Cell == "" {
		if strings.Contains(group+"/", "/cell.slice/") {
			return celld.Caller{}, fmt.Errorf("%q is no cell of this manager", group)
		}
		return who, nil
	}
	owner, err := s.Cells.OwnerOfCell(who.Cell)
	if err != nil {
		return who, nil
	}
	// A cell runs as its owner and cannot become anybody else, but for cells of root, which are nobody to the machine.
	if owner != uid && (owner != 0 || !spec.IsHostUser(uid)) {
		return celld.Caller{}, fmt.Errorf("user %d is not the owner of %s", uid, who.Cell)
	}
	who.UID = owner
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
			if !ok || part != unit.ServiceUnit(name) { // a door is not the cell
				return ""
			}
			return name
		}
	}
	return ""
}
