//go:build cgo

// Command verify tries what Cell says of graphics processors on a real one, changes no setting of it, and writes a table of what held:
// make gpu-verify. A check that cannot be made here is in the table with the reason.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cell-network/cell/gpu"
	"github.com/cell-network/cell/gpu/nvml"
	"github.com/cell-network/cell/gpu/verify/cuda"
	"github.com/cell-network/cell/sdk/api"
)

const gib = 1 << 30

func main() {
	if len(os.Args) > 1 && os.Args[1] == "load" {
		if err := load(os.Args[2:]); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		return
	}
	out := flag.String("o", "", "file to write the table to")
	seconds := flag.Int("seconds", 15, "how long energy is measured, idle and busy")
	membrane := flag.String("membrane", "bin/cell-membrane", "path of cell-membrane")
	flag.Parse()
	v := &verification{driver: &nvml.Driver{Library: os.Getenv("CELL_NVML")}, seconds: *seconds, membrane: *membrane}
	text := v.run()
	fmt.Print(text)
	if *out != "" {
		if err := os.WriteFile(*out, []byte(text), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "verify:", err)
			os.Exit(1)
		}
	}
	if v.failed {
		os.Exit(1)
	}
}

// load is what a child does to the device: the words are steps.
func load(steps []string) error {
	l, err := cuda.Open()
	if err != nil {
		return err
	}
	var last cuda.Memory
	for _, s := range steps {
		what, arg, _ := strings.Cut(s, "=")
		n, _ := strconv.ParseUint(arg, 0, 64)
		switch what {
		case "alloc": // MiB
			last, err = l.Alloc(n << 20)
		case "fill":
			err = l.Fill(last, uint32(n))
		case "count":
			var found uint64
			if found, err = l.Count(last, uint32(n)); err == nil {
				fmt.Println("found", found)
			}
		case "spin": // seconds
			err = l.Spin(time.Duration(n) * time.Second)
		case "say":
			fmt.Println(arg)
		case "wait": // until the other side closes
			_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

type verification struct {
	driver   *nvml.Driver
	seconds  int
	membrane string
	device   api.GPU
	rows     [][3]string
	failed   bool
}

// errNot is why a check was not made.
type errNot struct{ why string }

func (e errNot) Error() string { return e.why }

func not(format string, args ...any) error { return errNot{fmt.Sprintf(format, args...)} }

// check makes a row: what was seen, and whether it held.
func (v *verification) check(what string, f func() (string, error)) {
	seen, err := f()
	result := "yes"
	var skipped errNot
	switch {
	case errors.As(err, &skipped):
		result, seen = "not checked", skipped.why
	case err != nil:
		result, v.failed = "**no**", true
		seen = strings.TrimSpace(seen + " " + err.Error())
	}
	fmt.Fprintf(os.Stderr, "%-12s %s: %s\n", result, what, seen)
	v.rows = append(v.rows, [3]string{what, seen, result})
}

func (v *verification) run() string {
	all, err := v.driver.Inventory()
	var b strings.Builder
	fmt.Fprintf(&b, "# Graphics processors: what was seen on a real one\n\nMade by `make gpu-verify`, which changes no setting of a device.\n\n")
	if err != nil || len(all.Devices) == 0 {
		v.failed = true
		fmt.Fprintf(&b, "Nothing was checked: %v %s\n", err, all.Problem)
		return b.String()
	}
	v.device = all.Devices[0]
	fmt.Fprintf(&b, "%s, driver %s, CUDA %s, NVML %s; %s.\n\n", v.device.Name, all.Driver, all.CUDA, all.Library, time.Now().UTC().Format("2006-01-02"))
	v.check("Inventory agrees with nvidia-smi", func() (string, error) { return v.smi(all) })
	v.check("Calls that this driver lacks are known and end nothing", func() (string, error) { return v.missing(all) })
	v.check("Device files are there", v.nodes)
	v.check("A process is seen with its memory and control group, and gone when it ends", v.accounting)
	v.check("Use of more than was granted is seen", v.overuse)
	v.check("Two processes share how busy the device is", v.shares)
	v.check("Energy, idle: the counter against power × time", func() (string, error) { return v.energy(false) })
	v.check("Energy, busy: the counter against power × time", func() (string, error) { return v.energy(true) })
	v.check("A program in a membrane with the grant computes", func() (string, error) { return v.sealed(true) })
	v.check("A program in a membrane without it has no device", func() (string, error) { return v.sealed(false) })
	v.check("Memory that another process left holds nothing of it", v.residue)
	v.check("The driver bounds a control group's memory", func() (string, error) { return v.limit(all) })
	fmt.Fprintln(&b, "| check | seen | held |\n|---|---|---|")
	for _, r := range v.rows {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r[0], strings.ReplaceAll(r[1], "|", "/"), r[2])
	}
	return b.String()
}

func (v *verification) smi(all api.GPUs) (string, error) {
	out, err := exec.Command("nvidia-smi", "--query-gpu=uuid,name,memory.total,driver_version,temperature.gpu", "--format=csv,noheader,nounits").Output()
	if err != nil {
		return "", not("nvidia-smi: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(all.Devices) {
		return "", fmt.Errorf("%d devices, nvidia-smi has %d", len(all.Devices), len(lines))
	}
	for i, line := range lines {
		f := strings.Split(line, ", ")
		d := all.Devices[i]
		if len(f) < 5 || f[0] != d.UUID || f[1] != d.Name || f[3] != all.Driver {
			return line, fmt.Errorf("differs from %s, %s, %s", d.UUID, d.Name, all.Driver)
		}
		mib, _ := strconv.ParseFloat(f[2], 64)
		if math.Abs(float64(d.Memory)/(1<<20)-mib) > 0.03*mib {
			return line, fmt.Errorf("differs from %d MiB", d.Memory>>20)
		}
	}
	d := all.Devices[0]
	return fmt.Sprintf("%d of %d; %d MiB, MIG %q, %s", len(lines), len(all.Devices), d.Memory>>20, d.MIG, d.PCI), nil
}

func (v *verification) missing(all api.GPUs) (string, error) {
	err := v.driver.Limit(v.device.UUID, "/nonexistent", gib) // no control group: nothing is set where the call is there
	if lacks := slices.Contains(all.Missing, "nvmlDeviceSetMemoryLimits_v1"); lacks != (err != nil && strings.Contains(err.Error(), "bounds no memory")) {
		return "", fmt.Errorf("missing %v, but: %w", all.Missing, err)
	}
	return fmt.Sprintf("%d: %s", len(all.Missing), strings.Join(all.Missing, ", ")), nil
}

func (v *verification) nodes() (string, error) {
	for _, n := range v.device.Nodes {
		st, err := os.Stat(n)
		if err != nil {
			return "", err
		}
		if st.Mode()&os.ModeCharDevice == 0 {
			return "", fmt.Errorf("%s is no device", n)
		}
	}
	return strings.Join(v.device.Nodes, ", "), nil
}

// child is a process that loads the device.
type child struct {
	*exec.Cmd
	said chan string
	in   io.WriteCloser
}

// child runs steps of load.
func (v *verification) child(steps ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{exec.Command(self, append([]string{"load"}, steps...)...), make(chan string, 16), nil}
	c.Env = append(os.Environ(), "CUDA_VISIBLE_DEVICES="+v.device.UUID)
	if c.in, err = c.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			c.said <- s.Text()
		}
		close(c.said)
	}()
	return c, nil
}

// next ends a step that waits.
func (c *child) next() { _, _ = io.WriteString(c.in, "\n") }

func (c *child) end() {
	_ = c.Process.Kill()
	_ = c.Wait()
}

// hear waits for a word.
func (c *child) hear(word string) error {
	for {
		select {
		case s, ok := <-c.said:
			switch {
			case !ok:
				return errors.New("the load ended without a word")
			case s == word:
				return nil
			case strings.HasPrefix(s, "failed: load CUDA"):
				return not("%s", strings.TrimPrefix(s, "failed: "))
			case strings.HasPrefix(s, "failed: "):
				return errors.New(s)
			}
		case <-time.After(2 * time.Minute):
			return errors.New("the load does not answer")
		}
	}
}

// process looks for a process on the device; nil when it is not there.
func (v *verification) process(pid int) *gpu.Process {
	all, _ := v.driver.Sample()
	for _, s := range all {
		for _, p := range s.Processes {
			if s.UUID == v.device.UUID && p.PID == pid {
				return &p
			}
		}
	}
	return nil
}

func (v *verification) accounting() (string, error) {
	c, err := v.child("alloc=2048", "say=ready", "wait")
	if err != nil {
		return "", err
	}
	defer c.end()
	if err := c.hear("ready"); err != nil {
		return "", err
	}
	begun := time.Now()
	p := v.process(c.Process.Pid)
	for ; p == nil; p = v.process(c.Process.Pid) {
		if time.Since(begun) > 10*time.Second {
			return "", fmt.Errorf("the driver does not list process %d, which has 2 GiB", c.Process.Pid)
		}
	}
	seen := time.Since(begun)
	if p.Memory == nil {
		return "", errors.New("the driver does not tell the memory of a process")
	}
	if *p.Memory < 2*gib || *p.Memory > 4*gib {
		return "", fmt.Errorf("%d MiB of a process that has 2048 and a context", *p.Memory>>20)
	}
	group, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.PID))
	own, _ := os.ReadFile("/proc/self/cgroup")
	if string(group) != string(own) {
		return "", fmt.Errorf("its control group is %q, and not %q", group, own)
	}
	c.end()
	begun = time.Now()
	for v.process(c.Process.Pid) != nil {
		if time.Since(begun) > 10*time.Second {
			return "", errors.New("it is listed ten seconds after its end")
		}
	}
	return fmt.Sprintf("%d MiB for 2048 and a context; listed %.0f ms after it was ready, gone %.0f ms after its end", *p.Memory>>20,
		ms(seen), ms(time.Since(begun))), nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// overuse looks as celld does, twice a second, until two looks in a row see too much.
