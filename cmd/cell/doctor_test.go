package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDoctor shows it machines that lack something, one thing each.
func TestDoctor(t *testing.T) {
	healthy := map[string]string{
		"proc/self/mountinfo":                       "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
		"sys/fs/cgroup/cgroup.controllers":          "cpuset cpu io memory pids\n",
		"proc/sys/user/max_user_namespaces":         "100\n",
		"proc/sys/kernel/osrelease":                 "6.1.0\n",
		"lib/modules/6.1.0/modules.dep":             "kernel/drivers/net/wireguard/wireguard.ko.xz: kernel/x.ko\n",
		"lib/modules/6.1.0/modules.builtin":         "kernel/net/netfilter/nf_tables.ko\n",
		"proc/sys/kernel/unprivileged_userns_clone": "1\n",
	}
	tools := map[string]string{"systemctl": "systemd 252 (252.39-1)\n+PAM\n", "go": "go1.26.8\n"}
	for _, c := range []struct{ what, file, text, tool, state, seen, hint string }{
		{"", "", "", "", "", "", ""},
		{"systemd", "", "", "systemctl=systemd 249 (249)", "error", "249", "252"},
		{"systemd", "", "", "systemctl", "error", "not installed", "install"},
		{"control groups", "proc/self/mountinfo", "31 23 0:28 / / rw - ext4 x rw\n", "", "error", "not mounted", "mount -t cgroup2"},
		{"control groups", "sys/fs/cgroup/cgroup.controllers", "cpu pids\n", "", "warning", "cpu pids", "io, memory"},
		{"control groups", "sys/fs/cgroup/cgroup.controllers", "\n", "", "warning", "without controllers", "cpu, io, memory, pids"},
		{"user namespaces", "proc/sys/user/max_user_namespaces", "0\n", "", "warning", "none", "sysctl"},
		{"user namespaces", "proc/sys/kernel/unprivileged_userns_clone", "0\n", "", "warning", "ordinary", "sysctl"},
		{"user namespaces", "proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n", "", "warning", "AppArmor", "sysctl"},
		{"WireGuard", "lib/modules/6.1.0/modules.dep", "kernel/wireguardish.ko:\n", "", "warning", "not found", "cannot be linked"},
		{"nftables", "lib/modules/6.1.0/modules.builtin", "", "", "warning", "not found", "rules"},
		{"Go", "", "", "go", "warning", "not installed", "1.26"},
		{"Go", "", "", "go=go1.25.1", "warning", "go1.25.1", "1.26"},
	} {
		root := t.TempDir()
		for name, text := range healthy {
			if name == c.file {
				continue
			}
			write(t, filepath.Join(root, name), text)
		}
		if c.file != "" {
			write(t, filepath.Join(root, c.file), c.text)
		}
		tool, version, _ := strings.Cut(c.tool, "=")
		p := patient{root: root, run: func(name string, _ ...string) (string, error) {
			if name != tool {
				return tools[name], nil
			}
			if version == "" {
				return "", errors.New("not found")
			}
			return version, nil
		}}
		for _, f := range p.examine() {
			if f.What == "clock" || f.What == "disk" { // this machine's
				continue
			}
			if f.What != c.what {
				if f.State != "ok" || f.Hint != "" {
					t.Errorf("%s %s: %+v", c.what, c.seen, f)
				}
				continue
			}
			if f.State != c.state || !strings.Contains(f.Seen, c.seen) || !strings.Contains(f.Hint, c.hint) {
				t.Errorf("%+v, want %s, %q, %q", f, c.state, c.seen, c.hint)
			}
		}
	}
	if _, err := os.Stat("/proc/self/mountinfo"); err == nil {
		if f := (patient{root: "/", run: command}).controllers(); f.Seen == "" {
			t.Errorf("%+v", f)
		}
	}
}
