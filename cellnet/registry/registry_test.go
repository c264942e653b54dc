package registry

import (
	"crypto/ed25519"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/record"
)

// clock is the time of a test.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// world is a tissue whose founder is the first key.
type world struct {
	t      *testing.T
	clock  *clock
	tissue identity.Tissue
	all    [][]byte // every record that was made
}

func newWorld(t *testing.T) (*world, ed25519.PrivateKey) {
	key := identity.NewKey()
	w := &world{t: t, clock: &clock{time.Unix(1_800_000_000, 0)}}
	founding := (&record.Record{Kind: record.Founding, Version: 1, Body: record.FoundingBody{Name: "home", Nonce: []byte{1}}.Append(nil)}).Sign(key)
	w.tissue = identity.TissueOf(founding.Raw())
	w.all = append(w.all, founding.Raw())
	return w, key
}

func (w *world) registry() *Registry { return New(w.tissue, w.clock.now) }

func (w *world) make(key ed25519.PrivateKey, r record.Record) *record.Record {
	r.Tissue = w.tissue
	if r.Version == 0 {
		r.Version = 1
	}
	r.Sign(key)
	w.all = append(w.all, r.Raw())
	return &r
}

func subject(key ed25519.PrivateKey) []byte { k := identity.KeyOf(key); return k[:] }

func (w *world) member(signer, of ed25519.PrivateKey, name string) *record.Record {
	return w.make(signer, record.Record{Kind: record.Member, Subject: subject(of), Expires: w.clock.at.Add(Membership), Body: record.MemberBody{Name: name, Role: record.RoleMember}.Append(nil)})
}

func (w *world) grant(signer, of ed25519.PrivateKey) *record.Record {
	return w.make(signer, record.Record{Kind: record.Grant, Subject: subject(of)})
}

func (w *world) node(of ed25519.PrivateKey, version uint64) *record.Record {
	return w.make(of, record.Record{Kind: record.Node, Version: version, Expires: w.clock.at.Add(Facts), Body: record.NodeBody{WireGuard: record.WireGuardKey{1}, Uptime: version}.Append(nil)})
}

func names(r *Registry) string {
	var all []string
	for _, m := range r.Members() {
		all = append(all, m.Name)
	}
	return strings.Join(all, " ")
}

// Whatever the order and however often, machines with the same records hold the same.
func TestOrderDoesNotMatter(t *testing.T) {
	w, founder := newWorld(t)
	b, c, evil := identity.NewKey(), identity.NewKey(), identity.NewKey()
	w.member(founder, founder, "a")
	w.grant(founder, b)
	w.member(founder, b, "b")
	w.grant(b, c)
	inC := w.member(b, c, "c")
	w.member(evil, evil, "evil")
	w.grant(evil, evil)
	for i := range uint64(3) {
		w.node(b, i+1)
		w.node(evil, i+1)
	}
	// The founder evicts b, whose work stays good as far as it was known.
	w.make(founder, record.Record{Kind: record.Revocation, Subject: subject(b), Body: record.RevocationBody{Keeps: []uint64{inC.Mark()}}.Append(nil)})
	w.member(b, evil, "smuggled")
	var first Summary
	for i := range 50 {
		r := w.registry()
		order := slices.Clone(w.all)
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for len(order) > 0 {
			n := min(len(order), 1+rand.IntN(5))
			r.Apply(order[:n])
			order = order[n:]
		}
		r.Apply(w.all) // what came too early comes again
		if got := names(r); got != "a c" {
			t.Fatalf("members are %s", got)
		}
		if i == 0 {
			first = r.Summary()
		} else if r.Summary() != first {
			t.Fatal("two machines hold different records")
		}
	}
}