func (v *verification) overuse() (string, error) {
	c, err := v.child("alloc=1024", "say=ready", "wait", "alloc=2048", "say=over", "wait")
	if err != nil {
		return "", err
	}
	defer c.end()
	if err := c.hear("ready"); err != nil {
		return "", err
	}
	limit := uint64(2560 << 20)
	if p := v.process(c.Process.Pid); p == nil || p.Memory == nil || *p.Memory > limit {
		return "", fmt.Errorf("before: %+v", p)
	}
	c.next()
	if err := c.hear("over"); err != nil {
		return "", err
	}
	begun, times := time.Now(), 0
	for times < 2 {
		if time.Since(begun) > 20*time.Second {
			return "", errors.New("3 GiB of 2.5 were not seen in twenty seconds")
		}
		time.Sleep(500 * time.Millisecond)
		if p := v.process(c.Process.Pid); p != nil && p.Memory != nil && *p.Memory > limit {
			times++
		} else {
			times = 0
		}
	}
	took := time.Since(begun)
	c.end()
	begun = time.Now()
	for v.process(c.Process.Pid) != nil {
		if time.Since(begun) > 20*time.Second {
			return "", errors.New("the memory is not free twenty seconds after the end")
		}
	}
	return fmt.Sprintf("twice after %.0f ms; free %.0f ms after the end", ms(took), ms(time.Since(begun))), nil
}

