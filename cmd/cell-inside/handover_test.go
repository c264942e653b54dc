package main

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func sockaddr(family uint16, rest ...byte) []byte {
	return append(binary.NativeEndian.AppendUint16(nil, family), rest...)
}

func TestAddress(t *testing.T) {
	six := append([]byte{0x1f, 0x90, 0, 0, 0, 0}, make([]byte, 20)...)
	mapped := append([]byte{}, six...)
	copy(mapped[16:], []byte{0xff, 0xff, 127, 1, 0, 2})
	copy(six[6:], []byte{0x20, 0x01, 0x0d, 0xb8})
	for _, c := range []struct {
		raw      []byte
		at, path string
	}{
		{sockaddr(unix.AF_INET, 0, 81, 127, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0), "127.1.0.1:81", ""},
		{sockaddr(unix.AF_INET, 0, 81, 127, 1, 0, 1), "", ""},
		{sockaddr(unix.AF_INET6, six...), "[2001:db8::]:8080", ""},
		{sockaddr(unix.AF_INET6, mapped...), "127.1.0.2:8080", ""},
		{sockaddr(unix.AF_UNIX, []byte("/run/needs/db.sock\x00junk")...), "", "/run/needs/db.sock"},
		{sockaddr(unix.AF_UNIX, []byte("/run/needs/db.sock")...), "", "/run/needs/db.sock"},
		{sockaddr(unix.AF_UNIX, []byte("\x00abstract")...), "", ""},
		{sockaddr(unix.AF_UNSPEC), "", ""},
	} {
		if at, path := address(c.raw); at != c.at || path != c.path {
			t.Errorf("%x: %q %q", c.raw, at, path)
		}
	}
}

func FuzzAddress(f *testing.F) {
	f.Add(sockaddr(unix.AF_INET, 0, 81, 127, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Add(sockaddr(unix.AF_UNIX, 'a'))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < 2 { // who calls has seen to that
			return
		}
		at, path := address(raw)
		if at != "" {
			if _, err := netip.ParseAddrPort(at); err != nil {
				t.Error(err)
			}
		}
		if strings.ContainsRune(path, 0) {
			t.Errorf("%q", path)
		}
	})
}
