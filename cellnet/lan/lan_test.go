package lan

import (
	"encoding/base64"
	"net/netip"
	"testing"

	"github.com/pion/mdns/v2"

	"github.com/cell-network/cell/cellnet/identity"
)

func FuzzRead(f *testing.F) {
	key := identity.Key{1, 2, 3}
	text := base64.RawURLEncoding.EncodeToString(key[:])
	f.Add("key", text, []byte{198, 18, 0, 1}, uint16(23550))
	f.Add("key", text, []byte{}, uint16(0))
	f.Add("other", text, []byte{127, 0, 0, 1}, uint16(1))
	f.Fuzz(func(t *testing.T, name, value string, addr []byte, port uint16) {
		a, _ := netip.AddrFromSlice(addr)
		e := mdns.ServiceEvent{Addr: a, Instance: mdns.ServiceInstance{Port: port, Text: []mdns.TXTEntry{mdns.NewTXTString(name, value)}}}
		k, at, ok := read(e)
		if ok && (name != "key" || base64.RawURLEncoding.EncodeToString(k[:]) != value || at.Port() == 0 || !at.Addr().IsGlobalUnicast()) {
			t.Errorf("%q %q %v: %v %v", name, value, e.Addr, k, at)
		}
		if !ok && name == "key" && value == text && port != 0 && a.IsValid() && a.Unmap().IsGlobalUnicast() {
			t.Errorf("%v is not taken", a)
		}
	})
}
