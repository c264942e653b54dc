package membrane

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/membrane/spec"
)

// helper is what of Cell's runs beside the program.
type helper struct {
	control  int // a socket to it
	gate     int // a byte to it lets it run
	connects int // the program's connect(2), or -1; see leaveConnects
}

// beside starts what of Cell's runs beside the program. It is process 2 of the cell, before the program's, as what is started after it
// leaves its connect(2) to it. It ends with the program.
func beside(s *spec.Spec, who identity, dial int) (*helper, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket pair: %w", err)
	}
	// Not run before there is the program's process: threads have numbers of processes, and the program's has to be known.
	var gate [2]int
	if err := unix.Pipe2(gate[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer unix.Close(gate[0])
	argv := []string{"", spec.Helper, spec.Beside}
	if s.Internet {
		argv = append(argv, spec.Shared)
	}
	at := addresses(s)
	for _, n := range s.Needs {
		argv = append(argv, n.Name+"="+at[n.Host]+":"+strconv.Itoa(n.Port))
	}
	for _, h := range s.Hosts {
		host, port := spec.SplitHost(h)
		argv = append(argv, h+"="+spec.JoinHost(cmp.Or(at[host], host), port))
	}
	if s.Health != nil {
		argv = append(argv, "="+s.Health.String())
	}
	// A command that looks whether the program works is the program's kin.
	env := []string{"CELL_BROKER=" + spec.Broker + "/celld.sock"}
	for _, e := range environment(s, who, 0, os.Environ()) {
		if name, _, _ := strings.Cut(e, "="); s.Health != nil && !slices.Contains([]string{"CELL_BROKER", "NOTIFY_SOCKET", "WATCHDOG_USEC"}, name) {
			env = append(env, e)
		}
	}
	files := []uintptr{0, uintptr(pair[1]), 2}
	if dial >= 0 {
		files = append(files, uintptr(dial))
	}
	argv[0] = string([]byte{byte(len(files))})
	files = append(files, uintptr(gate[0]), uintptr(pair[1])) // which says nothing of why it does not run, but that it does not
	_, err = syscall.ForkExec(tinyPath, argv, &syscall.ProcAttr{
		Dir: s.Inside(), Env: env, Files: files, Sys: &syscall.SysProcAttr{Credential: who.credential()},
	})
	unix.Close(pair[1])
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Helper, err)
	}
	h := &helper{pair[0], gate[1], -1}
	if len(s.Needs) > 0 || len(s.Hosts) > 0 {
		h.connects = leaveConnects()
	}
	return h, nil
}

// watches tells the helper which process the program is, and waits until it is ready for it.
func (h *helper) watches(pid int) error {
	program, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("hold the program: %w", err)
	}
	fds := []int{program}
	if h.connects >= 0 {
		fds = append(fds, h.connects)
	}
	if err := unix.Sendmsg(h.control, []byte{0}, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("tell cell-inside of the program: %w", err)
	}
	if _, err := unix.Write(h.gate, []byte{1}); err != nil {
		return fmt.Errorf("let cell-inside run: %w", err)
	}
	unix.Close(h.gate)
	if said := readOnce(h.control); said != "listening" {
		return fmt.Errorf("reach what it needs: %s", cmp.Or(said, "cell-inside ended at once"))
	}
	return nil
}

// dialer starts what connects the program to hosts outside, in the machine's network and with the machine's names, as the user that the cell
// is to the machine. It returns the descriptor over which it is asked, -1 where there is no such host; it ends when that is closed.
func dialer(s *spec.Spec) (int, error) {
	if len(s.Hosts) == 0 {
		return -1, nil
	}
	self, err := os.Executable()
	if err != nil {
		return -1, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make a socket pair: %w", err)
	}
	attr := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		nobody := uint32(spec.HostUser(s.Name, s.Root))
		attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	argv := append([]string{"cell-inside", spec.Dial}, s.Hosts...)
	_, err = syscall.ForkExec(filepath.Join(filepath.Dir(self), "cell-inside"), argv, &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: []uintptr{0, 2, 2, uintptr(pair[1])}, Sys: attr,
	})
	unix.Close(pair[1])
	if err != nil {
		return -1, fmt.Errorf("start cell-inside: %w", err)
	}
	return pair[0], nil
}

// addresses are those of the hosts of needs and outside, by host. In the cell's own network cell-inside listens at them; in the machine's
// nobody does, and they only name what a connect(2) means. What is written as an address has that one.
func addresses(s *spec.Spec) map[string]string {
	at := map[string]string{}
	add := func(host string) {
		if _, ok := at[host]; !ok {
			at[host] = fmt.Sprintf("127.1.%d.%d", len(at)/250, len(at)%250+1)
		}
	}
	for _, n := range s.Needs {
		add(n.Host)
	}
	for _, h := range s.Hosts {
		host, _ := spec.SplitHost(h)
		if _, err := netip.ParseAddr(host); err != nil {
			add(host)
		}
	}
	return at
}
