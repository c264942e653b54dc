package slot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cell-network/cell/donor/statement"
)

func TestParse(t *testing.T) {
	for file, want := range map[string]string{
		"cell_12.efi": "{12 false 0}", "cell_12+3.efi": "{12 true 3}", "cell_12+1-2.efi": "{12 true 1}", "cell_12+0-3.efi": "{12 true 0}",
		"cell_.efi": "", "cell_12.efi.new": "", "other.efi": "", "cell_99999999999999999999.efi": "", "cell_1+99999999999999999999.efi": "",
	} {
		got := ""
		if s, ok := Parse(file); ok {
			got = fmt.Sprint(struct {
				v uint64
				t bool
				l int
			}{s.Version, s.Trial, s.Left})
		}
		if got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
}

func TestPutAndBless(t *testing.T) {
	esp := t.TempDir()
	dir := filepath.Join(esp, Dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(files ...string) {
		t.Helper()
		for _, f := range files {
			if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	has := func(want string) {
		t.Helper()
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range files {
			got = append(got, f.Name())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("there are %v, want %s", got, want)
		}
	}
	state := func(version uint64, text string) statement.Statement {
		s, err := statement.Of(version, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	put("cell_5.efi", "cell_4+0-3.efi", "123.new", "others.efi")
	if err := Put(esp, 5, state(6, "six"), strings.NewReader("siy")); err == nil || !strings.Contains(err.Error(), "not those that are signed") {
		t.Errorf("%v", err)
	}
	has("cell_5.efi others.efi")
	if err := Put(esp, 5, state(6, "six"), strings.NewReader("six and more")); err == nil {
		t.Error("more bytes than are signed are taken")
	}
	if err := Put(esp, 5, state(5, "five"), strings.NewReader("five")); err == nil || !strings.Contains(err.Error(), "not newer") {
		t.Errorf("%v", err)
	}
	if err := Put(esp, 7, state(8, ""), strings.NewReader("")); err == nil || !strings.Contains(err.Error(), "not on the medium") {
		t.Errorf("%v", err)
	}
	if err := Put(esp, 5, state(6, "six"), strings.NewReader("six")); err != nil {
		t.Error(err)
	}
	has("cell_5.efi cell_6+3.efi others.efi")
	if all, err := List(esp); err != nil || Failed(all, 6) || Failed(all, 5) || Failed(all, 9) || !Failed([]Slot{{Version: 6, Trial: true}}, 6) {
		t.Errorf("%v %v", all, err)
	}
	// The menu has counted a try.
	if err := os.Rename(filepath.Join(dir, "cell_6+3.efi"), filepath.Join(dir, "cell_6+2-1.efi")); err != nil {
		t.Fatal(err)
	}
	if err := Put(esp, 6, state(7, ""), strings.NewReader("")); !errors.Is(err, ErrTrial) {
		t.Errorf("%v", err)
	}
	for range 2 {
		if err := Bless(esp, 6); err != nil {
			t.Error(err)
		}
		has("cell_5.efi cell_6.efi others.efi")
	}
	if err := Put(esp, 6, state(7, ""), strings.NewReader("")); err != nil {
		t.Error(err)
	}
	has("cell_6.efi cell_7+3.efi others.efi")
}
