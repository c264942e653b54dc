package node

import (
	"bufio"
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/record"
)

// account is a user of this machine, whose programs reach the mesh from an address of their own.
type account struct {
	id     uint32
	name   string
	number uint16
}

const (
	firstPerson = 1000  // before it are the accounts of services
	nobody      = 65534 // of whoever has none
)

// users are the accounts of this machine, those of people first, each with a number that it keeps; n.mu is held. Accounts that are not
// in /etc/passwd have none.
func (n *Node) users() (all []account) {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return nil
	}
	defer f.Close()
	self := uint32(os.Geteuid())
	for lines := bufio.NewScanner(f); lines.Scan(); {
		w := strings.Split(lines.Text(), ":")
		if len(w) < 3 || w[0] == "" || len(w[0]) > record.MaxUser {
			continue
		}
		id, err := strconv.ParseUint(w[2], 10, 32)
		if err != nil || id == 0 || id == nobody || uint32(id) == self {
			continue
		}
		all = append(all, account{id: uint32(id), name: w[0]})
	}
	slices.SortStableFunc(all, func(a, b account) int {
		return cmp.Or(cmp.Compare(person(b), person(a)), cmp.Compare(a.id, b.id))
	})
	all = slices.CompactFunc(all, func(a, b account) bool { return a.id == b.id })
	all = all[:min(len(all), record.MaxUsers)]
	return n.numberUsers(all)
}

func person(a account) int {
	if a.id >= firstPerson {
		return 1
	}
	return 0
}

func (n *Node) numberUsers(all []account) []account {
	if n.state.Users == nil {
		n.state.Users = map[string]uint16{}
	}
	used := map[uint16]bool{}
	for _, number := range n.state.Users {
		used[number] = true
	}
	next, changed := uint16(identity.FirstUser), false
	for i, a := range all {
		number, ok := n.state.Users[a.name]
		if !ok {
			for used[next] && next < 1<<16-1 {
				next++
			}
			number, used[next], changed = next, true, true
			n.state.Users[a.name] = number
		}
		all[i].number = number
	}
	if changed {
		if err := n.save(); err != nil {
			n.Log.Warn(err.Error())
		}
	}
	return all
}
