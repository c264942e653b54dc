package celld

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/cell-network/cell/celld/unit"
	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

// Caller is who wants to call a cell, as the kernel says.
type Caller struct {
	Cell string // the instance; empty for a program that is no cell
	UID  int
	Node string // name of the machine that it is on; empty for this one
	Role string // of that machine

	// Admitted is a program that an administrator's rule allows to use cells that are not its user's.
	Admitted bool
}

// String names the caller: its cell, or its user.
func (c Caller) String() string {
	name, at := "user "+UserName(c.UID), ""
	if c.Cell != "" {
		name = unit.Base(c.Cell)
	}
	if c.Node != "" {
		at = "@" + c.Node
	}
	return name + at
}

// stranger tells whether the caller is on a machine of somebody else.
func (c Caller) stranger() bool { return c.Node != "" && c.Role != member }

// UserName is a user's name, or the number where there is none.
func UserName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

// mayCall decides whether the caller may call a cell, and which of its methods it may not. What a cell names in its [needs]
// is Resolve's to decide.
func (s *Server) mayCall(who Caller, name string) (denied []string, err error) {
	allowed, rule, denied, err := s.judge(who, name)
	if err == nil && !allowed {
		err = failure(api.ErrDenied, "%s may not call %s: %s", who, unit.Base(name), rule)
		s.Log.Warn("denied", "caller", who.String(), "cell", name)
		s.tell(unit.Base(name), err.Error())
	}
	return denied, err
}

// tell writes a line to the log of a cell that says nothing itself of it.
func (s *Server) tell(cell, text string) {
	err := journal.Send(text, journal.PriWarning, map[string]string{"SYSLOG_IDENTIFIER": cell, "CELL": cell})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Log.Debug("write to the log of a cell", "cell", cell, "error", err)
	}
}

// judge is mayCall with the rule that decides, and tells nobody.
func (s *Server) judge(who Caller, name string) (allowed bool, rule string, denied []string, err error) {
	owner, err := s.OwnerOfCell(name)
	if err != nil {
		return false, "", nil, err
	}
	n, err := s.node(name)
	if err != nil {
		return false, "", nil, err
	}
	file := filepath.Join(n.Manifest.Dir, manifest.File)
	if who.stranger() {
		file = "its cell.toml"
	}
	mine := !who.stranger() && (who.UID == owner || who.UID == 0 || who.UID == os.Geteuid())
	rules := n.Manifest.Auth
	switch {
	case who.Cell == "" && (mine || who.Admitted): // who can stop it and change its rules may call it
		return true, "its owner's programs and root's may, whatever [auth] says", nil, nil
	case rules.Allow == nil && !mine:
		return false, whose(who) + ", and its cell.toml has no [auth]", nil, nil
	case rules.Allow != nil && !matches(rules.Allow, who):
		return false, "[auth] of " + file + " does not allow it", nil, nil
	case rules.Allow == nil:
		rule = "it has no [auth], and the caller is its owner's"
	default:
		rule = "[auth] of " + file + " allows it"
	}
	for method, some := range rules.Methods {
		if !matches(some, who) {
			denied = append(denied, method)
		}
	}
	slices.Sort(denied)
	return true, rule, denied, nil
}

// whose says why a cell without [auth] is not the caller's.
func whose(who Caller) string {
	switch {
	case who.stranger():
		return "the machine " + who.Node + " is a " + who.Role + " here"
	case who.Node != "":
		return "it does not belong to a user of that name"
	}
	return "it belongs to another user"
}

func matches(all []manifest.Principal, who Caller) bool {
	cell := unit.Base(who.Cell)
	return slices.ContainsFunc(all, func(p manifest.Principal) bool {
		switch {
		case p.Kind == "node":
			return who.Node == p.Name
		case who.stranger(): // the names there are not those of here
			return false
		}
		switch p.Kind {
		case "user":
			u, err := user.Lookup(p.Name)
			return err == nil && u.Uid == strconv.Itoa(who.UID)
		case "cell":
			return who.Cell != "" && p.Name == cell
		}
		return who.Cell != "" && strings.HasPrefix(cell, p.Name+".")
	})
}

// node is a cell in its tree, as that was read within the last second.
func (s *Server) node(name string) (*manifest.Node, error) {
	root, r, err := s.rootOf(name)
	if err != nil {
		return nil, err
	}
	tree, err := s.tree(root, r, time.Now().Add(-recent))
	if err != nil {
		return nil, err
	}
	n := tree.Find(unit.Base(name))
	if n == nil {
		return nil, failure(api.ErrNotFound, "%s is no longer in the tree of %s", unit.Base(name), r.Dir)
	}
	return n, nil
}
