package membrane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/membrane/filter"
	"github.com/cell-network/cell/membrane/spec"
)

// Exit statuses, as systemd gives them for what it does itself (systemd.exec(5)).
const (
	exitUsage  = 2
	exitExec   = 203
	exitSealed = 226 // NAMESPACE
)

// Main is the program cell-membrane: it seals what its arguments name, gives it to systemd as the unit's main process and returns the
// status to exit with. Nothing of it stays.
//
//	systemd → Main: opens what only it may open ─→ the sealing: builds the view, starts the first process and the gate
//	             ←─ the gate's process number
//	        → MAINPID=, waits until systemd knows it, opens the gate, ends
//
// The sealing is a thread of its own where the launcher is root, and otherwise this program again in a user namespace, which no process
// of Go can enter by itself, as it has threads.
func Main(args []string) int {
	if len(args) > 2 && args[0] == insideWord {
		return inside(args[1:])
	}
	s, err := spec.Parse(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cell-membrane:", err)
		return exitUsage
	}
	if err := launch(s, args); err != nil {
		var run *runError
		if errors.As(err, &run) {
			fmt.Fprintln(os.Stderr, run)
			return exitExec
		}
		fmt.Fprintf(os.Stderr, "cell-membrane: %s is not started unsealed: %v\n", s.Name, err)
		return exitSealed
	}
	return 0
}

// runError says that everything was sealed, but the program cannot be run.
type runError struct {
	program string
	err     error
}

func (e *runError) Error() string { return fmt.Sprintf("execute %s: %v", e.program, e.err) }

// insideWord makes the program go on inside of the new namespaces.
const insideWord = "inside"

// passed is how many descriptors systemd hands over (sd_listen_fds(3)).
func passed() int {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return 0
	}
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	return n
}

// most is how many descriptors a cell can be handed: the gate's number is one character, and not one of tiny's words.
const most = 100

func launch(s *spec.Spec, args []string) error {
	systemd, err := openNotify(os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		return err
	}
	n := passed()
	if n > most {
		return fmt.Errorf("%d descriptors are handed over, more than %d", n, most)
	}
	keepFrom(n)
	who, trees, err := identify(s)
	if err != nil {
		return err
	}
	secrets, err := readSecrets(s)
	if err != nil {
		return err
	}
	dial, err := dialer(s)
	if err != nil {
		return err
	}
	o := opened{trees, secrets, dial}
	// gate opens the program's way, ran says whether it was run.
	var gate, ran [2]int
	for _, p := range []*[2]int{&gate, &ran} {
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("make a pipe: %w", err)
		}
	}
	var pid int
	if who.namespace {
		pid, err = again(s, who, o, n, args, gate[0], ran[1])
	} else {
		pid, err = here(s, who, o, n, gate[0], ran[1])
	}
	if err != nil {
		return err
	}
	unix.Close(gate[0])
	unix.Close(ran[1])
	// systemd has to know the program before it says a word itself, and that it is ready before it can have ended.
	message := "MAINPID=" + strconv.Itoa(pid)
	if s.Ready {
		message += "\nREADY=1"
	}
	if err := systemd.tell(message); err != nil {
		return err
	}
	if _, err := unix.Write(gate[1], []byte{1}); err != nil {
		return fmt.Errorf("open the gate: %w", err)
	}
	if e := readOnce(ran[0]); e != "" {
		return &runError{s.Program[0], unix.Errno(e[0])}
	}
	return nil
}

// keepFrom keeps the program's descriptors, of which n come from systemd, from all else that is started here: a connection that the first
// process had, too, would not end when the program closes it.
func keepFrom(n int) {
	for fd := range 3 + n {
		unix.CloseOnExec(fd)
	}
}

// namespaces are those of a cell, but for that of users and, which comes when the first process is started, that of processes.
func namespaces(s *spec.Spec) uintptr {
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP)
	if !s.Internet {
		flags |= unix.CLONE_NEWNET
	}
	return flags
}

// here seals on a thread of its own, as root.
func here(s *spec.Spec, who identity, o opened, n, gate, ran int) (pid int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: namespaces, rights and filter are the thread's
		if e := unix.Unshare(int(namespaces(s))); e != nil {
			err = refused("new namespaces", e)
			return
		}
		pid, err = seal(s, who, o, n, gate, ran)
	}()
	<-done
	return pid, err
}

