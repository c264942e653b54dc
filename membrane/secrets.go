package membrane

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/membrane/spec"
)

// maxSecret is the size of a secret, as of systemd's credentials (systemd.exec(5)).
const maxSecret = 1 << 20

// readSecrets reads the cell's secrets with the rights of its owner, into memory that has no name.
func readSecrets(s *spec.Spec) (fds []int, err error) {
	for _, x := range s.Secrets {
		name, from, _ := strings.Cut(x, "=")
		kind, source, _ := strings.Cut(from, ":")
		var data []byte
		switch kind {
		case "file":
			data, err = readFile(source)
		case "command":
			data, err = output("/bin/sh", "-c", source)
		case "encrypted":
			data, err = output("/usr/bin/systemd-creds", "decrypt", "--name="+name, source, "-")
		default:
			err = fmt.Errorf("%q is not a kind of secret", kind)
		}
		if err == nil && len(data) > maxSecret {
			err = fmt.Errorf("it has more than %d bytes", maxSecret)
		}
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", name, err)
		}
		fd, err := unix.MemfdCreate("secret", unix.MFD_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", name, err)
		}
		f := os.NewFile(uintptr(fd), "secret")
		if _, err := f.Write(data); err != nil {
			return nil, fmt.Errorf("secret %s: %w", name, err)
		}
		kept = append(kept, f)
		fds = append(fds, fd)
	}
	return fds, nil
}

// kept are files whose descriptors stay open as long as the process.
var kept []*os.File

// readFile reads at most a byte more than a secret may have of a regular file.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO would block
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return io.ReadAll(io.LimitReader(f, maxSecret+1))
}

// output is what a program writes. Package os/exec would make each start of a cell longer.
func output(argv ...string) ([]byte, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, name := range []string{"HOME", "USER", "LANG"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{Env: env, Files: []uintptr{null.Fd(), w.Fd(), 2}})
	w.Close()
	if err != nil {
		return nil, fmt.Errorf("execute %s: %w", argv[0], err)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	r.Close() // one that writes on has nobody to write to
	var ws unix.WaitStatus
	for {
		if _, werr := unix.Wait4(pid, &ws, 0, nil); werr != unix.EINTR {
			break
		}
	}
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxSecret: // whatever became of it
	case ws.Signaled():
		return nil, fmt.Errorf("%s was killed: %v", argv[0], ws.Signal())
	case ws.ExitStatus() != 0:
		return nil, fmt.Errorf("%s ended with %d", argv[0], ws.ExitStatus())
	}
	return data, nil
}

// putSecrets writes secrets into files that are in no memory that is written to a disk, for the program's user alone.
func putSecrets(s *spec.Spec, who identity, fds []int) error {
	if len(fds) == 0 {
		return nil
	}
	if err := os.MkdirAll(spec.Secrets, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("ramfs", spec.Secrets, "ramfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=700"); err != nil {
		return fmt.Errorf("mount %s: %w", spec.Secrets, err)
	}
	for i, x := range s.Secrets {
		name, _, _ := strings.Cut(x, "=")
		data := make([]byte, maxSecret)
		n, err := unix.Pread(fds[i], data, 0)
		unix.Close(fds[i])
		path := filepath.Join(spec.Secrets, filepath.Base(name))
		if err == nil {
			err = os.WriteFile(path, data[:n], 0o400)
		}
		if err == nil {
			err = os.Chown(path, who.uid, who.gid)
		}
		if err != nil {
			return fmt.Errorf("secret %s: %w", name, err)
		}
	}
	if err := os.Chown(spec.Secrets, who.uid, who.gid); err != nil {
		return err
	}
	return unix.MountSetattr(unix.AT_FDCWD, spec.Secrets, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}
