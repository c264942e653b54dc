package identity

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	one, other := TissueOf([]byte("one")), TissueOf([]byte("other"))
	k, l := KeyOf(NewKey()), KeyOf(NewKey())
	node := one.Node(k)
	if node != one.Node(k) || node == one.Node(l) || node.Addr().As16() == other.Node(k).Addr().As16() || one.Prefix() == other.Prefix() {
		t.Error("addresses do not follow from tissue and key alone")
	}
	if !one.Prefix().Contains(node.Addr()) || node.Bits() != 112 || one.Prefix().Bits() != 32 || !strings.HasPrefix(node.String(), "fd") {
		t.Errorf("%v is not within %v", node, one.Prefix())
	}
	for _, number := range []uint16{NodeItself, FirstCell, 65535} {
		if a := Address(node, number); Number(a) != number || Of(a) != node {
			t.Errorf("number %d is address %v", number, a)
		}
	}
	// These do not change: machines of different versions agree on them.
	if got := (Tissue{1}).Node(Key{2}); got != netip.MustParsePrefix("fd96:8531:278f:a3ad:a5f7:5a39:e87e:0/112") {
		t.Errorf("the address of a fixed key is %v", got)
	}
}

func TestNames(t *testing.T) {
	for host, want := range map[string]string{
		"laptop": "laptop", "Laptop.local": "laptop", "42": "node", "": "node", "my_box": "my-box", "-a-": "a", strings.Repeat("a", 100): strings.Repeat("a", 60),
	} {
		if got := NameFrom(host); got != want || CheckName(got) != nil {
			t.Errorf("%q becomes %q", host, got)
		}
	}
	for _, bad := range []string{"", "A", "1a", "a_b", "a-", strings.Repeat("a", 64)} {
		if CheckName(bad) == nil {
			t.Errorf("%q is a name", bad)
		}
	}
}
