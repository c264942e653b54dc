// Package registry holds what a machine knows of its tissue: records that their signers may state, of each only the newest. All
// machines that exchanged what they have hold the same, in whatever order it came: nothing is decided by votes or by clocks.
//
// It is pure but for a file; who exchanges records with whom is package node's.
package registry

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/record"
)

const (
	// Membership is how long a certificate of membership is good; Renew is when a new one is due.
	Membership = 72 * time.Hour
	Renew      = 36 * time.Hour

	// Grace is how long an expired member is remembered: it may come back and have its certificate renewed.
	Grace = 60 * 24 * time.Hour

	// Facts is how long what a machine states of itself is good; Refresh is when it states it anew.
	Facts   = 10 * 24 * time.Hour
	Refresh = 12 * time.Hour

	// skew is how far the clocks of two machines may differ.
	skew = 10 * time.Minute

	// maxOwned is how many records a machine may have of what it states itself.
	maxOwned = 64
	// maxRecords bounds what is kept.
	maxRecords = 1 << 20
)

// Registry is safe for concurrent use.
type Registry struct {
	tissue identity.Tissue
	now    func() time.Time

	mu       sync.RWMutex
	slots    map[record.Slot]*record.Record
	buckets  [Buckets]bucket
	name     string
	root     identity.Key
	founded  bool
	grants   map[identity.Key]*record.Record
	revoked  map[identity.Key]map[record.Slot]record.RevocationBody
	members  map[identity.Key]*Member
	prefixes map[netip.Prefix]identity.Key
	facts    map[identity.Key]*facts
	invites  map[record.WireGuardKey]*Invite
	uses     map[string]map[identity.Key]struct{} // by subject of the invite
	owned    map[identity.Key]int
	change   uint64
}

// facts are what a machine states of itself.
type facts struct {
	node  record.NodeBody
	heard time.Time // as it says itself
	has   bool
	pages map[string][]record.Cell
}

// Member is a machine of the tissue.
type Member struct {
	Key    identity.Key
	Name   string
	Role   record.Role
	Until  time.Time // when its certificate expires
	Signs  bool      // it may take machines in and evict them
	Prefix netip.Prefix

	Stated bool // it has told of itself: the fields below
	Node   record.NodeBody
	Heard  time.Time
	Cells  []record.Cell
}

// Invite lets machines ask to be taken in.
type Invite struct {
	Key     record.WireGuardKey
	Role    record.Role
	Uses    int // that are left
	Expires time.Time
	subject string
}

// New makes an empty registry of a tissue.
func New(tissue identity.Tissue, now func() time.Time) *Registry {
	return &Registry{
		tissue: tissue, now: now,
		slots: map[record.Slot]*record.Record{}, grants: map[identity.Key]*record.Record{},
		revoked: map[identity.Key]map[record.Slot]record.RevocationBody{}, members: map[identity.Key]*Member{},
		prefixes: map[netip.Prefix]identity.Key{}, facts: map[identity.Key]*facts{},
		invites: map[record.WireGuardKey]*Invite{}, uses: map[string]map[identity.Key]struct{}{}, owned: map[identity.Key]int{},
	}
}

// Tissue is the id of the tissue.
func (r *Registry) Tissue() identity.Tissue { return r.tissue }

// Name is the name of the tissue, empty while its founding is not known.
func (r *Registry) Name() string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.name
}

// Change is a number that differs after each change.
func (r *Registry) Change() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.change
}

// Len is how many records are held.
func (r *Registry) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.slots)
}

// errLater is the error of a record whose signer may not yet be known to be allowed to sign it.
var errLater = errors.New("its signer is not known to be allowed that")

// Put takes a record that was signed or parsed, if it is newer than what is held. The error says why it is not taken.
func (r *Registry) Put(rec *record.Record) (news bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.put(rec)
}

// Refused is a record that was not taken.
type Refused struct {
	Signer identity.Key
	Err    error
}

