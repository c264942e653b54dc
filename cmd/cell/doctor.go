package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/internal/host"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

// finding is one thing that was looked at. State is "ok", "warning", which costs a feature, or "error", without which no cell runs.
type finding struct {
	What  string `json:"what"`
	State string `json:"state"`
	Seen  string `json:"seen"`
	Hint  string `json:"hint,omitempty"`
}

func newDoctor() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "doctor", Short: "Check what this machine can do for cells", Args: args(0, 0, "no argument"),
		Long: `Check what this machine can do for cells, and say what will not work and how to mend it. Nothing is
changed or started.

EXIT STATUS
  1 when no cell can run here. Warnings cost a feature and do not count.`,
		RunE: func(c *cobra.Command, _ []string) error {
			p := patient{root: "/", run: command}
			all := append(p.examine(), managed(c.Context())...)
			if asJSON {
				if err := json.NewEncoder(c.OutOrStdout()).Encode(all); err != nil {
					return err
				}
			} else {
				for _, f := range all {
					fmt.Fprintf(c.OutOrStdout(), "%-8s %-16s %s\n", f.State, f.What, f.Seen)
					if f.Hint != "" {
						fmt.Fprintf(c.OutOrStdout(), "%-8s %-16s hint: %s\n", "", "", f.Hint)
					}
				}
			}
			if slices.ContainsFunc(all, func(f finding) bool { return f.State == "error" }) {
				return &codeError{exitError, "this machine cannot run cells as it is", nil}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON; the stable form")
	return c
}

// command runs a program and returns what it wrote.
func command(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).Output()
	return string(out), err
}

// patient is a machine: its files below root and its programs.
type patient struct {
	root string
	run  func(name string, args ...string) (string, error)
}

func (p patient) read(name string) string {
	data, _ := os.ReadFile(filepath.Join(p.root, name))
	return strings.TrimSpace(string(data))
}

func (p patient) has(name string) bool {
	_, err := os.Stat(filepath.Join(p.root, name))
	return err == nil
}

// examine looks at all that needs no manager.
func (p patient) examine() []finding {
	return []finding{
		p.systemd(), p.controllers(), p.namespaces(), p.module("WireGuard", "wireguard", "machines cannot be linked by the kernel's WireGuard; a program of its own takes its place, which costs speed"),
		p.module("nftables", "nf_tables", "rules between machines cannot be set"), p.golang(), clock(), space(),
	}
}

// leastSystemd is the oldest version that is tested: Debian 12's.
const leastSystemd = 252

var firstNumber = regexp.MustCompile(`\d+`)

func (p patient) systemd() finding {
	f := finding{What: "systemd", State: "ok"}
	out, err := p.run("systemctl", "--version")
	if err != nil {
		return finding{f.What, "error", "not installed", "install the packages systemd and dbus"}
	}
	f.Seen, _, _ = strings.Cut(out, "\n")
	if n, _ := strconv.Atoi(firstNumber.FindString(out)); n < leastSystemd {
		f.State, f.Hint = "error", fmt.Sprintf("version %d or later is needed", leastSystemd)
	}
	return f
}

// controllers says which limits the kernel can hold cells to.
func (p patient) controllers() finding {
	f := finding{What: "control groups", State: "ok"}
	mount := ""
	for line := range strings.Lines(p.read("/proc/self/mountinfo")) {
		left, right, ok := strings.Cut(line, " - ")
		if fields := strings.Fields(left); ok && len(fields) > 4 && strings.HasPrefix(right, "cgroup2 ") {
			mount = fields[4]
			break
		}
	}
	if mount == "" {
		return finding{f.What, "error", "cgroup2 is not mounted", "mount -t cgroup2 cgroup2 /sys/fs/cgroup, or boot with systemd.unified_cgroup_hierarchy=1"}
	}
	have := strings.Fields(p.read(filepath.Join(mount, "cgroup.controllers")))
	var missing []string
	for _, c := range []string{"cpu", "io", "memory", "pids"} {
		if !slices.Contains(have, c) {
			missing = append(missing, c)
		}
	}
	f.Seen = "cgroup2 on " + mount + " with " + strings.Join(have, " ")
	if len(have) == 0 {
		f.Seen = "cgroup2 on " + mount + " without controllers"
	}
	if len(missing) > 0 {
		f.State = "warning"
		f.Hint = "limits of " + strings.Join(missing, ", ") + " do not hold here; cell explain says which of a cell's do. They need the unified hierarchy, and in a container controllers that are handed on"
	}
	return f
}

