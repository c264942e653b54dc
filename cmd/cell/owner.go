package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"github.com/cell-network/cell/internal/host"
)

// actAsOwner gives up root's rights for those of the owner of dir, for good: a build is that user's command, and a link
// in that user's directory must not lead root elsewhere. Under an embedded manager cells run as root, and so do builds.
func actAsOwner(ctx context.Context, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	uid := int(st.Sys().(*syscall.Stat_t).Uid)
	if uid == 0 {
		return nil
	}
	if h, err := host.Find(ctx, ""); err != nil || h.Kind != host.System {
		return nil // whoever needs the manager says what is wrong with it
	}
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return &codeError{exitDenied, fmt.Sprintf("%s belongs to user %d, who has no account", dir, uid), nil}
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return fmt.Errorf("group of %s: %w", u.Username, err)
	}
	groups := []int{gid}
	ids, err := u.GroupIds()
	if err != nil {
		return fmt.Errorf("groups of %s: %w", u.Username, err)
	}
	for _, id := range ids {
		if n, err := strconv.Atoi(id); err == nil {
			groups = append(groups, n)
		}
	}
	for _, step := range []func() error{
		func() error { return syscall.Setgroups(groups) },
		func() error { return syscall.Setgid(gid) },
		func() error { return syscall.Setuid(uid) },
		func() error { return os.Setenv("HOME", u.HomeDir) },
		func() error { return os.Setenv("USER", u.Username) },
		func() error { return os.Setenv("LOGNAME", u.Username) },
		// The system's celld serves, as it would have served root.
		func() error { return os.Setenv("CELL_MANAGER", string(host.System)) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("act as %s: %w", u.Username, err)
		}
	}
	return nil
}