func TestRefused(t *testing.T) {
	w, founder := newWorld(t)
	b, guest := identity.NewKey(), identity.NewKey()
	w.member(founder, b, "b")
	r := w.registry()
	r.Apply(w.all)
	far := w.clock.at.Add(2 * Facts)
	for name, rec := range map[string]*record.Record{
		"a certificate by one without the right":  w.member(b, guest, "guest"),
		"a grant to oneself":                      w.grant(b, b),
		"an eviction by one without the right":    w.make(b, record.Record{Kind: record.Revocation, Subject: subject(founder)}),
		"facts of a stranger":                     w.node(guest, 1),
		"facts for ever":                          w.make(b, record.Record{Kind: record.Node, Expires: far, Body: record.NodeBody{WireGuard: record.WireGuardKey{1}}.Append(nil)}),
		"facts without a key":                     w.make(b, record.Record{Kind: record.Node, Expires: w.clock.at.Add(time.Hour)}),
		"a certificate for ever":                  w.make(founder, record.Record{Kind: record.Member, Subject: subject(guest), Expires: far, Body: record.MemberBody{Name: "x", Role: 1}.Append(nil)}),
		"what has expired":                        w.make(b, record.Record{Kind: record.Node, Expires: w.clock.at.Add(-time.Hour), Body: record.NodeBody{WireGuard: record.WireGuardKey{1}}.Append(nil)}),
		"a second founding":                       w.make(founder, record.Record{Kind: record.Founding, Version: 9, Body: record.FoundingBody{Name: "other"}.Append(nil)}),
		"an invite by one without the right":      w.make(b, record.Record{Kind: record.Invite, Subject: make([]byte, 32), Expires: w.clock.at.Add(time.Hour), Body: record.InviteBody{Role: 1, Uses: 1}.Append(nil)}),
		"cells of a page that cannot be":          w.make(b, record.Record{Kind: record.Cells, Subject: []byte("page"), Expires: w.clock.at.Add(time.Hour)}),
		"a record of another tissue":              (&record.Record{Kind: record.Node, Version: 1, Tissue: identity.Tissue{9}, Expires: w.clock.at.Add(time.Hour)}).Sign(b),
		"an invite that was used, by a stranger":  w.make(guest, record.Record{Kind: record.Redeemed, Subject: make([]byte, 64), Expires: w.clock.at.Add(time.Hour)}),
		"a certificate whose name is no name":     w.make(founder, record.Record{Kind: record.Member, Subject: subject(guest), Expires: w.clock.at.Add(time.Hour), Body: record.MemberBody{Name: "A\n", Role: 1}.Append(nil)}),
		"a certificate of a role that is unknown": w.make(founder, record.Record{Kind: record.Member, Subject: subject(guest), Expires: w.clock.at.Add(time.Hour), Body: record.MemberBody{Name: "x", Role: 9}.Append(nil)}),
	} {
		before := r.Summary()
		if news, err := r.Put(rec); news || err == nil || r.Summary() != before {
			t.Errorf("%s was taken (%v)", name, err)
		}
	}
	// A machine cannot fill the others.
	for i := range 200 {
		_, _ = r.Put(w.make(b, record.Record{Kind: record.Cells, Subject: []byte{byte(i)}, Expires: w.clock.at.Add(time.Hour)}))
	}
	if n := r.Len(); n > 2+maxOwned {
		t.Errorf("%d records are held", n)
	}
}

// An old record that comes again changes nothing, and neither does one of a machine that was evicted.
func TestReplay(t *testing.T) {
	w, founder := newWorld(t)
	b := identity.NewKey()
	w.member(founder, b, "b")
	old := w.node(b, 1)
	w.node(b, 2)
	r := w.registry()
	r.Apply(w.all)
	if news, err := r.Put(old); news || err != nil {
		t.Error(news, err)
	}
	if m, _ := r.Member(identity.KeyOf(b)); m.Node.Uptime != 2 {
		t.Errorf("the old facts hold: %+v", m)
	}
	gone := w.make(founder, record.Record{Kind: record.Revocation, Subject: subject(b)})
	if _, err := r.Put(gone); err != nil {
		t.Fatal(err)
	}
	r.Sweep()
	_, refused := r.Apply(w.all)
	if names(r) != "" || !r.Revoked(identity.KeyOf(b)) || len(refused) == 0 {
		t.Errorf("members are %q, refused was %v", names(r), refused)
	}
}

func TestTime(t *testing.T) {
	w, founder := newWorld(t)
	b := identity.NewKey()
	w.member(founder, b, "b")
	w.node(b, 1)
	r := w.registry()
	r.Apply(w.all)
	k := identity.KeyOf(b)
	w.clock.at = w.clock.at.Add(Membership + time.Hour)
	r.Sweep()
	if m, ok := r.Member(k); !ok || r.Current(m) || !m.Stated {
		t.Errorf("after its certificate has expired: %+v %v", m, ok)
	}
	w.clock.at = w.clock.at.Add(Facts)
	r.Sweep()
	if m, ok := r.Member(k); !ok || m.Stated {
		t.Errorf("after its facts have expired: %+v %v", m, ok)
	}
	w.clock.at = w.clock.at.Add(Grace)
	r.Sweep()
	if _, ok := r.Member(k); ok || r.Len() != 1 {
		t.Errorf("after the grace %d records are held", r.Len())
	}
}

// Two machines that compare what they have end with the same, and exchange no more than what differs.
func TestCompare(t *testing.T) {
	w, founder := newWorld(t)
	a, b := w.registry(), w.registry()
	a.Apply(w.all)
	b.Apply(w.all)
	for i := range 100 {
		k := identity.NewKey()
		rec := w.member(founder, k, "n"+strings.Repeat("x", i%7))
		_, _ = a.Put(rec)
		if i%10 != 0 {
			_, _ = b.Put(rec)
		}
		if node := w.node(k, 1); i%10 == 3 {
			_, _ = b.Put(node)
		}
	}
	buckets := a.Summary().Differ(b.Summary())
	lacks, wanted := b.Compare(buckets, a.Marks(buckets))
	if len(lacks) != 10 || len(wanted) != 10 {
		t.Errorf("%d are lacking, %d wanted", len(lacks), len(wanted))
	}
	b.Apply(a.Get(wanted))
	a.Apply(lacks)
	if a.Summary() != b.Summary() || len(a.Summary().Differ(b.Summary())) != 0 {
		t.Error("they differ")
	}
}

func TestDisk(t *testing.T) {
	w, founder := newWorld(t)
	w.member(founder, founder, "a")
	r := w.registry()
	r.Apply(w.all)
	path := filepath.Join(t.TempDir(), "registry")
	if err := r.Save(path); err != nil {
		t.Fatal(err)
	}
	again := w.registry()
	if err := again.Load(path); err != nil || again.Summary() != r.Summary() {
		t.Errorf("%d records of %d came back: %v", again.Len(), r.Len(), err)
	}
	if err := again.Load(path + ".none"); err != nil {
		t.Error(err)
	}
}
