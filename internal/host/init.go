package host

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// Init runs as the first process of the embedded manager's namespaces. It
// arranges them, starts the journal and the manager, reaps what is left to it
// and returns when the manager ends.
func Init(args []string) error {
	if len(args) > 0 && args[0] == "host-init" {
		args = args[1:]
	}
	fl := flag.NewFlagSet("host-init", flag.ContinueOnError)
	state := fl.String("state", "", "state directory")
	celld := fl.String("celld", "", "path of the daemon")
	cgroup := fl.String("cgroup", "", "control group to enter")
	if err := fl.Parse(args); err != nil {
		return err
	}
	if os.Getpid() != 1 {
		return errors.New("host-init is only for the first process of a PID namespace")
	}
	if *state == "" || *celld == "" {
		return errors.New("host-init needs --state and --celld")
	}
	if *cgroup != "" {
		return enterCgroup(*cgroup, *state, *celld)
	}
	if err := arrange(*state, *celld); err != nil {
		return err
	}
	return supervise()
}

// inaccessible makes the nodes that systemd mounts over what a sandbox hides.
// A system manager makes them at boot; a user manager of root expects them.
func inaccessible(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, kind := range map[string]uint32{
		"reg": unix.S_IFREG, "fifo": unix.S_IFIFO, "sock": unix.S_IFSOCK, "chr": unix.S_IFCHR, "blk": unix.S_IFBLK,
	} {
		err := unix.Mknod(filepath.Join(dir, name), kind, 0)
		// Containers may not make devices; systemd then takes the socket.
		if err != nil && name != "chr" && name != "blk" {
			return fmt.Errorf("make inaccessible node %s: %w", name, err)
		}
	}
	return os.Mkdir(filepath.Join(dir, "dir"), 0)
}

// enterCgroup moves the process, makes its control group the root of a new
// namespace and executes itself again, so that every thread is in there.
func enterCgroup(dir, state, celld string) error {
	runtime.LockOSThread()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("enter the control group: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("new control group namespace: %w", err)
	}
	err := syscall.Exec("/proc/self/exe", []string{"cell", "host-init", "--state", state, "--celld", celld}, os.Environ())
	return fmt.Errorf("execute again: %w", err)
}

