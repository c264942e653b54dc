package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func background() context.Context { return context.Background() }

// pid is the process of a service as it is numbered out here: the embedded manager numbers its own.
func (b *bed) pid(unit string) (int, error) {
	out, err := b.host.Command(background(), "systemctl", "show", "-p", "MainPID", "--value", unit).Output()
	if err != nil {
		return 0, err
	}
	inner := strings.TrimSpace(string(out))
	all, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return 0, err
	}
	mine, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", b.host.InitPID))
	if err != nil {
		return 0, err
	}
	for _, file := range all {
		ns, _ := os.Readlink(filepath.Join(filepath.Dir(file), "ns/pid"))
		if ns == mine && strings.HasSuffix(field(file, "NSpid"), "\t"+inner) {
			return strconv.Atoi(filepath.Base(filepath.Dir(file)))
		}
	}
	return 0, fmt.Errorf("%s has no process", unit)
}

// manager is the embedded systemd: the child of the namespaces' init with that program.
func (b *bed) manager() (int, error) {
	all, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return 0, err
	}
	for _, file := range all {
		if field(file, "PPid") == strconv.Itoa(b.host.InitPID) && field(file, "Name") == "systemd" {
			return strconv.Atoi(filepath.Base(filepath.Dir(file)))
		}
	}
	return 0, fmt.Errorf("the embedded systemd is not found")
}

func field(file, key string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for l := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(l, key+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// resident is a process's memory in bytes.
func resident(pid int) int64 {
	kb, _, _ := strings.Cut(field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS"), " ")
	n, _ := strconv.ParseInt(kb, 10, 64)
	return n << 10
}

// usage is the processor time of a process (proc(5): fields 14 and 15 of stat, in hundredths of a second).
func usage(pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	f := strings.Fields(rest)
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// wakeups counts how often the threads of a process were put to sleep, each of which was a wake-up before.
func wakeups(pid int) int64 {
	all, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	var sum int64
	for _, file := range all {
		n, _ := strconv.ParseInt(field(file, "voluntary_ctxt_switches"), 10, 64)
		sum += n
	}
	return sum
}
