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

func TestUpdateThatCannotWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	shop := func(r map[string]Root) { r["shop"] = Root{Dir: "/x/shop", Replicas: map[string]int{"shop.web": 2}} }
	if err := s.Update(shop); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "wanted.json")
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Update(shop); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("what was there already was written: %v", err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(func(r map[string]Root) { r["shop"].Replicas["shop.web"] = 3; delete(r, "shop") }); err == nil {
		t.Fatal("it was written nowhere")
	}
	if got := s.Roots()["shop"]; got.Dir != "/x/shop" || got.Replicas["shop.web"] != 2 {
		t.Errorf("after an error: %+v", got)
	}
	s.Hold(func(r map[string]Root) { delete(r, "shop") })
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(func(map[string]Root) {}); err != nil {
		t.Fatal(err)
	}
	if again, err := Open(dir); err != nil || len(again.Roots()) != 0 {
		t.Errorf("what was held was not written: %v", err)
	}
}