// arrange makes the private mounts, directories and unit files.
func arrange(state, celld string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make the mounts slaves: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("make the mounts shared: %w", err)
	}
	// The resolver's file may live in /run, which is about to be covered.
	resolvPath, _ := filepath.EvalSymlinks("/etc/resolv.conf")
	resolv, _ := os.ReadFile("/etc/resolv.conf")
	for _, m := range []struct {
		fs, at, data string
		flags        uintptr
	}{
		{"proc", "/proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"tmpfs", "/run", "mode=0755", unix.MS_NOSUID | unix.MS_NODEV},
	} {
		if err := unix.Mount(m.fs, m.at, m.fs, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.fs, m.at, err)
		}
	}
	if err := mountCgroups(); err != nil {
		return err
	}
	unix.Umask(0o022)
	if strings.HasPrefix(resolvPath, "/run/") {
		if err := writeFile(resolvPath, string(resolv)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll("/run/lock", 0o755); err != nil {
		return err
	}
	if err := machineID(); err != nil {
		return err
	}
	if err := writeFile(insideMark, state+"\n"); err != nil {
		return err
	}
	if err := writeFile("/run/systemd/journald.conf.d/cell.conf",
		"[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nForwardToSyslog=no\n"); err != nil {
		return err
	}
	// The manager starts only where /run/systemd/system says systemd runs.
	for _, d := range []string{"/run/cell", "/run/systemd/system", runtimeDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(runtimeDir, 0o711); err != nil {
		return err
	}
	// The cells' sockets lie in the state directory, so that programs outside
	// can reach them, and appear at the short path that a socket needs.
	sockets := filepath.Join(state, "sockets")
	if err := os.RemoveAll(sockets); err != nil {
		return fmt.Errorf("clear the sockets: %w", err)
	}
	if err := os.MkdirAll(sockets, 0o755); err != nil {
		return fmt.Errorf("make the sockets' directory: %w", err)
	}
	if err := unix.Mount(sockets, "/run/cell", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount the sockets' directory: %w", err)
	}
	if err := inaccessible("/run/systemd/inaccessible"); err != nil {
		return err
	}
	if err := writeUnits(state, celld); err != nil {
		return err
	}
	// Members move to leaves before controllers can be handed to children.
	leaf := filepath.Join(cgroupRoot, "init.scope")
	if err := os.MkdirAll(leaf, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("enter init.scope: %w", err)
	}
	return nil
}

// mountCgroups shows the process's own control group as the root of all. The kernel refuses to mount a file system where it is
// mounted already (do_add_mount), as cgroup2 is in most containers, but not to bind it there.
func mountCgroups() error {
	const at = "/run/cgroup2"
	if err := os.Mkdir(at, 0o755); err != nil {
		return fmt.Errorf("mount cgroup2: %w", err)
	}
	if err := unix.Mount("cgroup2", at, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount cgroup2 on %s: %w", at, err)
	}
	if err := unix.Mount(at, cgroupRoot, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind cgroup2 to %s: %w", cgroupRoot, err)
	}
	if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", at, err)
	}
	return os.Remove(at)
}

// machineID gives the journal an identity where the machine has none yet.
func machineID() error {
	const path = "/etc/machine-id"
	b, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(b)); err == nil && len(id) == 32 {
		return nil
	}
	if err != nil {
		return &Error{"the machine has no " + path, "run systemd-machine-id-setup"}
	}
	var id [16]byte
	rand.Read(id[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	if err := writeFile("/run/machine-id", hex.EncodeToString(id[:])+"\n"); err != nil {
		return err
	}
	if err := unix.Mount("/run/machine-id", path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind a machine id: %w", err)
	}
	return nil
}

// supervise starts the journal and the manager and waits for the latter.
func supervise() error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	env := os.Environ()
	if _, err := spawn("system.slice/systemd-journald.service", env, journaldPath()); err != nil {
		return err
	}
	for end := time.Now().Add(10 * time.Second); !exists("/run/systemd/journal/stdout") || !exists("/run/systemd/journal/socket"); {
		if time.Now().After(end) {
			return errors.New("the journal does not start")
		}
		time.Sleep(5 * time.Millisecond)
	}
	// Units whose user is not root reach the notify socket only with a mode
	// that the usual mask would take away.
	unix.Umask(0)
	env = append(env, "XDG_RUNTIME_DIR="+runtimeDir, "DBUS_SESSION_BUS_ADDRESS="+innerBus, "SYSTEMD_UNIT_PATH="+unitPath)
	manager, err := spawn("user.slice/user-0.slice/user@0.service", env, systemdPath(), "--user", "--log-target=journal")
	if err != nil {
		return err
	}
	go func() {
		for range signals {
			unix.Kill(manager, unix.SIGTERM)
		}
	}()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		if pid == manager {
			if ws.Exited() && ws.ExitStatus() == 0 {
				return nil
			}
			return fmt.Errorf("the manager ended with status %#x", uint32(ws))
		}
	}
}

// spawn starts a program in a control group. Its end is seen by Wait4 alone.
func spawn(group string, env []string, argv ...string) (int, error) {
	dir := cgroupRoot
	for _, part := range strings.Split(group, "/") {
		delegate(dir)
		dir = filepath.Join(dir, part)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return 0, err
		}
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open control group %s: %w", group, err)
	}
	defer unix.Close(fd)
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Dir: "/", Env: env, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: fd},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", argv[0], err)
	}
	return pid, nil
}

func journaldPath() string {
	return firstExisting("/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald")
}
