package broker

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"net"
	"path/filepath"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func TestIntroduction(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	i := Introduction{
		Cell: "shop.web:2", UID: 1000, Callee: "shop.users", Nonce: bytes.Repeat([]byte{7}, nonceSize),
		Expires: time.Unix(1_800_000_000, 0), Denied: []string{"Delete", "Drop"},
	}
	data := i.Sign(private)
	if got, err := OpenIntroduction(public, data); err != nil || !reflect.DeepEqual(*got, i) {
		t.Errorf("%+v %v", got, err)
	}
	for at := range data { // whatever is changed
		changed := slices.Clone(data)
		changed[at] ^= 1
		if got, err := OpenIntroduction(public, changed); err == nil {
			t.Fatalf("byte %d was changed, and it says %+v", at, got)
		}
	}
	other, _, _ := ed25519.GenerateKey(nil)
	for name, key := range map[string]ed25519.PublicKey{"another": other, "none": nil, "half": public[:16]} {
		if _, err := OpenIntroduction(key, data); err == nil {
			t.Errorf("the key %s opens it", name)
		}
	}
	for _, n := range []int{0, 10, ed25519.SignatureSize, len(data) - 1} {
		if _, err := OpenIntroduction(public, data[:n]); err == nil {
			t.Errorf("%d bytes of it are enough", n)
		}
	}
	for name, bad := range map[string]Introduction{
		"no callee": {Nonce: i.Nonce}, "no nonce": {Callee: "a"}, "a short nonce": {Callee: "a", Nonce: i.Nonce[1:]},
		"too many methods": {Callee: "a", Nonce: i.Nonce, Denied: slices.Repeat([]string{"M"}, maxDenied+1)},
	} {
		if _, err := OpenIntroduction(public, bad.Sign(private)); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}

func FuzzIntroduction(f *testing.F) {
	i := Introduction{Cell: "a", Callee: "b", Nonce: make([]byte, nonceSize), Denied: []string{"C"}}
	data := i.Sign(make([]byte, ed25519.PrivateKeySize))
	f.Add(data[:len(data)-ed25519.SignatureSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		if i, err := parseIntroduction(b); err == nil && (i.Callee == "" || len(i.Denied) > maxDenied) {
			t.Errorf("%+v", i)
		}
	})
}

// An introduction is renewed before it expires, also by a celld that was away, until it is refused.
func TestKeep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	t.Setenv("CELL_BROKER", path)
	var asked atomic.Int32
	celld(t, path, func(c *net.UnixConn, r Request) {
		n := asked.Add(1)
		a := Answer{Sequence: r.Sequence, Introduction: []byte("fresh"), Expires: time.Now().Add(time.Second / 2).Unix()}
		switch {
		case r.Op != OpRenew || r.Target != "users" || r.Hash != "hash" || r.Instance != "users:2" || string(r.Nonce) != "once":
			a = Answer{Sequence: r.Sequence, Code: Invalid, Message: "that is not what was granted"}
		case n == 1: // it goes away before it answers
			return
		case n == 4:
			a = Answer{Sequence: r.Sequence, Code: Denied}
		}
		_, _ = c.Write(a.Append(nil))
	})
	sent := 0
	done := make(chan struct{})
	defer close(done)
	Grant{Target: "users", Hash: "hash", Instance: "users:2", Nonce: []byte("once"), Expires: time.Now().Add(50 * time.Millisecond)}.Keep(done, func(b []byte) error {
		if string(b) != "fresh" {
			t.Errorf("%q was sent", b)
		}
		sent++
		return nil
	})
	if n := asked.Load(); sent != 2 || n != 4 {
		t.Errorf("celld was asked %d times and %d introductions were sent", n, sent)
	}
	// Nobody was introduced: nothing is to be renewed.
	Grant{}.Keep(done, nil)
	// The connection ended.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	Grant{Target: "users", Nonce: []byte("once"), Expires: time.Now().Add(time.Hour)}.Keep(ended.Done(), nil)
}