func (p patient) namespaces() finding {
	f := finding{What: "user namespaces", State: "ok", Seen: "allowed"}
	const hint = "cells of ordinary users do not start: sysctl "
	switch {
	case p.read("/proc/sys/user/max_user_namespaces") == "0":
		f.State, f.Seen, f.Hint = "warning", "none may be made", hint+"user.max_user_namespaces=10000"
	case p.read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
		f.State, f.Seen, f.Hint = "warning", "not for ordinary users", hint+"kernel.unprivileged_userns_clone=1"
	case p.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		f.State, f.Seen, f.Hint = "warning", "restricted by AppArmor", hint+"kernel.apparmor_restrict_unprivileged_userns=0, or a profile with userns for cell-membrane"
	}
	return f
}

// module tells whether the kernel has something: loaded, built in, or as a module that it can load.
func (p patient) module(what, name, without string) finding {
	release := p.read("/proc/sys/kernel/osrelease")
	listed := func(file string) bool {
		for line := range strings.Lines(p.read(filepath.Join("/lib/modules", release, file))) {
			path, _, _ := strings.Cut(strings.TrimSpace(line), ":")
			base, _, _ := strings.Cut(filepath.Base(path), ".")
			if strings.ReplaceAll(base, "-", "_") == name {
				return true
			}
		}
		return false
	}
	switch {
	case p.has("/sys/module/" + name):
		return finding{what, "ok", "in the kernel", ""}
	case listed("modules.builtin"):
		return finding{what, "ok", "built into the kernel", ""}
	case listed("modules.dep"):
		return finding{what, "ok", "a module that the kernel loads when it is needed", ""}
	}
	if !p.has("/lib/modules/" + release) { // as in a container
		return finding{what, "warning", "not known: the modules of this kernel (" + release + ") are not here", without}
	}
	return finding{what, "warning", "not found in this kernel (" + release + ")", without}
}

func (p patient) golang() finding {
	out, err := p.run("go", "env", "GOVERSION")
	out = strings.TrimSpace(out)
	if err != nil {
		return finding{"Go", "warning", "not installed", "cells written in Go are built with Go 1.26; other cells do not need it"}
	}
	numbers := firstNumber.FindAllString(out, 2)
	if len(numbers) == 2 {
		major, _ := strconv.Atoi(numbers[0])
		minor, _ := strconv.Atoi(numbers[1])
		if major > 1 || minor >= 26 {
			return finding{"Go", "ok", out, ""}
		}
	}
	return finding{"Go", "warning", out, "cells written in Go need 1.26"}
}

func clock() finding {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return finding{"clock", "warning", "not known: " + err.Error(), ""}
	}
	if state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0 {
		return finding{"clock", "warning", "not synchronized", "timedatectl set-ntp true; certificates and introductions have times in them"}
	}
	return finding{"clock", "ok", "synchronized", ""}
}

// leastSpace is what a start of a cell writes and a journal needs, generously.
const leastSpace = 512 << 20

func space() finding {
	dir := "/var/lib"
	if os.Geteuid() != 0 {
		if home, err := os.UserHomeDir(); err == nil {
			dir = home
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return finding{"disk", "warning", "not known: " + err.Error(), ""}
	}
	free := int64(st.Bavail) * st.Bsize
	f := finding{"disk", "ok", manifest.FormatBytes(free) + " free in " + dir, ""}
	if free < leastSpace {
		f.State, f.Hint = "warning", "free some: builds and the journal need it"
	}
	return f
}

// managed looks at the manager in use and at celld, and starts neither.
func managed(ctx context.Context) []finding {
	h, err := host.Find(ctx, "")
	var lacks *host.Error
	switch {
	case errors.Is(err, host.ErrDown):
		return []finding{{"manager", "ok", "an embedded one, which comes up with the first cell command", ""}}
	case errors.As(err, &lacks):
		return []finding{{"manager", "error", lacks.Msg, lacks.Hint}}
	case err != nil:
		return []finding{{"manager", "error", err.Error(), ""}}
	}
	all := []finding{{"manager", "ok", fmt.Sprintf("%s: %s", h.Kind, h.Why), ""}}
	conn, err := h.Dial(ctx)
	if err != nil {
		return append(all, finding{"bus", "error", err.Error(), "look at dbus.service"})
	}
	defer conn.Close()
	all = append(all, finding{"bus", "ok", "answers", ""})
	if !slices.Contains([]host.Kind{host.System, host.User, host.Embedded}, h.Kind) {
		return all
	}
	cells, err := api.Manager{Conn: conn}.List(ctx, "")
	if err != nil {
		e := explainError(err)
		hint := "cell systemctl status celld"
		if len(e.hints) > 0 {
			hint = e.hints[0]
		}
		return append(all, finding{"celld", "error", e.text, hint})
	}
	return append(all, finding{"celld", "ok", "answers, and knows " + count(len(cells), "cell"), ""})
}