func (v *verification) shares() (string, error) {
	var pids []int
	for range 2 {
		c, err := v.child("alloc=64", "say=ready", "spin=8")
		if err != nil {
			return "", err
		}
		defer c.end()
		if err := c.hear("ready"); err != nil {
			return "", err
		}
		pids = append(pids, c.Process.Pid)
	}
	told, device := map[int]uint32{}, uint32(0)
	for end := time.Now().Add(6 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		all, _ := v.driver.Sample()
		for _, s := range all {
			if s.UUID != v.device.UUID {
				continue
			}
			if s.Busy != nil {
				device = max(device, *s.Busy)
			}
			for _, p := range s.Processes {
				if p.Busy != nil {
					told[p.PID] = *p.Busy
				}
			}
		}
	}
	if len(told) == 0 {
		return "", not("this driver tells nothing of single processes; the device was busy for %d %%", device)
	}
	return fmt.Sprintf("%d %% and %d %%, of %d %% of the device", told[pids[0]], told[pids[1]], device), nil
}

func (v *verification) energy(busy bool) (string, error) {
	if busy {
		c, err := v.child("alloc=64", "say=ready", fmt.Sprintf("spin=%d", v.seconds+5))
		if err != nil {
			return "", err
		}
		defer c.end()
		if err := c.hear("ready"); err != nil {
			return "", err
		}
		time.Sleep(2 * time.Second)
	}
	read := func() (counter, watts float64, err error) {
		all, _ := v.driver.Sample()
		for _, s := range all {
			if s.UUID == v.device.UUID && s.Power != nil && s.Energy != nil {
				return *s.Energy, *s.Power, nil
			}
		}
		return 0, 0, not("this driver has no counter of energy, or no power")
	}
	first, watts, err := read()
	if err != nil {
		return "", err
	}
	begun, at, sum, last := time.Now(), time.Now(), 0.0, first
	for time.Since(begun) < time.Duration(v.seconds)*time.Second {
		time.Sleep(100 * time.Millisecond)
		counter, w, err := read()
		if err != nil {
			return "", err
		}
		now := time.Now()
		sum += (watts + w) / 2 * now.Sub(at).Seconds()
		watts, at, last = w, now, counter
	}
	counted := last - first
	apart := (counted - sum) / sum * 100
	text := fmt.Sprintf("%.0f J counted, %.0f J by power over %d s (%+.1f %%); %.0f W", counted, sum, v.seconds, apart, counted/time.Since(begun).Seconds())
	if math.Abs(apart) > 15 {
		return text, errors.New("they are far apart")
	}
	return text, nil
}

