package celld

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/celld/unit"
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

// storageEnforced says whether a cell's directories are held to their limit. The file system itself answers: to a
// directory with a limited project it tells the limit as its size (statfs, ext4 and xfs).
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
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return "not known: " + err.Error()
	}
	if size := st.Blocks * uint64(st.Bsize); size > uint64(limit)+uint64(st.Bsize) {
		return "no: the file system has no project quotas (mount it with prjquota), or celld may not set them"
	}
	return "yes"
}

// HoldStorage is "celld hold-storage DIR LIMIT", which the machine's celld has systemd run: setting quotas takes rights
// that celld itself does not have.
func HoldStorage(dir, limit string) error {
	n, err := strconv.ParseInt(limit, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("limit storage: %q is not a number of bytes", limit)
	}
	return holdStorage(dir, n)
}

// storage holds a cell to its storage limit where the file system can; cell explain says where it cannot.
func (s *Server) storage(ctx context.Context, p unit.Pair) {
	dir, limit := p.Manifest.Dir, p.Manifest.Resources.StorageMax
	root, err := os.Stat(filepath.Join(dir, markFile))
	limited := err == nil && root.Mode().IsRegular()
	if limit == 0 && !limited {
		return
	}
	err = release{dir}.prepare(p.Name, s.LinkDir)
	switch {
	case err != nil:
	case s.System:
		err = s.Systemd.Run(ctx, "cell-storage@"+p.Name+".service", []string{s.Helper, "hold-storage", dir, strconv.FormatInt(limit, 10)},
			"CAP_SYS_ADMIN", "CAP_FOWNER", "CAP_DAC_OVERRIDE")
	default:
		err = holdStorage(dir, limit)
	}
	if err == nil {
		err = release{dir}.change("limit storage", func(root *os.Root) error {
			if limit == 0 {
				return root.Remove(markFile)
			}
			f, err := root.Create(markFile)
			if err == nil {
				err = f.Close()
			}
			return err
		})
	}
	if err != nil {
		s.Log.Warn("storage is not limited", "cell", p.Name, "error", err)
	}
}

// markFile says that a limit was set, so that its removal from cell.toml takes it away.
const markFile = "run/storage-limited"
