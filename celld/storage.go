package celld

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A storage limit is a project quota (ext4 with the features quota and project, xfs; both mounted with prjquota) over the
// directories that a cell may write: data/, cache/ and log/. The rest of its directory it sees read-only.
var storageDirs = []string{"data", "cache", "log"}

// projectOf is the project id of a cell's directory; ids below 65536 are left to the administrator.
func projectOf(dir string) uint32 {
	sum := sha256.Sum256([]byte(dir))
	return binary.LittleEndian.Uint32(sum[:])&0x7fffffff | 0x10000
}

// fsxattr is struct fsxattr of linux/fs.h.
type fsxattr struct {
	flags, extsize, nextents, project, cowextsize uint32
	_                                             [8]byte
}

// dqblk is struct if_dqblk of linux/quota.h; limits count blocks of 1024 bytes.
type dqblk struct {
	hard, soft, used          uint64
	inodesHard, inodesSoft    uint64
	inodes, blockTime, inTime uint64
	valid                     uint32
	_                         uint32
}

const (
	inheritProject = 0x200      // FS_XFLAG_PROJINHERIT
	getXattr       = 0x801c581f // FS_IOC_FSGETXATTR
	setXattr       = 0x401c5820 // FS_IOC_FSSETXATTR
	setQuota       = 0x800008
	getQuota       = 0x800007
	projectQuota   = 2
	blockLimits    = 1 // QIF_BLIMITS
)

func quota(fd uintptr, command int, project uint32, q *dqblk) error {
	_, _, e := unix.Syscall6(unix.SYS_QUOTACTL_FD, fd, uintptr(command<<8|projectQuota), uintptr(project), uintptr(unsafe.Pointer(q)), 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// holdStorage puts what a cell may write into its project and limits that; limit 0 takes the limit away.
func holdStorage(dir string, limit int64) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("limit storage: %w", err)
	}
	defer root.Close()
	project := projectOf(dir)
	for _, name := range storageDirs {
		f, err := root.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("limit storage: %w", err)
		}
		err = quota(f.Fd(), setQuota, project, &dqblk{hard: uint64(limit+1023) / 1024, soft: uint64(limit+1023) / 1024, valid: blockLimits})
		if err == nil && limit > 0 {
			err = joinProject(root, f, name, project)
		}
		f.Close()
		if err != nil {
			return fmt.Errorf("limit storage of %s: %w", name, err)
		}
	}
	return nil
}

// joinProject marks a directory, which its new files inherit, and what it holds already.
func joinProject(root *os.Root, top *os.File, name string, project uint32) error {
	done, err := mark(top, project)
	if err != nil || done {
		return err
	}
	return fs.WalkDir(root.FS(), name, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() && !d.Type().IsRegular() {
			return err
		}
		f, err := root.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = mark(f, project)
		return err
	})
}

// mark gives a file its project; done tells that it had it before.
func mark(f *os.File, project uint32) (done bool, err error) {
	var x fsxattr
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), getXattr, uintptr(unsafe.Pointer(&x))); e != 0 {
		return false, e
	}
	if x.project == project {
		return true, nil
	}
	x.project = project
	if st, err := f.Stat(); err == nil && st.IsDir() {
		x.flags |= inheritProject
	}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), setXattr, uintptr(unsafe.Pointer(&x))); e != 0 {
		return false, e
	}
	return false, nil
}

// storageEnforced says whether a cell's directories are held to their limit, as the file system itself answers.
func storageEnforced(dir string, limit int64) string {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "not known: " + cause(err)
	}
	defer root.Close()
	f, err := root.Open(storageDirs[0])
	if err != nil {
		return "no: the cell has not run yet"
	}
	defer f.Close()
	var q dqblk
	switch err := quota(f.Fd(), getQuota, projectOf(dir), &q); {
	case errors.Is(err, unix.EPERM):
		return "no: only the machine's manager may set quotas"
	case err != nil:
		return "no: this file system has no project quotas (mount it with prjquota)"
	case q.hard*1024 < uint64(limit) || q.hard == 0:
		return "no: the quota is not set"
	}
	return "yes"
}
