package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

const echoCell = "[cell]\nexec = [\"bin/echo\"]\nbuild = \"cp %s bin/echo\"\nspeaks = \"tcp\"\n[life]\nready = \"notify\"\n"

// sandbox are systemd's own settings that come nearest to a membrane, as options of systemd-run.
var sandbox = []string{
	"-pNoNewPrivileges=yes", "-pProtectSystem=strict", "-pProtectHome=tmpfs", "-pPrivateTmp=yes", "-pPrivateDevices=yes", "-pPrivateNetwork=yes",
	"-pProtectKernelTunables=yes", "-pProtectKernelModules=yes", "-pProtectControlGroups=yes", "-pRestrictSUIDSGID=yes", "-pRestrictNamespaces=yes",
	"-pLockPersonality=yes", "-pSystemCallFilter=@system-service", "-pCapabilityBoundingSet=", "-pTemporaryFileSystem=/run/cell:ro", "-pBindPaths=/run/user/0/systemd/notify",
}

// start compares cell start with systemd-run of the same program: both end when it has said that it is ready.
func (b *bed) start() error {
	dir, err := b.write("echo", fmt.Sprintf(echoCell, b.path("echo")))
	if err != nil {
		return err
	}
	if _, err := b.cell("mitosis", dir); err != nil {
		return err
	}
	stop := func() error { _, err := b.cell("stop", "echo"); return err }
	n := 0
	bare := func(options ...string) rival {
		unit := ""
		return rival{
			func() error {
				if unit != "" {
					return b.tool("systemctl", "stop", unit)
				}
				return nil
			},
			func() error {
				n++
				unit = fmt.Sprintf("bare-%d.service", n)
				options := append([]string{"--quiet", "--collect", "--unit=" + unit, "-pType=notify"}, options...)
				return b.tool("systemd-run", append(options, b.path("echo"))...)
			},
		}
	}
	t, err := contest(15,
		rival{stop, func() error { _, err := b.cell("start", "echo"); return err }},
		bare(), bare(sandbox...),
		rival{nil, func() error { _, err := b.cell("host"); return err }},
		// What it takes to step into the embedded manager's namespaces and do nothing.
		rival{nil, func() error { return b.tool("systemctl", "--version") }},
	)
	if err != nil {
		return err
	}
	cell, plain, boxed, own, enter := t[0], t[1], t[2], t[3], t[4]
	line("start: cell start / systemd-run, without a sandbox", ratio(cell-own, plain-enter), "≤ 1.6 and the command's own start")
	line("start: cell start / systemd-run, with systemd's sandbox", ratio(cell-own, boxed-enter), "")
	line("start: the command's own start", ms(own), "")
	if _, err := b.cell("start", "echo"); err != nil {
		return err
	}
	stays, err := membraneMemory("cell@echo.service")
	if err != nil {
		return err
	}
	line("membrane: private memory that stays, each running cell", fmt.Sprintf("%d kB", stays>>10), "< 1 MB")
	return nil
}

// membraneMemory is what the first process of a cell has for itself, in bytes: nothing else of the membrane stays.
func membraneMemory(unit string) (bytes uint64, err error) {
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		group, _ := os.ReadFile(filepath.Join(p, "cgroup"))
		line, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		if !strings.HasPrefix(string(line), "reaper\x00") || !strings.Contains(string(group), "/"+unit) {
			continue
		}
		rollup, err := os.ReadFile(filepath.Join(p, "smaps_rollup"))
		if err != nil {
			return 0, err
		}
		for l := range strings.Lines(string(rollup)) {
			if f := strings.Fields(l); len(f) == 3 && strings.HasPrefix(f[0], "Private_") {
				n, err := strconv.ParseUint(f[1], 10, 64)
				if err != nil {
					return 0, err
				}
				bytes += n << 10
			}
		}
		return bytes, nil
	}
	return 0, fmt.Errorf("%s has no first process", unit)
}

// first connects and waits for the one byte.
func first(socket string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	var buf [1]byte
	if n, _ := c.Read(buf[:]); n != 1 {
		return fmt.Errorf("%s: %w", socket, errNoReply)
	}
	return nil
}

// wake compares the first call of a sleeping cell with that of a socket-activated service made by hand.
func (b *bed) wake() error {
	if _, err := b.cell("start", "echo"); err != nil {
		return err
	}
	sockets := b.path("state", "cell", "sockets")
	rivals := []rival{{
		func() error { return b.tool("systemctl", "stop", "--quiet", "cell@echo.service") },
		func() error { return first(filepath.Join(sockets, "echo.sock")) },
	}}
	for name, options := range map[string][]string{"hand": nil, "handbox": sandbox} {
		words := append([]string{
			"--quiet", "--unit=" + name, "-pType=notify", "--socket-property=ListenStream=/run/cell/" + name + ".sock",
			"-pStartLimitIntervalSec=0", "--socket-property=TriggerLimitIntervalSec=0",
		}, options...)
		if err := b.tool("systemd-run", append(words, b.path("echo"))...); err != nil {
			return err
		}
	}
	for _, name := range []string{"handbox", "hand"} {
		rivals = append(rivals, rival{
			func() error { return b.tool("systemctl", "stop", "--quiet", name+".service") },
			func() error { return first(filepath.Join(sockets, name+".sock")) },
		})
	}
	t, err := contest(25, rivals...)
	if err != nil {
		return err
	}
	line("first call of a sleeper: cell / service by hand, no sandbox", ratio(t[0], t[2]), "≤ 2")
	line("first call of a sleeper: cell / service by hand, systemd's sandbox", ratio(t[0], t[1]), "")
	return nil
}

// podman compares with podman run of the same binary; without cgroups and network, which only helps podman.
func (b *bed) podman() error {
	if _, err := exec.LookPath("podman"); err != nil {
		line("start: podman run / cell start, same binary", "podman is not installed", "≥ 3")
		return nil
	}
	root := b.path("rootfs")
	for _, d := range []string{"", "proc", "sys", "dev", "etc", "tmp", "run"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	data, err := os.ReadFile(b.path("echo"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "echo"), data, 0o755); err != nil {
		return err
	}
	// Without network, which only helps podman. Where crun refuses hybrid control groups runc does not.
	var options []string
	run := func() error {
		words := append([]string{"--cgroup-manager=cgroupfs", "run", "--rm", "--network=none", "--security-opt=seccomp=unconfined"}, options...)
		_, err := finish(exec.CommandContext(background(), "podman", append(words, "--rootfs", root, "/echo", "once")...))
		return err
	}
	err = run()
	if err != nil {
		options = []string{"--runtime=runc", "--cgroups=no-conmon", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"}
		err = run()
	}
	if err != nil {
		line("start: podman run / cell start, same binary", "podman cannot run here", "≥ 3")
		fmt.Fprintln(os.Stderr, err)
		return nil
	}
	t, err := contest(7,
		rival{func() error { _, err := b.cell("stop", "echo"); return err }, func() error { _, err := b.cell("start", "echo"); return err }},
		rival{nil, run},
		rival{nil, func() error {
			return b.tool("systemd-run", "--quiet", "--collect", "-pType=notify", b.path("echo"))
		}})
	if err != nil {
		return err
	}
	line("start: podman run / cell start, same binary", ratio(t[1], t[0]), "≥ 3")
	line("start: podman run / systemd-run without a sandbox, same binary", ratio(t[1], t[2]), "")
	return nil
}
