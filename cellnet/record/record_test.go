package record

import (
	"bytes"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cell-network/cell/cellnet/identity"
)

func sample() *Record {
	return (&Record{
		Kind: Member, Tissue: identity.Tissue{1, 2}, Subject: bytes.Repeat([]byte{3}, 32), Version: 7,
		Issued: time.Unix(1_800_000_000, 0), Expires: time.Unix(1_800_000_100, 0), Body: MemberBody{"laptop", RoleMember}.Append(nil),
	}).Sign(identity.NewKey())
}

func TestRecord(t *testing.T) {
	r := sample()
	got, err := Parse(r.Raw())
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Fatalf("%+v %v", got, err)
	}
	for at := range r.Raw() { // whatever is changed
		changed := slices.Clone(r.Raw())
		changed[at] ^= 1
		if got, err := Parse(changed); err == nil {
			t.Fatalf("byte %d was changed, and it says %+v", at, got)
		}
	}
	for _, data := range [][]byte{nil, r.Raw()[:40], make([]byte, 64<<10)} {
		if _, err := Parse(data); err == nil {
			t.Errorf("%d bytes were taken", len(data))
		}
	}
}

func TestSlots(t *testing.T) {
	a, b := sample(), sample() // signed by two machines
	if a.Slot() != b.Slot() {
		t.Error("two certificates of one machine have different slots")
	}
	a.Kind, b.Kind = Node, Node
	if a.Slot() == b.Slot() {
		t.Error("what two machines say of themselves has one slot")
	}
	if a.Newer(b) == b.Newer(a) {
		t.Error("of two records with one version none or both hold")
	}
}

func TestBodies(t *testing.T) {
	node := NodeBody{
		WireGuard: WireGuardKey{1}, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("198.18.0.1:7"), netip.MustParseAddrPort("[2001:db8::1]:8")},
		Version: "1", Boot: []byte("b"), Cores: 2, Memory: 3, Storage: 4, Uptime: 5, Port: 6,
	}
	if got, err := ParseNode(node.Append(nil)); err != nil || !reflect.DeepEqual(got, node) {
		t.Errorf("%+v %v", got, err)
	}
	cells := CellsBody{[]Cell{{16, "shop.web", 2, "1.0", "h", []string{"a", "b"}, "cell", 80}}}
	if got, err := ParseCells(cells.Append(nil)); err != nil || !reflect.DeepEqual(got, cells) {
		t.Errorf("%+v %v", got, err)
	}
	revoked := RevocationBody{[]uint64{1, 1 << 63}, "lost"}
	if got, err := ParseRevocation(revoked.Append(nil)); err != nil || !reflect.DeepEqual(got, revoked) {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []string{"127.0.0.1:1", "[::1]:1", "0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1", "1.2.3.4:0", "[ff02::1]:1"} {
		b, _ := netip.MustParseAddrPort(bad).MarshalBinary()
		if e, err := ParseEndpoint(b); err == nil {
			t.Errorf("%v is taken for an endpoint", e)
		}
	}
	for _, bad := range []string{"", "Laptop", "-a", "a b", "a\n"} {
		if m, err := ParseMember(MemberBody{bad, RoleMember}.Append(nil)); err == nil {
			t.Errorf("a member called %q was taken", m.Name)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(sample().Raw())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := Parse(b); err == nil && !bytes.Equal(r.Raw(), b) {
			t.Error("a record is not its bytes")
		}
		_, _ = ParseFounding(b)
		_, _ = ParseMember(b)
		_, _ = ParseInvite(b)
		_, _ = ParseRevocation(b)
		_, _ = ParseEndpoint(b)
		if m, err := ParseNode(b); err == nil {
			if again, err := ParseNode(m.Append(nil)); err != nil || !reflect.DeepEqual(again, m) {
				t.Errorf("%+v became %+v: %v", m, again, err)
			}
		}
		if m, err := ParseCells(b); err == nil {
			if again, err := ParseCells(m.Append(nil)); err != nil || !reflect.DeepEqual(again, m) {
				t.Errorf("%+v became %+v: %v", m, again, err)
			}
		}
	})
}
