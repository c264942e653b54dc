package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
)

// ErrNoGroups tells that the kernel does not know which control group a socket is of.
var ErrNoGroups = errors.New("the kernel does not tell sockets of cells apart (CONFIG_NFT_SOCKET)")

// Apply makes the kernel's rules those that are wanted, in one batch: there is no moment with others. It may be repeated. With
// ErrNoGroups all rules hold but that on Cells.
func Apply(w Wanted) error {
	err := apply(w)
	if err == nil || w.Cells.ID == 0 {
		return err
	}
	w.Cells = Slice{}
	if apply(w) != nil {
		return err
	}
	return ErrNoGroups
}

// refusedFor is how long a refusal is remembered, and rememberRefused how many are.
const refusedFor, rememberRefused = 10 * time.Minute, 4096

func apply(w Wanted) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := &nftables.Table{Name: Table, Family: nftables.TableFamilyINet}
	// Added so that it can be deleted, whether it was there or not: the batch ends with a new one.
	c.AddTable(t)
	c.DelTable(t)
	c.AddTable(t)
	pair, err := nftables.ConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetService)
	if err != nil {
		return fmt.Errorf("make the set %s: %w", setOpen, err)
	}
	three, err := nftables.ConcatSetType(nftables.TypeIP6Addr, nftables.TypeIP6Addr, nftables.TypeInetService)
	if err != nil {
		return fmt.Errorf("make the set %s: %w", setPairs, err)
	}
	var open, pairs, users, addresses []nftables.SetElement
	for _, d := range w.Open {
		open = append(open, nftables.SetElement{Key: addressPort(d)})
	}
	for _, p := range w.Pairs {
		first, last := p.From.Masked().Addr().As16(), lastOf(p.From)
		to := addressPort(p.To)
		pairs = append(pairs, nftables.SetElement{Key: append(first[:], to...), KeyEnd: append(last[:], to...)})
	}
	for _, u := range w.Users {
		id := binaryutil.NativeEndian.PutUint32(u.ID)
		users = append(users, nftables.SetElement{Key: id})
		addresses = append(addresses, nftables.SetElement{Key: id, Val: u.Address.AsSlice()})
	}
	for _, s := range []struct {
		set      nftables.Set
		elements []nftables.SetElement
	}{
		{nftables.Set{Name: setMembers, KeyType: nftables.TypeIP6Addr, Interval: true}, intervals(w.Members)},
		{nftables.Set{Name: setOwn, KeyType: nftables.TypeIP6Addr, Interval: true}, intervals(w.Own)},
		{nftables.Set{Name: setQuarantine, KeyType: nftables.TypeIP6Addr, Interval: true}, intervals(w.Quarantine)},
		{nftables.Set{Name: setRevoked, KeyType: nftables.TypeIP6Addr, Interval: true}, intervals(w.Revoked)},
		{nftables.Set{Name: setOpen, KeyType: pair, Concatenation: true}, open},
		{nftables.Set{Name: setPairs, KeyType: three, Concatenation: true, Interval: true}, pairs},
		{nftables.Set{Name: setUsers, KeyType: nftables.TypeUID, KeyByteOrder: binaryutil.NativeEndian}, users},
		{nftables.Set{Name: setAddresses, KeyType: nftables.TypeUID, KeyByteOrder: binaryutil.NativeEndian, DataType: nftables.TypeIP6Addr, IsMap: true}, addresses},
		{nftables.Set{Name: setRate, KeyType: nftables.TypeIP6Addr, Dynamic: true, HasTimeout: true, Timeout: time.Minute, Size: 1 << 16}, nil},
		{nftables.Set{Name: setRefused, KeyType: three, Concatenation: true, Dynamic: true, HasTimeout: true, Timeout: refusedFor, Size: rememberRefused, Counter: true}, nil},
	} {
		s.set.Table = t
		if err := c.AddSet(&s.set, s.elements); err != nil {
			return fmt.Errorf("make the set %s: %w", s.set.Name, err)
		}
	}
	for _, ch := range chains(w) {
		chain := c.AddChain(&nftables.Chain{Name: ch.name, Table: t, Type: ch.kind, Hooknum: ch.hook, Priority: ch.priority})
		for _, r := range ch.rules {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: r.exprs})
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("write the rules of the mesh: %w", err)
	}
	return nil
}

// addressPort is the key of an address and a port, each filled up to whole registers.
func addressPort(d netip.AddrPort) []byte {
	a := d.Addr().As16()
	return append(append(a[:], binaryutil.BigEndian.PutUint16(d.Port())...), 0, 0)
}

func lastOf(p netip.Prefix) [16]byte {
	a, m := p.Masked().Addr().As16(), mask(p.Bits())
	for i := range a {
		a[i] |= ^m[i]
	}
	return a
}

// intervals are the elements of a set of prefixes, which must not overlap.
func intervals(prefixes []netip.Prefix) (all []nftables.SetElement) {
	for _, p := range prefixes {
		first := p.Masked().Addr().As16()
		end := netip.AddrFrom16(lastOf(p)).Next().As16()
		all = append(all, nftables.SetElement{Key: first[:]}, nftables.SetElement{Key: end[:], IntervalEnd: true})
	}
	return all
}

// Refusal is connections of a member that no rule let through.
type Refusal struct {
	From    netip.Addr
	To      netip.AddrPort
	Packets uint64 // since the rules were written last
}

// Refusals are those of the last minutes.
func Refusals() (all []Refusal, err error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	s, err := c.GetSetByName(&nftables.Table{Name: Table, Family: nftables.TableFamilyINet}, setRefused)
	if err != nil {
		return nil, fmt.Errorf("read the set %s: %w", setRefused, err)
	}
	elements, err := c.GetSetElements(s)
	if err != nil {
		return nil, fmt.Errorf("read the set %s: %w", setRefused, err)
	}
	for _, e := range elements {
		if len(e.Key) < 34 || e.Counter == nil {
			continue
		}
		from, to := netip.AddrFrom16([16]byte(e.Key[:16])), netip.AddrFrom16([16]byte(e.Key[16:32]))
		all = append(all, Refusal{from, netip.AddrPortFrom(to, binaryutil.BigEndian.Uint16(e.Key[32:34])), e.Counter.Packets})
	}
	return all, nil
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
