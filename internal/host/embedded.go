package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	runtimeDir = "/run/user/0"
	innerBus   = "unix:path=" + runtimeDir + "/bus"

	startTimeout = 30 * time.Second
	stopTimeout  = 15 * time.Second
)

// record is what host.json says about a running init.
type record struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"starttime"`
}

// findEmbedded reads the record of the embedded manager and verifies it.
func findEmbedded(why string) (*Host, error) {
	if dir, ok := insideState(); ok {
		return &Host{Kind: Embedded, Why: why, BusAddress: innerBus, InitPID: 1, StateDir: dir, SocketDir: "/run/cell", inside: true}, nil
	}
	dir, err := userStateDir()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "host.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrDown
	}
	if err != nil {
		return nil, fmt.Errorf("read the embedded manager's record: %w", err)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil || !alive(r.PID, r.StartTime) {
		return nil, ErrDown
	}
	return embeddedHost(dir, why, r), nil
}

func embeddedHost(dir, why string, r record) *Host {
	return &Host{
		Kind: Embedded, Why: why, BusAddress: fmt.Sprintf("unix:path=/proc/%d/root%s/bus", r.PID, runtimeDir),
		InitPID: r.PID, StateDir: dir, SocketDir: "/run/cell", start: r.StartTime,
	}
}

// Ensure is Find, except that the manager then knows celld: an embedded one
// that is down is brought up first, and its bus answers; a user's is told of
// it; the machine's must have it installed. celld is the absolute path of the
// daemon that a manager without an installed one activates.
func Ensure(ctx context.Context, want Kind, celld string) (*Host, error) {
	h, err := Find(ctx, want)
	if err == nil && h.Kind == System {
		return h, h.ensureSystem()
	}
	if err == nil && h.Kind == User {
		return h, h.ensureUser(ctx, celld)
	}
	if err != nil && !errors.Is(err, ErrDown) {
		return nil, err
	}
	if err == nil && h.answers(ctx) == nil {
		return h, nil
	}
	if err == nil && h.inside {
		return nil, &Error{"the embedded manager's bus does not answer", "look at its journal"}
	}
	if !filepath.IsAbs(celld) {
		return nil, fmt.Errorf("path of celld is not absolute: %q", celld)
	}
	dir, err := userStateDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	unlock, err := lock(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if h, err = Find(ctx, want); err == nil {
		return h, h.await(ctx, nil)
	}
	if !errors.Is(err, ErrDown) {
		return nil, err
	}
	_, why, err := choose(want)
	if err != nil {
		return nil, err
	}
	return bringUp(ctx, dir, why, celld)
}

// bringUp starts an init in new namespaces. The caller holds the lock.
func bringUp(ctx context.Context, dir, why, celld string) (*Host, error) {
	if err := checkTools(); err != nil {
		return nil, err
	}
	cg, err := cgroupDir(dir)
	if err != nil {
		return nil, err
	}
	if err := removeCgroup(cg, time.Second); err != nil {
		return nil, err
	}
	delegate(filepath.Dir(cg))
	if err := os.Mkdir(cg, 0o755); err != nil {
		return nil, &Error{fmt.Sprintf("make a control group: %v", err), "mount cgroup2 writable"}
	}
	logPath := filepath.Join(dir, "host.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		removeCgroup(cg, time.Second)
		return nil, fmt.Errorf("open the log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", "host-init", "--state", dir, "--celld", celld, "--cgroup", cg)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	cmd.Env = initEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Setsid: true}
	if err := cmd.Start(); err != nil {
		removeCgroup(cg, time.Second)
		return nil, &Error{fmt.Sprintf("start the embedded manager: %v", err), "new mount and PID namespaces must be allowed"}
	}
	pid := cmd.Process.Pid
	st, _, err := procStat(pid)
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	r := record{PID: pid, StartTime: st}
	h := embeddedHost(dir, why, r)
	if err == nil {
		err = writeRecord(dir, r)
	}
	if err == nil {
		err = h.await(ctx, exited)
	}
	if err != nil {
		kill(pid, st)
		select {
		case <-exited:
		case <-time.After(5 * time.Second):
		}
		os.Remove(filepath.Join(dir, "host.json"))
		removeCgroup(cg, 2*time.Second)
		if b, rerr := os.ReadFile(logPath); rerr == nil && len(bytes.TrimSpace(b)) > 0 {
			b = bytes.TrimSpace(b)
			return nil, fmt.Errorf("bring up the embedded manager: %w; its log ends: %s", err, b[max(0, len(b)-800):])
		}
		return nil, fmt.Errorf("bring up the embedded manager: %w", err)
	}
	return h, nil
}

// initEnv is the small environment that the embedded manager inherits.
func initEnv() []string {
	env := []string{"USER=root", "LOGNAME=root", "SHELL=/bin/sh"}
	for k, def := range map[string]string{
		"HOME": "/root", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
	} {
		v := os.Getenv(k)
		if v == "" {
			v = def
		}
		env = append(env, k+"="+v)
	}
	// Of a celld that is built to be looked into, and of a driver that stands in for NVIDIA's in tests.
	for _, k := range []string{"GOCOVERDIR", "GORACE", "CELL_NVML", "NVML_STUB"} {
		if v := os.Getenv(k); v != "" {
			env = append(env, k+"="+v)
		}
	}
	return env
}

// checkTools names a missing program before anything is started.
func checkTools() error {
	if journaldPath() == "" {
		return &Error{"systemd-journald is not installed", "install the package systemd"}
	}
	for tool, pkg := range map[string]string{"dbus-daemon": "dbus", "nsenter": "util-linux"} {
		if _, err := exec.LookPath(tool); err != nil {
			return &Error{tool + " is not installed", "install the package " + pkg}
		}
	}
	return nil
}

func writeRecord(dir string, r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "host.json.new")
	if err := os.WriteFile(tmp, append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, "host.json"))
}

// answers asks the manager for its version over the bus.
func (h *Host) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := h.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").
		CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, "org.freedesktop.systemd1.Manager", "Version").Err
}

// await polls until the manager answers, its init ends or the context does.
func (h *Host) await(ctx context.Context, exited <-chan struct{}) error {
	for {
		err := h.answers(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer from the bus: %w (last: %v)", ctx.Err(), err)
		case <-exited:
			return errors.New("init ended early")
		case <-time.After(30 * time.Millisecond):
		}
		if !alive(h.InitPID, h.start) {
			return errors.New("init ended early")
		}
	}
}

// Down ends the embedded manager with everything under it and removes its
// control groups and record. It refuses any other kind.
func (h *Host) Down(ctx context.Context) error {
	if h.Kind != Embedded {
		return fmt.Errorf("the %s manager is not ours to stop", h.Kind)
	}
	if h.inside {
		return &Error{"the embedded manager cannot be taken down from inside", "run this outside of it"}
	}
	unlock, err := lock(ctx, h.StateDir)
	if err != nil {
		return err
	}
	defer unlock()
	if alive(h.InitPID, h.start) {
		ask, cancel := context.WithTimeout(ctx, stopTimeout)
		deadline := time.Now().Add(stopTimeout)
		h.Command(ask, "systemctl", "exit").Run()
		for alive(h.InitPID, h.start) && time.Now().Before(deadline) && ctx.Err() == nil {
			time.Sleep(20 * time.Millisecond)
		}
		cancel()
		if alive(h.InitPID, h.start) {
			if err := kill(h.InitPID, h.start); err != nil {
				return fmt.Errorf("kill init: %w", err)
			}
			for end := time.Now().Add(5 * time.Second); alive(h.InitPID, h.start); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					return fmt.Errorf("init %d does not end", h.InitPID)
				}
			}
		}
	}
	// A later manager may have taken this one's place; leave its things alone.
	if now, err := findEmbedded(""); err == nil && now.StateDir == h.StateDir && now.start != h.start {
		return nil
	}
	cg, err := cgroupDir(h.StateDir)
	if err != nil {
		return err
	}
	if err := removeCgroup(cg, 5*time.Second); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(h.StateDir, "host.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// lock takes the state directory's lock and returns its release.
func lock(ctx context.Context, dir string) (func(), error) {
	f, err := os.OpenFile(filepath.Join(dir, "host.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			f.Close()
			return nil, fmt.Errorf("take the lock: %w", err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("take the lock: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// procStat returns the start time and state letter of a process.
func procStat(pid int) (uint64, byte, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return 0, 0, fmt.Errorf("short stat of process %d", pid)
	}
	st, err := strconv.ParseUint(f[19], 10, 64)
	state := f[0][0]
	// While a thread executes a new program the leader is briefly a zombie.
	if state == 'Z' && f[17] != "0" && f[17] != "1" {
		state = 'R'
	}
	return st, state, err
}

// alive tells whether pid still is the process that started at start.
func alive(pid int, start uint64) bool {
	if pid <= 1 {
		return false
	}
	st, state, err := procStat(pid)
	return err == nil && st == start && state != 'Z' && state != 'X'
}

// kill ends the process through a descriptor, so that a reused pid is safe.
func kill(pid int, start uint64) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !alive(pid, start) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return err
	}
	return nil
}

// cgroupDir is the control group of the manager with this state directory.
func cgroupDir(state string) (string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(b), "\n") {
		left, right, ok := strings.Cut(line, " - ")
		f := strings.Fields(left)
		if ok && len(f) > 4 && strings.HasPrefix(right, "cgroup2 ") {
			sum := sha256.Sum256([]byte(state))
			mount := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(f[4])
			return filepath.Join(mount, "cell-"+hex.EncodeToString(sum[:6])), nil
		}
	}
	return "", &Error{"cgroup2 is not mounted", "mount -t cgroup2 cgroup2 /sys/fs/cgroup"}
}

// removeCgroup removes a tree of empty control groups, deepest first, and
// waits a little for processes that are still on their way out.
func removeCgroup(dir string, wait time.Duration) error {
	for end := time.Now().Add(wait); ; time.Sleep(20 * time.Millisecond) {
		var dirs []string
		filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			unix.Rmdir(dirs[i])
		}
		if !exists(dir) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("control group %s is still in use", dir)
		}
	}
}

// delegate enables for the children of a control group whatever controllers
// it has. Where that is refused, limits are simply not available.
func delegate(dir string) {
	b, _ := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	for _, c := range strings.Fields(string(b)) {
		os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
}