// again seals in this program, executed anew in a user namespace.
func again(s *spec.Spec, who identity, o opened, n int, args []string, gate, ran int) (pid int, err error) {
	var report [2]int // whether all is sealed
	if err := unix.Pipe2(report[:], unix.O_CLOEXEC); err != nil {
		return 0, fmt.Errorf("make a pipe: %w", err)
	}
	files := []uintptr{0, 1, 2}
	for i := range n {
		files = append(files, uintptr(3+i))
	}
	files = append(files, uintptr(gate), uintptr(ran), uintptr(report[1]))
	// Those that are passed on, and as what.
	word := func(fds []int) string {
		words := make([]string, len(fds))
		for i, fd := range fds {
			words[i] = "-"
			if fd >= 0 {
				words[i] = strconv.Itoa(len(files))
				files = append(files, uintptr(fd))
			}
		}
		return strings.Join(words, ",")
	}
	passedOn := word(o.trees) + "/" + word(o.secrets) + "/" + word([]int{o.dial})
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT | unix.CLONE_NEWUSER | namespaces(s)}
	who.set(attr)
	argv := append([]string{"cell-membrane", insideWord, strconv.Itoa(n), passedOn}, args...)
	if _, err := syscall.ForkExec("/proc/self/exe", argv, &syscall.ProcAttr{Env: os.Environ(), Files: files, Sys: attr}); err != nil {
		return 0, refused("new namespaces", err)
	}
	unix.Close(report[1])
	said := readOnce(report[0])
	if pid, err = strconv.Atoi(said); err != nil {
		if said == "" {
			said = "it ended without a word"
		}
		return 0, errors.New(said)
	}
	return pid, nil
}

// refused adds what the user can do about namespaces.
func refused(what string, err error) error {
	hint := ""
	for _, knob := range []struct{ file, off, hint string }{
		{"/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "give cell-membrane an AppArmor profile with userns, or sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
	} {
		if b, e := os.ReadFile(knob.file); e == nil && strings.TrimSpace(string(b)) == knob.off {
			hint = "; " + knob.hint
		}
	}
	return fmt.Errorf("%s: %w%s", what, err, hint)
}

// readOnce reads what was written at once, or nothing at the end: the writer may stay.
func readOnce(fd int) string {
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, buf)
		if err != unix.EINTR {
			return string(buf[:max(0, n)])
		}
	}
}

// notifier is systemd's notification socket.
type notifier struct {
	fd int
	to unix.SockaddrUnix
}

func openNotify(path string) (*notifier, error) {
	if path == "" {
		return nil, errors.New("NOTIFY_SOCKET is not set: it is started by systemd, in a unit of Type=notify")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("notify systemd: %w", err)
	}
	return &notifier{fd, unix.SockaddrUnix{Name: path}}, nil
}

// tell sends a message and waits until systemd has worked on it (sd_notify_barrier(3)).
func (n *notifier) tell(text string) error {
	if err := unix.Sendmsg(n.fd, []byte(text), nil, &n.to, 0); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer unix.Close(p[0])
	err := unix.Sendmsg(n.fd, []byte("BARRIER=1"), unix.UnixRights(p[1]), &n.to, 0)
	unix.Close(p[1])
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	readOnce(p[0])
	return nil
}

// identity is who the program is.
type identity struct {
	uid, gid         int  // as the program sees it
	hostUID, hostGID int  // to the machine
	namespace        bool // in a user namespace of its own, where uid is hostUID
	others           int  // what the spec.IDs-1 users after it are to the machine, from this number plus one on; 0: there are none
	given            bool // the launcher is root and may give it any number
}

// insideID is the user and group of a cell that has no name of its own, in a user namespace: above what useradd gives, none of systemd's.
const insideID = 62000

// set makes a process the first of a user namespace in which it is w, with the rights that sealing takes.
func (w identity) set(attr *syscall.SysProcAttr) {
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: w.uid, HostID: w.hostUID, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: w.gid, HostID: w.hostGID, Size: 1}}
	if w.others > 0 {
		more := syscall.SysProcIDMap{ContainerID: 1, HostID: w.others + 1, Size: spec.IDs - 1}
		attr.UidMappings, attr.GidMappings = append(attr.UidMappings, more), append(attr.GidMappings, more)
	}
	if w.given {
		attr.GidMappingsEnableSetgroups = true
		attr.Credential = &syscall.Credential{Uid: uint32(w.uid), Gid: uint32(w.gid)}
	}
	attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP, unix.CAP_DAC_OVERRIDE}
}

