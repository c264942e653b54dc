package celld

import (
	"bytes"
	"crypto/ed25519"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/sdk/broker"
)

// daemon is a user that every Debian has.
const daemon = 1

func TestMayCall(t *testing.T) {
	r := newResolver(t)
	var logged bytes.Buffer
	r.Log = slog.New(slog.NewTextHandler(&logged, nil))
	r.cell("plain", "")
	r.cell("open", "[auth]\nallow = [\"cell:shop.web\", \"cell:tree.*\", \"user:nobody\"]\n")
	r.cell("shut", "[auth]\nallow = []\n")
	for _, name := range []string{"plain", "open", "shut"} {
		r.want(name, daemon)
	}
	cell := func(name string, uid int) Caller { return Caller{Cell: name, UID: uid} }
	for _, test := range []struct {
		who  Caller
		cell string
		ok   bool
	}{
		{Caller{UID: daemon}, "plain", true},
		{Caller{UID: 0}, "plain", true},
		{Caller{UID: 7}, "plain", false},
		{Caller{UID: 7, Admitted: true}, "plain", true},
		{cell("a", daemon), "plain", true},
		{cell("a", 0), "plain", true},
		{cell("a", 7), "plain", false},
		{Caller{UID: daemon}, "shut", true}, // he could change its cell.toml
		{Caller{UID: 0}, "shut", true},
		{cell("a", daemon), "shut", false},
		{cell("a", 0), "shut", false},
		{cell("shop.web", 7), "open", true},
		{cell("shop.web:3", 7), "open", true},
		{cell("shop.web.below", 7), "open", false},
		{cell("shop", daemon), "open", false},
		{cell("tree.any.depth", 7), "open", true},
		{cell("tree", 7), "open", false},
		{cell("treehouse", 7), "open", false},
		{cell("x", nobody), "open", true},
		{Caller{UID: nobody}, "open", true},
		{Caller{UID: 7}, "open", false},
		{Caller{Cell: "x", UID: 7, Admitted: true}, "open", false},
	} {
		logged.Reset()
		_, err := r.mayCall(test.who, test.cell)
		if (err == nil) != test.ok || !test.ok && !strings.Contains(logged.String(), "denied") {
			t.Errorf("%+v calls %s: %v, logged %q", test.who, test.cell, err, &logged)
		}
	}
	if _, err := r.mayCall(Caller{}, "unknown"); err == nil {
		t.Error("a cell that is not there may be called")
	}
}

func TestDeniedMethods(t *testing.T) {
	r := newResolver(t)
	r.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	dir := filepath.Join(r.dir, "vault")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := "[cell]\n[auth.methods]\nDelete = [\"cell:admin\"]\nDrop = []\nRead = [\"cell:admin\", \"cell:web\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "cell.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r.want("vault", 0)
	for who, want := range map[string][]string{"admin": {"Drop"}, "web": {"Delete", "Drop"}, "other": {"Delete", "Drop", "Read"}, "": nil} {
		denied, err := r.mayCall(Caller{Cell: who}, "vault")
		if err != nil || !slices.Equal(denied, want) {
			t.Errorf("%q: %v %v, want %v", who, denied, err, want)
		}
	}
}

// An introduction is renewed for whom and for what it was made, and for nothing else.
func TestRenew(t *testing.T) {
	r := newResolver(t)
	r.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	hub, state := t.TempDir(), t.TempDir()
	var err error
	if r.Key, err = OpenKey(state, hub); err != nil {
		t.Fatal(err)
	}
	r.Lifetime = time.Hour // more than there may be
	r.cell("users", "")
	r.cell("web", "[needs]\nusers = { path = \"../users\" }\n")
	r.cell("spy", "[needs]\nusers = { path = \"../users\" }\n")
	for _, name := range []string{"users", "web", "spy"} {
		r.want(name, 0)
	}
	here, there := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, there) }()
	web := Caller{Cell: "web", UID: 0}
	nonce, expires, err := r.introduce(here, web, "users", nil)
	if err != nil || time.Until(expires) > broker.Lifetime {
		t.Fatal(expires, err)
	}
	public, err := os.ReadFile(filepath.Join(hub, broker.PublicKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	data, _, err := r.Renew(t.Context(), web, "users", "", "users", nonce)
	if err != nil {
		t.Fatal(err)
	}
	i, err := broker.OpenIntroduction(ed25519.PublicKey(public), data)
	if err != nil || i.Cell != "web" || i.Callee != "users" || !bytes.Equal(i.Nonce, nonce) || time.Until(i.Expires) > broker.Lifetime {
		t.Errorf("%+v %v", i, err)
	}
	// A celld that starts anew has the same key.
	again, err := OpenKey(state, hub)
	if err != nil || !again.Equal(r.Key) {
		t.Errorf("the key is another: %v", err)
	}
	for name, try := range map[string]func() error{
		"another cell": func() error {
			_, _, err := r.Renew(t.Context(), Caller{Cell: "spy"}, "users", "", "users", nonce)
			return err
		},
		"another user": func() error {
			_, _, err := r.Renew(t.Context(), Caller{Cell: "web", UID: 5}, "users", "", "users", nonce)
			return err
		},
		"another callee": func() error { _, _, err := r.Renew(t.Context(), web, "users", "", "users:2", nonce); return err },
		"no need":        func() error { _, _, err := r.Renew(t.Context(), web, "spy", "", "spy", nonce); return err },
		"own nonce": func() error {
			_, _, err := r.Renew(t.Context(), web, "users", "", "users", bytes.Repeat([]byte{1}, 32))
			return err
		},
		"no nonce": func() error { _, _, err := r.Renew(t.Context(), web, "users", "", "users", nil); return err },
	} {
		if err := try(); err == nil {
			t.Errorf("%s: it was renewed", name)
		}
	}
	if st, err := os.Stat(filepath.Join(state, "key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v %v", st.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(state, "key"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(state, hub); err == nil || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("a damaged key: %v", err)
	}
}
