package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
)

// Apply makes the kernel's rules those that are wanted, in one batch: there is no moment with others. It may be repeated.
func Apply(w Wanted) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := &nftables.Table{Name: Table, Family: nftables.TableFamilyINet}
	// Added so that it can be deleted, whether it was there or not: the batch ends with a new one.
	c.AddTable(t)
	c.DelTable(t)
	c.AddTable(t)
	for _, s := range []struct {
		name     string
		prefixes []netip.Prefix
	}{{setMembers, w.Members}, {setQuarantine, w.Quarantine}, {setRevoked, w.Revoked}} {
		set := &nftables.Set{Table: t, Name: s.name, KeyType: nftables.TypeIP6Addr, Interval: true}
		if err := c.AddSet(set, intervals(s.prefixes)); err != nil {
			return fmt.Errorf("make the set %s: %w", s.name, err)
		}
	}
	key, err := nftables.ConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetService)
	if err != nil {
		return fmt.Errorf("make the set %s: %w", setDoors, err)
	}
	set := &nftables.Set{Table: t, Name: setDoors, KeyType: key, Concatenation: true}
	var doors []nftables.SetElement
	for _, d := range w.Doors {
		a := d.Addr().As16()
		doors = append(doors, nftables.SetElement{Key: append(append(a[:], binaryutil.BigEndian.PutUint16(d.Port())...), 0, 0)})
	}
	if err := c.AddSet(set, doors); err != nil {
		return fmt.Errorf("make the set %s: %w", setDoors, err)
	}
	for _, ch := range chains(w) {
		chain := c.AddChain(&nftables.Chain{Name: ch.name, Table: t, Type: nftables.ChainTypeFilter, Hooknum: ch.hook, Priority: ch.priority})
		for _, r := range ch.rules {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: r.exprs})
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("write the rules of the mesh: %w", err)
	}
	return nil
}

// intervals are the elements of a set of prefixes, which must not overlap.
func intervals(prefixes []netip.Prefix) (all []nftables.SetElement) {
	for _, p := range prefixes {
		first, end := p.Masked().Addr().As16(), p.Masked().Addr().As16()
		for i := 15; i >= 0; i-- { // the first address behind the prefix
			bit := max(0, min(8, (i+1)*8-p.Bits()))
			if bit == 8 {
				end[i] = 0
				continue
			}
			sum := int(end[i]) + 1<<bit
			if end[i] = byte(sum); sum < 256 {
				break
			}
		}
		all = append(all, nftables.SetElement{Key: first[:]}, nftables.SetElement{Key: end[:], IntervalEnd: true})
	}
	return all
}

// CleanUp removes the table, whoever made it; that there is none is no error.
func CleanUp() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	c.DelTable(&nftables.Table{Name: Table, Family: nftables.TableFamilyINet})
	if err := c.Flush(); err != nil && !errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("remove the rules of the mesh: %w", err)
	}
	return nil
}
