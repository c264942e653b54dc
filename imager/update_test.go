package imager

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cell-network/cell/donor/slot"
	"github.com/cell-network/cell/donor/statement"
	"github.com/cell-network/cell/imager/disk"
)

func TestOfDevice(t *testing.T) {
	for name, want := range map[string]bool{"/dev/sda": true, "/dev/sda1": true, "/dev/sdap1": true, "/dev/sdaa": false, "/dev/sdaa1": false, "/dev/sdb": false} {
		if ofDevice(name, "/dev/sda") != want {
			t.Errorf("%s: not %v", name, want)
		}
	}
}

// A newer image comes beside the one that works; what is not signed, not newer or for another kind of medium changes nothing.
func TestUpdate(t *testing.T) {
	if _, err := exec.LookPath("mcopy"); err != nil {
		t.Skip("mtools is not installed")
	}
	dir := t.TempDir()
	probe := put(t, filepath.Join(dir, "probe.img"), strings.Repeat("x", 1<<20))
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	image := func(number uint64, key ed25519.PrivateKey) string {
		path := put(t, filepath.Join(dir, fmt.Sprintf("%d-%x.efi", number, key[:2])), strings.Repeat(fmt.Sprint(number), 100_000))
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		said, err := statement.Of(number, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		put(t, path+statement.Suffix, string(said.Sign(key)))
		return path
	}
	medium := filepath.Join(dir, "donor.img")
	if err := disk.Write(medium, []disk.File{{Name: slot.Dir + "/" + slot.Name(100), Text: "old"}, {Name: "donor.toml", Text: "name = \"attic\"\n"}}); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		out, _ := exec.Command("mtype", "-i", medium+"@@1M", "::"+name).Output()
		return string(out)
	}
	public := key.Public().(ed25519.PublicKey)
	changed := image(104, key)
	put(t, changed, "something else")
	for _, c := range []struct{ medium, image, want string }{
		{medium, image(102, stranger), "not signed by this key"},
		{medium, image(99, key), "not newer than 100"},
		{medium, changed, "its bytes are not those that are signed"},
		{probe, image(103, key), "is no medium of a donor"},
		{medium, filepath.Join(dir, "none.efi"), "no such file"},
	} {
		if n, err := Update(t.Context(), c.medium, c.image, public); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d %v, want %s", c.image, n, err, c.want)
		}
	}
	next := image(101, key)
	if out, err := exec.Command("mcopy", "-i", medium+"@@1M", next, "::"+slot.Dir+"/cell_100+3.efi.new").CombinedOutput(); err != nil { // power was cut
		t.Fatalf("%v %s", err, out)
	}
	if n, err := Update(t.Context(), medium, next, public); err != nil || n != 101 {
		t.Fatalf("%d %v", n, err)
	}
	want, err := os.ReadFile(next)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(slot.Dir + "/cell_101+3.efi"); got != string(want) {
		t.Errorf("the new image has %d bytes of %d", len(got), len(want))
	}
	if left := read(slot.Dir + "/cell_100+3.efi.new"); left != "" {
		t.Error("what an interrupted update left is still there")
	}
	if old, settings := read(slot.Dir+"/"+slot.Name(100)), read("donor.toml"); old != "old" || settings != "name = \"attic\"\n" {
		t.Errorf("what was there is now %q and %q", old, settings)
	}
}
