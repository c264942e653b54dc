package celld

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cell-network/cell/sdk/api"
)

// A cell is called elsewhere by the name that it has in its tree.
func TestFullName(t *testing.T) {
	root := t.TempDir()
	for dir, text := range map[string]string{
		"shop":                  "[cell]\nname = \"shop\"\n[cells]\nusers = { path = \"parts/users\" }\n",
		"shop/parts/users":      "[cell]\nname = \"users\"\n[cells]\nmail = { path = \"mail\" }\n",
		"shop/parts/users/mail": "[cell]\nname = \"mail\"\n",
		"shop/other":            "[cell]\nname = \"other\"\n",
	} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, dir, "cell.toml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for dir, want := range map[string]string{
		"shop": "shop", "shop/parts/users": "shop.users", "shop/parts/users/mail": "shop.users.mail", "shop/other": "other", "none": "",
	} {
		if got := fullName(filepath.Join(root, dir)); got != want {
			t.Errorf("%s is %q, want %q", dir, got, want)
		}
	}
}

// Users and cells of a stranger's machine are nobody's here, whatever they are called.
func TestStrangers(t *testing.T) {
	s := &Server{}
	for role, want := range map[string]int{"member": 0, "guest": noAccount, "": noAccount} {
		who := s.from(api.RemoteCall{Cell: "web", User: "root", Node: "laptop", Role: role})
		if who.UID != want || who.stranger() != (role != "member") || who.String() != "web@laptop" {
			t.Errorf("role %q: %+v", role, who)
		}
	}
	if who := s.from(api.RemoteCall{User: "no-such-user", Node: "laptop", Role: "member"}); who.UID != noAccount {
		t.Errorf("%+v", who)
	}
}
