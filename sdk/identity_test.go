package sdk

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/sdk/broker"
	"github.com/cell-network/cell/sdk/internal/generated"
	"github.com/cell-network/cell/sdk/wire"
)

// celldKey is a directory as celld has it beside its socket, and the key.
func celldKey(t *testing.T) (hub string, key ed25519.PrivateKey) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	hub = t.TempDir()
	if err := os.WriteFile(filepath.Join(hub, broker.PublicKeyFile), public, 0o644); err != nil {
		t.Fatal(err)
	}
	return hub, key
}

func introduction(nonce byte) broker.Introduction {
	return broker.Introduction{
		Cell: "shop.web:2", UID: 1000, Callee: "vault", Nonce: bytes.Repeat([]byte{nonce}, 32),
		Expires: time.Now().Add(time.Minute), Denied: []string{"Delete"},
	}
}

func TestIntroduce(t *testing.T) {
	hub, key := celldKey(t)
	g := newGate("vault:bridge", filepath.Join(hub, "celld.sock"))
	nobody := &peer{Identity: Identity{UID: 5}}
	refused := func(name string, before any, i broker.Introduction, key ed25519.PrivateKey, want string) {
		t.Helper()
		if _, err := g.introduce(before, i.Sign(key)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	first := introduction(1)
	got, err := g.introduce(nobody, first.Sign(key))
	p, _ := got.(*peer)
	if err != nil || p.Identity != (Identity{Cell: "shop.web", UID: 1000}) || g.admits(p, "Get") != "" || !strings.Contains(g.admits(p, "Delete"), "[auth.methods]") {
		t.Fatalf("%+v %v", p, err)
	}
	refused("a copy on another connection", nobody, first, key, "used before")
	refused("a copy where somebody was introduced", &peer{nonce: "another", instance: first.Cell, Identity: Identity{UID: 1000}}, first, key, "another connection")

	again := introduction(1) // renewed, with other rights
	again.Denied = nil
	if got, err = g.introduce(p, again.Sign(key)); err != nil || g.admits(got.(*peer), "Delete") != "" {
		t.Errorf("the renewal: %v", err)
	}
	refused("a renewal on another connection", nobody, again, key, "used before")
	other := introduction(2)
	refused("another nonce", p, other, key, "another connection")
	other = introduction(1)
	other.Cell = "shop.admin"
	refused("another cell", p, other, key, "another connection")
	other = introduction(1)
	other.UID = 0
	refused("another user", p, other, key, "another connection")

	for name, change := range map[string]func(*broker.Introduction){
		"it is for": func(i *broker.Introduction) { i.Callee = "safe" }, "has expired": func(i *broker.Introduction) { i.Expires = time.Now().Add(-2 * time.Second) },
		"too late": func(i *broker.Introduction) { i.Expires = time.Now().Add(broker.Lifetime + time.Minute) },
	} {
		i := introduction(3)
		change(&i)
		refused(name, nobody, i, key, name)
	}
	_, forged, _ := ed25519.GenerateKey(nil)
	refused("another key", nobody, introduction(4), forged, "not celld's")
	// A celld with another key is believed, as its key is where only celld writes.
	if err := os.WriteFile(filepath.Join(hub, broker.PublicKeyFile), forged.Public().(ed25519.PublicKey), 0o644); err != nil {
		t.Fatal(err)
	}
	fresh := introduction(5)
	if _, err := g.introduce(nobody, fresh.Sign(forged)); err != nil {
		t.Error(err)
	}
	if _, err := newGate("vault", "").introduce(nobody, fresh.Sign(forged)); err == nil {
		t.Error("an introduction was taken where there is no celld")
	}
	// What has expired is forgotten.
	g.next = time.Time{}
	g.first("x", time.Now(), time.Now().Add(time.Hour))
	if len(g.seen) != 1 {
		t.Errorf("%d nonces are remembered", len(g.seen))
	}
}

// What could not be renewed because celld is away is good until it is back.
func TestExpired(t *testing.T) {
	hub, _ := celldKey(t)
	path := filepath.Join(hub, "celld.sock")
	p := &peer{nonce: "n", expires: time.Now().Add(-time.Second)}
	if why := newGate("vault", path).admits(p, "Get"); why != "" {
		t.Errorf("without celld: %s", why)
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g := newGate("vault", path)
	if why := g.admits(p, "Get"); !strings.Contains(why, "expired") {
		t.Errorf("with celld: %q", why)
	}
	if why := g.admits(&peer{}, "Get"); why != "" { // nobody was introduced: it is the socket's owner
		t.Error(why)
	}
}

// Over a real connection: the introduction comes first, the method sees who calls, and a denied caller is told so.
func TestIntroducedCall(t *testing.T) {
	hub, key := celldKey(t)
	gate := newGate("vault", filepath.Join(hub, "celld.sock"))
	handle, err := handler(&generated.Genome{Name: "vault", Methods: []generated.Method{
		{ID: 1, Name: "Get", Call: func(ctx context.Context, _ []byte) ([]byte, error) {
			who, ok := Caller(ctx)
			if !ok {
				return nil, errors.New("nobody calls")
			}
			return []byte(who.Cell), nil
		}},
		{ID: 2, Name: "Delete", Call: func(context.Context, []byte) ([]byte, error) { return nil, nil }},
	}}, gate, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	s := &wire.Server{Handler: handle, Accepted: gate.accepted, Introduce: gate.introduce}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Close)
	dial := func(introduction []byte) *wire.Conn {
		nc, err := net.Dial("unix", l.Addr().String())
		if err == nil && introduction != nil {
			_, err = nc.Write(wire.AppendIntroduction(nil, introduction))
		}
		if err != nil {
			t.Fatal(err)
		}
		c := wire.NewConn(nc)
		t.Cleanup(func() { c.Close() })
		return c
	}
	one := introduction(1)
	data := one.Sign(key)
	c := dial(data)
	if got, err := c.Call(t.Context(), 1, nil); err != nil || string(got) != "shop.web" {
		t.Errorf("%s %v", got, err)
	}
	_, err = c.Call(t.Context(), 2, nil)
	if !isDenied(err) {
		t.Errorf("%#v", err)
	}
	if _, err = dial(data).Call(t.Context(), 1, nil); !isDenied(err) {
		t.Errorf("a copied introduction: %v", err)
	}
	direct := dial(nil) // who may open the socket's file is its owner
	if got, err := direct.Call(t.Context(), 1, nil); err != nil || string(got) != "" {
		t.Errorf("%s %v", got, err)
	}
	if _, ok := Caller(t.Context()); ok {
		t.Error("somebody calls where nobody does")
	}
}

func isDenied(err error) bool {
	e, ok := errors.AsType[*wire.Error](err)
	return ok && e.Code == wire.CodeDenied
}
