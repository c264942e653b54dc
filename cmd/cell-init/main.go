// Command cell-init is the first program of a donor's initial RAM disk. It mounts the root's images, which are in the same archive, with
// memory on top for what is written, and becomes systemd. Where anything fails it says why on the console and starts the machine anew: a
// boot menu that counts its tries falls back to another image then.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "cell-init: it is the first program of a donor's initial RAM disk")
		os.Exit(2)
	}
	err := run()
	for range 3 {
		say(fmt.Sprintf("\r\ncell-init: %v\r\ncell-init: starting the machine anew in a few seconds\r\n", err))
		time.Sleep(3 * time.Second)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	select {}
}

// say tells the screen and a serial line, whichever of them is the kernel's console.
func say(text string) {
	for _, tty := range []string{"/dev/tty0", "/dev/ttyS0", "/dev/ttyAMA0"} {
		if f, err := os.OpenFile(tty, os.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0); err == nil {
			_, _ = f.WriteString(text)
			f.Close()
		}
	}
}

func run() error {
	for _, m := range []struct {
		fs, at, options string
		flags           uintptr
	}{
		{"devtmpfs", "/dev", "mode=755", unix.MS_NOSUID},
		{"proc", "/proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"sysfs", "/sys", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"tmpfs", "/run", "mode=755", unix.MS_NOSUID | unix.MS_NODEV},
		{"tmpfs", "/rw", "mode=755", 0},
	} {
		if err := unix.Mount(m.fs, m.at, m.fs, m.flags, m.options); err != nil && err != unix.EBUSY {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	if err := modules("/modules"); err != nil {
		return err
	}
	for _, image := range []struct{ file, at string }{{"/root.img", "/ro"}, {"/top.img", "/top"}} {
		loop, err := attach(image.file)
		if err != nil {
			return fmt.Errorf("attach %s: %w", image.file, err)
		}
		if err := unix.Mount(loop, image.at, "squashfs", unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("mount %s: %w", image.file, err)
		}
	}
	for _, d := range []string{"/rw/upper", "/rw/work"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", "/new", "overlay", 0, "lowerdir=/top:/ro,upperdir=/rw/upper,workdir=/rw/work"); err != nil {
		return fmt.Errorf("mount memory over the images: %w", err)
	}
	for _, d := range []string{"/dev", "/proc", "/sys", "/run"} {
		if err := unix.Mount(d, "/new"+d, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", d, err)
		}
	}
	if err := unix.Chdir("/new"); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("enter the root: %w", err)
	}
	const systemd = "/usr/lib/systemd/systemd"
	return fmt.Errorf("execute %s: %w", systemd, unix.Exec(systemd, []string{systemd}, []string{"TERM=linux"}))
}

// modules loads the kernel's modules of a directory by their names' order, which is one in which each finds what it needs.
func modules(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("load modules: %w", err)
	}
	for _, e := range files {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return fmt.Errorf("load modules: %w", err)
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && err != unix.EEXIST {
			_, name, _ := strings.Cut(e.Name(), "-")
			return fmt.Errorf("load the module %s: %w", name, err)
		}
	}
	return nil
}

// attach makes a file a block device (loop(4)).
func attach(file string) (device string, err error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", fmt.Errorf("find a free loop device: %w", err)
	}
	device = fmt.Sprintf("/dev/loop%d", n)
	image, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer image.Close()
	l, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer l.Close()
	config := unix.LoopConfig{Fd: uint32(image.Fd())}
	config.Info.Flags = unix.LO_FLAGS_READ_ONLY
	return device, unix.IoctlLoopConfigure(int(l.Fd()), &config)
}
