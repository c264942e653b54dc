package wg

import (
	"net/netip"
	"testing"
	"time"
)

// What the device says of its peers is read to the nanosecond: handshakes are compared.
func TestParsePeers(t *testing.T) {
	text := "private_key=00\nlisten_port=23550\npublic_key=" +
		"0102030405060708091011121314151617181920212223242526272829303132\nlast_handshake_time_sec=1000000000\nlast_handshake_time_nsec=5\n" +
		"endpoint=[::ffff:198.18.0.1]:7\ntx_bytes=2\nrx_bytes=3\npersistent_keepalive_interval=25\nallowed_ip=fd00::/112\nprotocol_version=1\n" +
		"public_key=0202030405060708091011121314151617181920212223242526272829303132\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\n"
	all := parsePeers(text)
	one, two := Key{1, 2, 3, 4, 5, 6, 7, 8, 9, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x30, 0x31, 0x32}, Key{}
	two = one
	two[0] = 2
	p := netip.MustParsePrefix("fd00::/112")
	s := all[one]
	if len(all) != 2 || !s.Handshake.Equal(time.Unix(1e9, 5)) || s.Endpoint != netip.MustParseAddrPort("198.18.0.1:7") || s.Sent != 2 || s.Received != 3 || !s.allows(p) || s.allows(netip.Prefix{}) {
		t.Errorf("%+v", all)
	}
	if s := all[two]; !s.Handshake.IsZero() || !s.allows(netip.Prefix{}) || s.allows(p) || s.Alive(time.Now()) {
		t.Errorf("%+v", s)
	}
}