// identify decides who the program is. A cell of root gets a number of the machine's that is nobody's, and what belongs to root in its
// directory belongs to that number inside (mount_setattr(2), MOUNT_ATTR_IDMAP): root without a capability would still be the owner of
// most of the machine. trees are those directories, in the order of owned. Where the file system cannot do that, as overlayfs, the
// program stays root to the machine, in a user namespace of its own. Cells of others are their owners, in a user namespace: nobody else
// may make the other namespaces.
func identify(s *spec.Spec) (identity, []int, error) {
	w := identity{uid: os.Geteuid(), gid: os.Getegid(), hostUID: os.Geteuid(), hostGID: os.Getegid(), namespace: true}
	if w.uid == 0 || s.Foreign {
		w.uid, w.gid = insideID, insideID
	}
	if s.Root {
		w.uid, w.gid = 0, 0
	}
	if w.hostUID != 0 {
		return w, nil, nil
	}
	nobody := spec.HostUser(s.Name, s.Root)
	w.given = true
	if s.Root {
		w.others = nobody
	}
	trees, err := idmapped(s, nobody)
	if err != nil {
		fmt.Fprintf(os.Stderr, "cell-membrane: %s stays root to the machine, in a user namespace: %v\n", s.Name, err)
		return w, nil, nil
	}
	w.hostUID, w.hostGID = nobody, nobody
	if !s.Root {
		w.uid, w.gid, w.namespace = nobody, nobody, false
	}
	return w, trees, nil
}

// idmapped opens what owned names so that each thing's owner shows as host user to.
func idmapped(s *spec.Spec, to int) (trees []int, err error) {
	keepers := map[int]int{} // user namespaces that map an owner on disk
	for _, o := range owned(s) {
		fd, err := o.open()
		if err != nil {
			return nil, err
		}
		trees = append(trees, fd)
		if fd < 0 || o.plain {
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstatat(fd, "", &st, unix.AT_EMPTY_PATH); err != nil {
			return nil, fmt.Errorf("look at %s: %w", o.from, err)
		}
		owner := int(st.Uid)
		ns, ok := keepers[owner]
		if !ok {
			if ns, err = keepNamespace(owner, to, s.Root); err != nil {
				return nil, err
			}
			keepers[owner] = ns
		}
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns)}
		err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr)
		if err != nil && (o.from != s.Broker || !everybodys(filepath.Join(s.Broker, "celld.sock"))) {
			return nil, fmt.Errorf("map the owner of %s: %w", o.from, err)
		}
	}
	return trees, nil
}

// everybodys tells whether all may connect to a socket.
func everybodys(socket string) bool {
	st, err := os.Stat(socket)
	return err == nil && st.Mode().Perm()&0o002 != 0
}

// keepNamespace opens a user namespace in which owner, and with all the others after it, is host user to.
func keepNamespace(owner, to int, ranges bool) (int, error) {
	tiny, err := tinyMemory()
	if err != nil {
		return -1, err
	}
	defer unix.Close(tiny)
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, fmt.Errorf("make a pipe: %w", err)
	}
	defer unix.Close(p[1])
	m := []syscall.SysProcIDMap{{ContainerID: owner, HostID: to, Size: 1}}
	if ranges && owner == 0 {
		m[0].Size = spec.IDs
	}
	pid, err := syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", tiny), []string{"pause"}, &syscall.ProcAttr{
		Files: []uintptr{uintptr(p[0])},
		Sys:   &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: m, GidMappings: m, GidMappingsEnableSetgroups: true},
	})
	unix.Close(p[0])
	if err != nil {
		return -1, fmt.Errorf("new user namespace: %w", err)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/user", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	unix.Kill(pid, unix.SIGKILL)
	_, _ = unix.Wait4(pid, nil, 0, nil)
	if err != nil {
		return -1, fmt.Errorf("open the user namespace: %w", err)
	}
	return fd, nil
}

func tinyMemory() (int, error) {
	fd, err := unix.MemfdCreate("cell-membrane", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("make a program in memory: %w", err)
	}
	if _, err := unix.Write(fd, tinyELF()); err != nil {
		return -1, fmt.Errorf("write a program to memory: %w", err)
	}
	return fd, nil
}

// thing is a file or directory of the machine that the cell sees.
type thing struct {
	from, to string
	write    bool
	plain    bool // whoever owns it on the machine owns it inside
	optional bool // absent inside where it is absent on the machine
	follow   bool // a link is followed
}

// open is a mount of the thing that is nowhere yet, or -1 where it is absent.
func (o thing) open() (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE)
	if !o.follow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, o.from, flags)
	if o.optional && (err == unix.ENOENT || err == unix.ENOTDIR) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", o.from, err)
	}
	return fd, nil
}