// Apply takes records that came together, in whatever order they are, and returns those that were news and what was refused.
func (r *Registry) Apply(raws [][]byte) (news []*record.Record, refused []Refused) {
	var waiting []*record.Record
	for _, raw := range raws {
		rec, err := record.Parse(raw)
		if err != nil {
			refused = append(refused, Refused{Err: err})
			continue
		}
		waiting = append(waiting, rec)
	}
	slices.SortStableFunc(waiting, func(a, b *record.Record) int { return cmp.Compare(a.Kind, b.Kind) })
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var later []*record.Record
		for _, rec := range waiting {
			switch isNew, err := r.put(rec); {
			case errors.Is(err, errLater):
				later = append(later, rec)
			case err != nil:
				refused = append(refused, Refused{rec.Signer, err})
			case isNew:
				news = append(news, rec)
			}
		}
		if len(later) == len(waiting) || len(later) == 0 {
			for _, rec := range later {
				refused = append(refused, Refused{rec.Signer, fmt.Errorf("%v: %w", rec.Kind, errLater)})
			}
			return news, refused
		}
		waiting = later
	}
}

func (r *Registry) put(rec *record.Record) (news bool, err error) {
	slot := rec.Slot()
	old := r.slots[slot]
	if old != nil && !rec.Newer(old) {
		return false, nil
	}
	if err := r.check(rec, old); err != nil {
		if errors.Is(err, errLater) {
			return false, err
		}
		return false, fmt.Errorf("%v of %s: %w", rec.Kind, rec.Signer.Short(), err)
	}
	if old != nil {
		r.drop(slot, old)
	}
	r.hold(slot, rec)
	if rec.Kind == record.Revocation {
		r.obey(rec)
	}
	return true, nil
}

// check tells why a record cannot be taken.
func (r *Registry) check(rec, old *record.Record) error {
	now := r.now()
	switch {
	case rec.Kind != record.Founding && rec.Tissue != r.tissue:
		return errors.New("it is of another tissue")
	case !rec.Expires.IsZero() && r.forgotten(rec, now):
		return errors.New("it has expired")
	case old == nil && len(r.slots) >= maxRecords:
		return errors.New("there are too many records")
	case rec.Kind != record.Founding && !r.founded:
		return errLater
	case rec.Kind != record.Revocation && !r.believes(rec):
		return errors.New("its signer was revoked")
	}
	subject, isKey := rec.Key()
	switch rec.Kind {
	case record.Founding:
		if identity.TissueOf(rec.Raw()) != r.tissue {
			return errors.New("it founds another tissue")
		}
		_, err := record.ParseFounding(rec.Body)
		return err
	case record.Revocation:
		if !isKey {
			return errors.New("its subject is no key")
		}
		// Also of one that was itself revoked: of two that evict each other both are out, in whatever order that is heard of.
		if rec.Signer != subject && !r.granted(rec.Signer) {
			return errLater
		}
		_, err := record.ParseRevocation(rec.Body)
		return err
	case record.Grant:
		if !isKey {
			return errors.New("its subject is no key")
		}
		if !r.vouched(rec) {
			return errLater
		}
	case record.Member:
		if !isKey {
			return errors.New("its subject is no key")
		}
		if r.isRevoked(subject) {
			return errors.New("its subject was revoked")
		}
		if !r.vouched(rec) {
			return errLater
		}
		if rec.Expires.IsZero() || rec.Expires.After(now.Add(Membership+skew)) {
			return errors.New("it is good for too long")
		}
		_, err := record.ParseMember(rec.Body)
		return err
	case record.Invite:
		if len(rec.Subject) != len(record.WireGuardKey{}) || rec.Expires.IsZero() {
			return errors.New("it has no key or no end")
		}
		if !r.vouched(rec) {
			return errLater
		}
		_, err := record.ParseInvite(rec.Body)
		return err
	case record.Redeemed:
		if len(rec.Subject) != 64 || rec.Expires.IsZero() {
			return errors.New("it has no invite, no key or no end")
		}
		if !r.vouched(rec) {
			return errLater
		}
	case record.Node, record.Cells:
		if r.members[rec.Signer] == nil {
			return errLater
		}
		if rec.Expires.IsZero() || rec.Expires.After(now.Add(Facts+skew)) {
			return errors.New("it is good for too long")
		}
		if old == nil && r.owned[rec.Signer] >= maxOwned {
			return fmt.Errorf("a machine has at most %d records", maxOwned)
		}
		if rec.Kind == record.Cells {
			if len(rec.Subject) != 1 {
				return errors.New("its subject is no page")
			}
			_, err := record.ParseCells(rec.Body)
			return err
		}
		if len(rec.Subject) != 0 {
			return errors.New("it has a subject")
		}
		_, err := record.ParseNode(rec.Body)
		return err
	}
	return nil
}

