package statement

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
)

func keys(t testing.TB) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return public, private
}

func TestStatement(t *testing.T) {
	public, private := keys(t)
	s, err := Of(20261130163000, strings.NewReader("the image"))
	if err != nil || s.Size != 9 {
		t.Fatalf("%+v %v", s, err)
	}
	file := s.Sign(private)
	if got, err := Verify(file, public); err != nil || got != s {
		t.Errorf("%+v %v, want %+v", got, err, s)
	}
	if other, _ := keys(t); true {
		if _, err := Verify(file, other); err == nil || !strings.Contains(err.Error(), "not signed by this key") {
			t.Errorf("another's key: %v", err)
		}
	}
	// No bit of it may differ.
	for i := range bytes.TrimSpace(file) {
		b := bytes.Clone(file)
		b[i] ^= 1
		if got, err := Verify(b, public); err == nil && got != s {
			t.Errorf("byte %d changed: %+v", i, got)
		}
	}
	// What the key has signed for another purpose is none.
	for _, text := range []string{"cell-donor 1 2\n", "other 1 2 " + strings.Repeat("0", 64) + "\n", "cell-donor 01 2 " + strings.Repeat("0", 64) + "\n", "cell-donor -1 2 " + strings.Repeat("0", 64) + "\n"} {
		file := append([]byte(text), Statement{}.Sign(private)[len(Statement{}.line()):]...)
		if _, err := Verify(file, public); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestKeys(t *testing.T) {
	public, private := keys(t)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	got, err := PrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil || !got.Equal(private) {
		t.Error(err)
	}
	text, err := PublicKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParsePublicKey(text); err != nil || !got.Equal(public) {
		t.Error(err)
	}
	if _, err := PrivateKey(text); err == nil {
		t.Error("a public key is taken for a private one")
	}
}

func FuzzVerify(f *testing.F) {
	public, private := keys(f)
	file := Statement{Version: 1}.Sign(private)
	f.Add(file)
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := Verify(b, public); err == nil && s != (Statement{Version: 1}) {
			t.Errorf("%q", b)
		}
	})
}
