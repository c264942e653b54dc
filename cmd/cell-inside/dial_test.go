package main

import (
	"net/netip"
	"testing"
)

// Who answers for a name does not lead a cell to what listens on this machine, or to the mesh.
func TestOutside(t *testing.T) {
	for addr, want := range map[string]bool{
		"192.0.2.7": true, "10.1.2.3": true, "2001:db8::1": true,
		"127.0.0.1": false, "127.9.9.9": false, "::1": false, "0.0.0.0": false, "::": false, "::ffff:127.0.0.1": false, "169.254.169.254": false, "fe80::1": false,
		"fda5:2708:e1a0::1": false, "224.0.0.1": false, "ff02::1": false,
	} {
		if outside(netip.MustParseAddr(addr)) != want {
			t.Errorf("%s: %v", addr, !want)
		}
	}
}