// forgotten tells whether a record is so old that it is not kept.
func (r *Registry) forgotten(rec *record.Record, now time.Time) bool {
	if rec.Expires.IsZero() {
		return false
	}
	after := skew
	if rec.Kind == record.Member {
		after = Grace
	}
	return now.After(rec.Expires.Add(after))
}

// signs tells whether a machine may take others in and evict them.
func (r *Registry) signs(k identity.Key) bool { return !r.isRevoked(k) && r.granted(k) }

// granted tells whether it was ever given that right.
func (r *Registry) granted(k identity.Key) bool {
	return r.founded && k == r.root || r.grants[k] != nil
}

// vouched tells whether a record's signer has that right or, where it was revoked, whoever did that vouches for the record.
func (r *Registry) vouched(rec *record.Record) bool {
	return r.signs(rec.Signer) || r.isRevoked(rec.Signer) && r.believes(rec)
}

func (r *Registry) isRevoked(k identity.Key) bool { return len(r.revoked[k]) > 0 }

// believes tells whether a record's signer was not revoked, or not before it signed this.
func (r *Registry) believes(rec *record.Record) bool {
	if rec.Kind == record.Founding || !r.isRevoked(rec.Signer) {
		return true
	}
	mark := rec.Mark()
	for _, body := range r.revoked[rec.Signer] {
		if slices.Contains(body.Keeps, mark) {
			return true
		}
	}
	return false
}

// obey drops what a revocation makes void.
func (r *Registry) obey(rec *record.Record) {
	subject, _ := rec.Key()
	for slot, other := range r.slots {
		own, _ := other.Key()
		switch {
		case other.Kind == record.Revocation || other.Kind == record.Founding:
		case other.Kind == record.Member && own == subject, !r.believes(other):
			r.drop(slot, other)
		}
	}
	r.dropFacts()
}

// dropFacts drops what machines that are no members any more stated of themselves.
func (r *Registry) dropFacts() {
	for slot, rec := range r.slots {
		if (rec.Kind == record.Node || rec.Kind == record.Cells) && r.members[rec.Signer] == nil {
			r.drop(slot, rec)
		}
	}
}

// hold adds a record, whose body was checked, to all that is derived from records.
func (r *Registry) hold(slot record.Slot, rec *record.Record) {
	r.slots[slot] = rec
	r.buckets[slot[0]].flip(slot, rec)
	r.change++
	subject, _ := rec.Key()
	switch rec.Kind {
	case record.Founding:
		body, _ := record.ParseFounding(rec.Body)
		r.name, r.root, r.founded = body.Name, rec.Signer, true
	case record.Revocation:
		body, _ := record.ParseRevocation(rec.Body)
		if r.revoked[subject] == nil {
			r.revoked[subject] = map[record.Slot]record.RevocationBody{}
		}
		r.revoked[subject][slot] = body
	case record.Grant:
		r.grants[subject] = rec
	case record.Member:
		body, _ := record.ParseMember(rec.Body)
		m := &Member{Key: subject, Name: body.Name, Role: body.Role, Until: rec.Expires, Prefix: r.tissue.Node(subject)}
		r.members[subject] = m
		r.prefixes[m.Prefix] = subject
	case record.Invite:
		body, _ := record.ParseInvite(rec.Body)
		i := &Invite{Role: body.Role, Uses: int(body.Uses), Expires: rec.Expires, subject: string(rec.Subject)}
		copy(i.Key[:], rec.Subject)
		r.invites[i.Key] = i
	case record.Redeemed:
		invite := string(rec.Subject[:32])
		var k identity.Key
		copy(k[:], rec.Subject[32:])
		if r.uses[invite] == nil {
			r.uses[invite] = map[identity.Key]struct{}{}
		}
		r.uses[invite][k] = struct{}{}
	case record.Node:
		f := r.factsOf(rec.Signer)
		f.node, _ = record.ParseNode(rec.Body)
		f.heard, f.has = rec.Issued, true
		r.owned[rec.Signer]++
	case record.Cells:
		body, _ := record.ParseCells(rec.Body)
		r.factsOf(rec.Signer).pages[string(rec.Subject)] = body.Cells
		r.owned[rec.Signer]++
	}
}

func (r *Registry) factsOf(k identity.Key) *facts {
	f := r.facts[k]
	if f == nil {
		f = &facts{pages: map[string][]record.Cell{}}
		r.facts[k] = f
	}
	return f
}