// acknowledge is what systemd does of its notification socket, as far as cell-membrane waits for it: it closes what it is passed
// (sd_notify(3), BARRIER=1).
func acknowledge(socket int) {
	buf, control := make([]byte, 4096), make([]byte, 256)
	for {
		_, n, _, _, err := syscall.Recvmsg(socket, buf, control, syscall.MSG_CMSG_CLOEXEC)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return
		}
		messages, _ := syscall.ParseSocketControlMessage(control[:n])
		for _, m := range messages {
			fds, _ := syscall.ParseUnixRights(&m)
			for _, fd := range fds {
				syscall.Close(fd)
			}
		}
	}
}

// sealed runs the load in a membrane, as celld would, with or without the device's files.
func (v *verification) sealed(granted bool) (string, error) {
	membrane, err := filepath.Abs(v.membrane)
	if err == nil {
		_, err = os.Stat(membrane)
	}
	if err != nil {
		return "", not("%v", err)
	}
	if os.Geteuid() != 0 {
		return "", not("it needs root")
	}
	dir, err := os.MkdirTemp("/srv", "cell-gpu-verify-")
	if err != nil {
		return "", not("%v", err)
	}
	defer os.RemoveAll(dir)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "load"), self, 0o755)); err != nil {
		return "", err
	}
	notify := filepath.Join(dir, "notify")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() {
		_ = syscall.Shutdown(fd, syscall.SHUT_RDWR) // ends acknowledge
		_ = syscall.Close(fd)
	}()
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: notify}); err != nil {
		return "", err
	}
	go acknowledge(fd)
	args := []string{"--name=verify", "--dir=" + dir, "--ready", "--env=CUDA_VISIBLE_DEVICES", "--env=LD_LIBRARY_PATH", "--env=CELL_CUDA"}
	if granted {
		for _, n := range v.device.Nodes {
			args = append(args, "--device="+n)
		}
	}
	if library := os.Getenv("CELL_CUDA"); library != "" {
		args = append(args, "--read="+library)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, membrane, append(args, "--", dir+"/load", "load", "alloc=512", "fill=7", "count=7", "spin=1", "say=computed")...)
	c.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify, "CUDA_VISIBLE_DEVICES="+v.device.UUID)
	read, write, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer read.Close()
	c.Stdout, c.Stderr = write, write
	err = c.Run() // the launcher; the program goes on, and its end closes the pipe
	write.Close()
	_ = read.SetReadDeadline(time.Now().Add(2 * time.Minute))
	var said []string
	for s := bufio.NewScanner(read); s.Scan(); {
		said = append(said, s.Text())
	}
	text := strings.Join(said, "; ")
	switch {
	case err != nil:
		return "", not("the membrane cannot be made here: %s", text)
	case strings.Contains(text, "load CUDA"):
		return "", not("%s", text)
	case granted && !strings.Contains(text, "computed"):
		return text, errors.New("it did not compute")
	case !granted && strings.Contains(text, "computed"):
		return text, errors.New("it computed")
	}
	return text, nil
}