// owned are the things of the cell's owner, whose directories may be closed to the number that the cell is to the machine.
func owned(s *spec.Spec) []thing {
	all := []thing{{from: s.Dir, to: s.Inside(), follow: true}}
	for _, d := range spec.Own {
		// One that its owner keeps elsewhere is a link; what others wrote leads nowhere.
		all = append(all, thing{from: filepath.Join(s.Dir, d), to: filepath.Join(s.Inside(), d), write: true, optional: true, follow: !s.Foreign})
	}
	if s.Broker != "" {
		all = append(all, thing{from: s.Broker, to: spec.Broker, follow: true})
	}
	for _, p := range s.Read {
		all = append(all, thing{from: p, to: p, follow: true})
	}
	for _, p := range s.Write {
		all = append(all, thing{from: p, to: p, write: true, follow: true})
	}
	if s.Port > 0 || s.Beside() || s.Program[0] == spec.Helper {
		if self, err := os.Executable(); err == nil {
			all = append(all, thing{from: filepath.Join(filepath.Dir(self), "cell-inside"), to: spec.Helper, plain: true, follow: true})
		}
	}
	for _, p := range s.Show {
		if !slices.ContainsFunc([]string{"/usr/", "/bin/", "/sbin/", "/lib/", s.Dir + "/"}, func(d string) bool { return strings.HasPrefix(p, d) }) {
			all = append(all, thing{from: p, to: p, plain: true, follow: true})
		}
	}
	return all
}

// inside goes on in the new namespaces: args are the number of descriptors from systemd, the opened trees, and the spec's.
func inside(args []string) int {
	runtime.LockOSThread() // the PID namespace, rights and filter of what is started are this thread's
	n, err := strconv.Atoi(args[0])
	if err != nil || n > most {
		return exitUsage
	}
	gate, ran, report := 3+n, 4+n, 5+n
	for _, fd := range []int{gate, ran, report} {
		unix.CloseOnExec(fd)
	}
	keepFrom(n)
	lists := strings.Split(args[1], "/")
	if len(lists) != 3 {
		return exitUsage
	}
	o := opened{descriptors(lists[0]), descriptors(lists[1]), descriptors(lists[2])[0]}
	s, err := spec.Parse(args[2:])
	if err != nil {
		return exitUsage
	}
	who := identity{uid: os.Geteuid(), gid: os.Getegid(), namespace: true}
	pid, err := seal(s, who, o, n, gate, ran)
	text := strconv.Itoa(pid)
	if err != nil {
		text = err.Error()
	}
	if _, werr := unix.Write(report, []byte(text)); err != nil || werr != nil {
		return exitSealed
	}
	return 0
}

// opened are descriptors that were opened where the owner's rights were still there: owned things, which may be none, secrets, and that of who
// connects to hosts outside, or -1.
type opened struct {
	trees, secrets []int
	dial           int
}

// descriptors reads what again wrote.
func descriptors(words string) (fds []int) {
	if words == "" {
		return nil
	}
	for w := range strings.SplitSeq(words, ",") {
		fd, err := strconv.Atoi(w)
		if err != nil {
			fd = -1
		} else {
			unix.CloseOnExec(fd)
		}
		fds = append(fds, fd)
	}
	return fds
}

// seal builds the view and starts the program's gate, of which it returns the process number. gate and ran are the gate's descriptors.
func seal(s *spec.Spec, who identity, o opened, n, gate, ran int) (pid int, err error) {
	started, err := view(s, who, o)
	if err != nil {
		return 0, err
	}
	if err := giveUp(s); err != nil {
		return 0, err
	}
	if err := filter.Load(); err != nil {
		return 0, err
	}
	var helper *helper
	if s.Beside() {
		if helper, err = beside(s, who, o.dial); err != nil {
			return 0, err
		}
	}
	files := []uintptr{0, 1, 2}
	for i := range n {
		files = append(files, uintptr(3+i))
	}
	files = append(files, uintptr(gate), uintptr(ran))
	program := s.Program
	if s.Port > 0 {
		program = append([]string{spec.Helper, spec.ServePort, strconv.Itoa(s.Port), s.When}, program...)
	}
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT, Credential: who.credential()}
	pid, err = syscall.ForkExec(tinyPath, append([]string{string([]byte{byte(3 + n)})}, program...), &syscall.ProcAttr{
		Dir: s.Inside(), Env: environment(s, who, n, os.Environ()), Files: files, Sys: attr,
	})
	if err != nil {
		return 0, fmt.Errorf("start the gate: %w", err)
	}
	if _, err := unix.Write(started, []byte{1}); err != nil {
		return 0, fmt.Errorf("tell the first process: %w", err)
	}
	if helper != nil {
		if err := helper.watches(pid); err != nil {
			return 0, err
		}
	}
	return pid, nil
}

