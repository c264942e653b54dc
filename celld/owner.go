package celld

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

// The machine's celld and PID 1 are root and work on directories that ordinary users change at any moment. What is read
// for a user is therefore read with that user's rights, what runs runs as the user on whose behalf it was asked for, and
// what a cell sees is opened with its owner's rights.

// OwnerOf tells whom a cell in dir runs as; it looks with the rights of the user who asks.
func (s *Server) OwnerOf(dir string, caller int) (uid int, err error) {
	if !s.System {
		return os.Geteuid(), nil
	}
	var st os.FileInfo
	if aerr := s.as(caller, func() { st, err = os.Stat(dir) }); aerr != nil {
		return 0, aerr
	}
	if err != nil {
		return 0, failure(api.ErrNotFound, "%v", err)
	}
	uid, _ = owner(st)
	return uid, nil
}

// OwnerOfCell tells on whose behalf a cell is wanted.
func (s *Server) OwnerOfCell(name string) (uid int, err error) {
	_, r, err := s.rootOf(name)
	if err != nil || !s.System {
		return os.Geteuid(), err
	}
	return r.Owner, nil
}

// loadTree reads the tree at dir with the rights of its owner.
func (s *Server) loadTree(dir string, uid int) (tree *manifest.Tree, errs manifest.Errors) {
	if err := s.as(uid, func() { tree, errs = manifest.LoadTree(dir) }); err != nil {
		return nil, manifest.Errors{{File: filepath.Join(dir, manifest.File), Pos: manifest.Pos{Line: 1, Col: 1}, Msg: err.Error()}}
	}
	if tree == nil {
		return nil, errs
	}
	if here := s.here(); len(tree.Leave(here)) > 0 && len(tree.Nodes) == 0 {
		pos := manifest.Pos{Line: 1, Col: 1}
		return nil, manifest.Errors{{File: filepath.Join(dir, manifest.File), Pos: pos, Msg: fmt.Sprintf("%s is pinned to %s, and this machine is %s", tree.Root.Name, tree.Root.Manifest.Pin, here)}}
	}
	return tree, errs
}

// as runs f with the rights that uid has on files, on a thread of its own which ends with it.
func (s *Server) as(uid int, f func()) error {
	if !s.System || uid == 0 {
		f()
		return nil
	}
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return fmt.Errorf("user %d has no account: %w", uid, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return fmt.Errorf("group of user %d: %w", uid, err)
	}
	names, err := u.GroupIds()
	if err != nil {
		return fmt.Errorf("groups of user %d: %w", uid, err)
	}
	groups := []uint32{uint32(gid)}
	for _, name := range names {
		if id, err := strconv.ParseUint(name, 10, 32); err == nil {
			groups = append(groups, uint32(id))
		}
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread with the changed rights serves nobody else
		// The library's functions change all threads.
		if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); e != 0 {
			done <- fmt.Errorf("take the groups of user %d: %w", uid, e)
			return
		}
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSGID, uintptr(gid), 0, 0)
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
		// It tells of a failure only by what it returns the next time.
		if now, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, ^uintptr(0), 0, 0); int32(now) != int32(uid) {
			done <- fmt.Errorf("take the rights of user %d: not permitted", uid)
			return
		}
		f()
		done <- nil
	}()
	return <-done
}

// safePath refuses a directory that somebody else than root and its owner could exchange for another one: PID 1 looks
// its programs up by path.
func safePath(dir string, uid int) error {
	for d := dir; ; d = filepath.Dir(d) {
		st, err := os.Lstat(d)
		if err != nil {
			return failure(api.ErrNotFound, "%v", err)
		}
		o, _ := owner(st)
		switch {
		case !st.IsDir():
			return failure(api.ErrInvalid, "%s is not a directory", d)
		case o != 0 && o != uid:
			return failure(api.ErrDenied, "%s cannot run as user %d: %s belongs to user %d, who could exchange it; move it, or give it away with chown", dir, uid, d, o)
		case st.Mode().Perm()&0o002 != 0 && st.Mode()&os.ModeSticky == 0:
			return failure(api.ErrDenied, "%s cannot run as user %d: everybody may write in %s; chmod o-w %s", dir, uid, d, d)
		case d == "/":
			return nil
		}
	}
}

// mayPublish refuses ports that ordinary users cannot open: it is PID 1 who opens them.
func mayPublish(m *manifest.Manifest) error {
	first := 1024
	if data, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
			first = n
		}
	}
	for _, addr := range m.Net.Publish {
		port, err := strconv.Atoi(addr[strings.LastIndex(addr, ":")+1:])
		if err != nil || port < first {
			return failure(api.ErrDenied, "%s: publish %s: ports below %d are root's", m.Name, addr, first)
		}
	}
	return nil
}