// drop is the reverse of hold.
func (r *Registry) drop(slot record.Slot, rec *record.Record) {
	delete(r.slots, slot)
	r.buckets[slot[0]].flip(slot, rec)
	r.change++
	subject, _ := rec.Key()
	switch rec.Kind {
	case record.Revocation:
		delete(r.revoked[subject], slot)
	case record.Grant:
		delete(r.grants, subject)
	case record.Member:
		delete(r.prefixes, r.tissue.Node(subject))
		delete(r.members, subject)
	case record.Invite:
		var k record.WireGuardKey
		copy(k[:], rec.Subject)
		delete(r.invites, k)
	case record.Redeemed:
		var k identity.Key
		copy(k[:], rec.Subject[32:])
		delete(r.uses[string(rec.Subject[:32])], k)
	case record.Node:
		r.factsOf(rec.Signer).has = false
		r.forget(rec.Signer)
	case record.Cells:
		delete(r.factsOf(rec.Signer).pages, string(rec.Subject))
		r.forget(rec.Signer)
	}
}

func (r *Registry) forget(k identity.Key) {
	if r.owned[k]--; r.owned[k] <= 0 {
		delete(r.owned, k)
		delete(r.facts, k)
	}
}

// Sweep drops what has expired, and facts of machines that are no members any more.
func (r *Registry) Sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for slot, rec := range r.slots {
		if r.forgotten(rec, now) {
			r.drop(slot, rec)
		}
	}
	r.dropFacts()
}

// Members are the machines of the tissue in the order of their names, expired ones too.
func (r *Registry) Members() []Member {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]Member, 0, len(r.members))
	for _, m := range r.members {
		all = append(all, r.filled(m))
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Name, b.Name), a.Key.Compare(b.Key)) })
	return all
}

func (r *Registry) filled(m *Member) Member {
	out := *m
	out.Signs = r.signs(m.Key)
	if f := r.facts[m.Key]; f != nil {
		out.Stated, out.Node, out.Heard = f.has, f.node, f.heard
		for _, page := range slices.Sorted(maps.Keys(f.pages)) {
			out.Cells = append(out.Cells, f.pages[page]...)
		}
	}
	return out
}

// Member is the machine with that key.
func (r *Registry) Member(k identity.Key) (Member, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	m := r.members[k]
	if m == nil {
		return Member{}, false
	}
	return r.filled(m), true
}

// At is the machine whose addresses these are.
func (r *Registry) At(prefix netip.Prefix) (Member, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	m := r.members[r.prefixes[prefix]]
	if m == nil {
		return Member{}, false
	}
	return r.filled(m), true
}

// Revoked tells whether a machine was evicted or has left.
func (r *Registry) Revoked(k identity.Key) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.isRevoked(k)
}

// RevokedKeys are those of machines that were evicted or have left.
func (r *Registry) RevokedKeys() (all []identity.Key) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for k := range r.revoked {
		if r.isRevoked(k) {
			all = append(all, k)
		}
	}
	return all
}

// Signs tells whether a machine may take others in and evict them.
func (r *Registry) Signs(k identity.Key) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.signs(k)
}

// Current tells whether a member's certificate is good now.
func (r *Registry) Current(m Member) bool { return r.now().Before(m.Until.Add(skew)) }

// Invites are those that have not expired, each with the uses that are left: who comes with one that was used up is told so.
func (r *Registry) Invites() []Invite {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []Invite
	now := r.now()
	for _, i := range r.invites {
		out := *i
		out.Uses = max(0, out.Uses-len(r.uses[i.subject]))
		if now.Before(out.Expires.Add(skew)) {
			all = append(all, out)
		}
	}
	return all
}

// Redeemed tells whether an invite was used by a machine.
func (r *Registry) Redeemed(invite record.WireGuardKey, k identity.Key) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.uses[string(invite[:])][k]
	return ok
}

// Version is the one that a new record of a slot needs to be newer than what is held.
func (r *Registry) Version(like *record.Record) uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if old := r.slots[like.Slot()]; old != nil {
		return old.Version + 1
	}
	return 1
}

// SignedBy are marks of what a machine signed about others, which stays good when it is revoked.
func (r *Registry) SignedBy(k identity.Key) (marks []uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, rec := range r.slots {
		subject, _ := rec.Key()
		if rec.Signer == k && subject != k && (rec.Kind == record.Member || rec.Kind == record.Grant) {
			marks = append(marks, rec.Mark())
		}
	}
	slices.Sort(marks)
	return marks
}
