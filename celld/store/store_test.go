package store

import (
	"os"
	"path/filepath"
	"testing"
)

func TestUpdateSurvivesReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Update(func(r map[string]Root) { r["shop"] = Root{Dir: "/x/shop", Stopped: []string{"shop.auth"}} }); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Roots()["shop"]; got.Dir != "/x/shop" || len(got.Stopped) != 1 {
		t.Fatalf("after reopening: %+v", got)
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".wanted-*"))
	if len(left) != 0 {
		t.Fatalf("temporary files left: %v", left)
	}
}

func TestOpenRefusesDamage(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "wanted.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Fatal("a damaged file was taken for an empty one: wanted cells would be forgotten")
	}
}