func (v *verification) residue() (string, error) {
	const word = 0x5ee4dead
	size := min(v.device.Memory>>20/4, 16<<10)
	alloc, mark := fmt.Sprintf("alloc=%d", size), fmt.Sprintf("fill=%#x", uint32(word))
	for _, steps := range [][]string{{alloc, mark, "say=done"}, {alloc, fmt.Sprintf("count=%#x", uint32(word)), "say=done"}} {
		c, err := v.child(steps...)
		if err != nil {
			return "", err
		}
		defer c.end()
		var found string
		for found == "" {
			s, ok := <-c.said
			switch {
			case !ok || strings.HasPrefix(s, "failed: load CUDA"):
				return "", not("%s", strings.TrimPrefix(s, "failed: "))
			case strings.HasPrefix(s, "failed"):
				return "", errors.New(s)
			case strings.HasPrefix(s, "found "):
				n, _ := strconv.ParseUint(strings.TrimPrefix(s, "found "), 10, 64)
				text := fmt.Sprintf("%d of %d words of %d MiB", n, size<<20/4, size)
				if n > 0 {
					return text, errors.New("are still there")
				}
				return text, nil
			case s == "done":
				found = s
			}
		}
		c.end()
	}
	return "", errors.New("nothing was counted")
}

// limit sets a limit for a control group of its own, and takes too much in it.
func (v *verification) limit(all api.GPUs) (string, error) {
	if !all.Limits {
		return "", not("this driver cannot (NVML 13.4 can)")
	}
	group := fmt.Sprintf("/sys/fs/cgroup/cell-gpu-verify-%d", os.Getpid())
	if err := os.Mkdir(group, 0o755); err != nil {
		return "", not("%v", err)
	}
	defer os.Remove(group) // which clears the limit
	if err := v.driver.Limit(v.device.UUID, group, 2*gib); err != nil {
		return "", err
	}
	c, err := v.child("wait", "alloc=512", "say=within", "alloc=4096", "say=over")
	if err != nil {
		return "", err
	}
	defer c.end()
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(c.Process.Pid)), 0); err != nil {
		return "", not("%v", err)
	}
	c.next()
	if err := c.hear("within"); err != nil {
		return "", err
	}
	if err := c.hear("over"); err == nil {
		return "", errors.New("4 GiB more than 2 were given")
	} else if !strings.Contains(err.Error(), "cuMemAlloc") {
		return "", err
	}
	return "2 GiB: 512 MiB were given, 4 GiB more were refused", nil
}