// credential is who a process has to become that is started where no user namespace has made it that already.
func (w identity) credential() *syscall.Credential {
	if w.namespace {
		return nil
	}
	return &syscall.Credential{Uid: uint32(w.hostUID), Gid: uint32(w.hostGID)}
}

// firstProcess starts process 1 of a new PID namespace, which outlives this program and ends when it is alone, and has it mount the
// namespace's /proc. A byte to started says that process 2 is there; without one it ends with this program. refused says why there is no
// /proc, or 0.
func firstProcess(who identity, proc string) (started int, refused unix.Errno, err error) {
	tiny, err := tinyMemory()
	if err != nil {
		return -1, 0, err
	}
	defer unix.Close(tiny)
	if err := unix.Unshare(unix.CLONE_NEWPID); err != nil {
		return -1, 0, fmt.Errorf("new PID namespace: %w", err)
	}
	var in, out [2]int
	for _, p := range []*[2]int{&in, &out} {
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return -1, 0, fmt.Errorf("make a pipe: %w", err)
		}
	}
	attr := &syscall.SysProcAttr{Credential: who.credential()}
	if attr.Credential != nil {
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN} // to mount, and no longer
	}
	_, err = syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", tiny), []string{"reaper", proc, "proc"}, &syscall.ProcAttr{
		Dir: "/", Files: []uintptr{uintptr(in[0]), uintptr(out[1])}, Sys: attr,
	})
	unix.Close(in[0])
	unix.Close(out[1])
	if err != nil {
		return -1, 0, fmt.Errorf("start the first process: %w", err)
	}
	said := readOnce(out[0])
	unix.Close(out[0])
	if said == "" {
		return -1, 0, errors.New("the first process ended at once")
	}
	return in[1], unix.Errno(said[0]), nil
}

// common are the variables that each cell has, where systemd sets them.
var common = []string{"PATH", "LANG", "LANGUAGE", "TZ", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_USEC"}

// environment is what the program gets: a user's manager hands the whole of the user's session to its units.
func environment(s *spec.Spec, who identity, n int, of []string) []string {
	keep := map[string]bool{}
	for _, name := range append(common, s.Env...) {
		keep[name] = true
	}
	env := []string{"HOME=" + filepath.Join(s.Inside(), "data"), "USER=" + who.name(s), "LOGNAME=" + who.name(s)}
	for _, e := range of {
		name, _, _ := strings.Cut(e, "=")
		if keep[name] || strings.HasPrefix(name, "LC_") {
			env = append(env, e)
			keep[name] = false
		}
	}
	// The program is the second process of its namespace, or comes after what runs beside it.
	pid := "2"
	if s.Beside() {
		pid = "3"
	}
	if n > 0 {
		env = append(env, "LISTEN_PID="+pid)
	}
	if os.Getenv("WATCHDOG_USEC") != "" {
		env = append(env, "WATCHDOG_PID="+pid)
	}
	if len(s.Secrets) > 0 {
		env = append(env, "CREDENTIALS_DIRECTORY="+spec.Secrets)
	}
	if s.Notify {
		env = append(env, "NOTIFY_SOCKET="+spec.Notify)
	}
	return env
}

// rootCapabilities are what user 0 of a cell keeps: what programs use to become another user and to serve.
var rootCapabilities = []int{
	unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_NET_BIND_SERVICE,
}

// giveUp takes away every right but those that user 0 of a cell keeps; what is started from now on has no others.
func giveUp(s *spec.Spec) error {
	keep := uint64(0)
	if s.Root {
		for _, c := range rootCapabilities {
			keep |= 1 << c
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("give up ambient capabilities: %w", err)
	}
	for c := 0; c < 64; c++ {
		if keep&(1<<c) != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err == unix.EINVAL {
			break // the kernel has no more
		} else if err != nil {
			return fmt.Errorf("give up capability %d: %w", c, err)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{}
	// Permitted and effective stay until what is started replaces this program; inheritable would pass on.
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	if _, _, e := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0); e != 0 {
		return fmt.Errorf("give up inheritable capabilities: %w", e)
	}
	return nil
}
