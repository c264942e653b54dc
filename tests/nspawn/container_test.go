package nspawn

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestContainers runs cell in containers without an init, as people start them from an image: cell brings up a manager of its own,
// or says what the container lacks.
func TestContainers(t *testing.T) {
	const works = "cell mitosis /srv/app && curl -sS --unix-socket /srv/app/run/cell.sock http://cell/ && cell host down && ! ls -d /sys/fs/cgroup/cell-*"
	for _, shape := range []struct {
		name   string
		args   []string // of systemd-nspawn
		script string
		code   int
		wants  []string
	}{
		{"plain", nil, works, 0, []string{"app: 1 cell ready", "\none\n"}},
		{"cgroup2 mounted twice", nil, "mount -t cgroup2 cgroup2 /mnt && " + works, 0, []string{"\none\n"}},
		{"cgroup2 not mounted", nil, "umount -l /sys/fs/cgroup && cell mitosis /srv/app", 1, []string{"cgroup2 is not mounted", "hint: mount -t cgroup2"}},
		{
			"cgroup2 read-only", nil, "mount -o remount,bind,ro /sys/fs/cgroup && cell mitosis /srv/app", 1,
			[]string{"make a control group", "read-only file system", "hint: mount cgroup2 writable"},
		},
		{
			"no right to mount",
			[]string{"--drop-capability=CAP_SYS_ADMIN"},
			"cell mitosis /srv/app", 1,
			[]string{"operation not permitted", "hint: "},
		},
		{
			"a user",
			[]string{"--user=alice"},
			"cell status", 1,
			[]string{"systemd does not run this machine", "hint: run it as root"},
		},
	} {
		t.Run(shape.name, func(t *testing.T) {
			m := newMachine(t)
			m.cell("/srv/app", "app", "one", 0)
			out, code := m.container(shape.args, shape.script)
			if code != shape.code {
				t.Errorf("exit status %d, want %d", code, shape.code)
			}
			for _, w := range shape.wants {
				if !strings.Contains(out, w) {
					t.Errorf("no %q", w)
				}
			}
			if strings.Contains(out, "loginctl") {
				t.Error("loginctl does not help here")
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// container runs a shell script in the machine as a container whose PID 1 is no service manager.
func (m *machine) container(args []string, script string) (string, int) {
	m.t.Helper()
	if err := os.Mkdir(m.cgroup, 0o755); err != nil {
		m.t.Fatal(err)
	}
	cg, err := unix.Open(m.cgroup, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer unix.Close(cg)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	m.t.Cleanup(cancel)
	words := append([]string{
		"--quiet", "--as-pid2", "-D", m.root, "-M", "cell-test-" + strconv.Itoa(os.Getpid()), "--keep-unit", "--register=no", "--capability=all",
		"--private-network", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=pipe",
	}, args...)
	m.cmd = exec.CommandContext(ctx, "systemd-nspawn", append(words, "/bin/sh", "-c", script)...)
	m.cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	m.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: cg, Pdeathsig: syscall.SIGKILL}
	m.exited, m.leader = make(chan struct{}), 0
	m.t.Cleanup(m.end)
	out, err := m.cmd.CombinedOutput()
	close(m.exited)
	if err != nil && m.cmd.ProcessState == nil {
		m.t.Fatalf("start systemd-nspawn: %v", err)
	}
	return string(out), m.cmd.ProcessState.ExitCode()
}
