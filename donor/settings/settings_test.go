package settings

import (
	"regexp"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"\xef\xbb\xbfname = \"attic\"\r\njoin = \" cell1.abc \"\r\n", ""},
		{"name = 'Attic'", `donor.toml: name: "Attic" cannot name a machine: use a to z, digits and dashes, at most 63`},
		{"\nnames = 'a'", `donor.toml:2: there is no setting "names"`},
		{"[limits]\nmemory = 'lots'", `donor.toml:2: "lots" is no size above 0: write it as in "4GB"`},
		{"[limits]\ncpu = -1", `donor.toml: limits.cpu: -1 is not between 0.05 and 4096 processors`},
		{"[limits]\ncpu = nan", `donor.toml: limits.cpu: NaN is not between 0.05 and 4096 processors`},
		{"join = \"a b\"", "donor.toml: join: it is no token: copy the whole line that cell invite prints"},
		{"[network]\naddress = ['192.0.2.7']\ngateway = 'x'", "donor.toml: network.address: \"192.0.2.7\" is no address with the length of its prefix, as in 192.0.2.7/24\n" +
			`donor.toml: network: "x" is no address`},
		{"[network]\ngateway = '192.0.2.1'", "donor.toml: network.gateway: it needs network.address beside it"},
		{"[data]\ndisk = '/dev/sda'", `donor.toml: data.disk: "/dev/sda" may name another disk at the next start: take the path below /dev/disk/by-id`},
		{"[data]\ndisk = '/dev/disk/../sda'", `donor.toml: data.disk: "/dev/disk/../sda" may name another disk at the next start: take the path below /dev/disk/by-id`},
		{"[update]\nfrom = 'ftp://x'", `donor.toml: update.from: "ftp://x" is no address of http or https`},
		{"name = ", `donor.toml:1: `},
		{strings.Repeat("#", 70000), "donor.toml: it has more than 64 KiB"},
	} {
		s, err := Parse([]byte(c.text))
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)):
			t.Errorf("%.60q: %v, want %s", c.text, err, c.want)
		case err != nil && s.Name+s.Join+s.Data.Disk != "":
			t.Errorf("%q: something is taken of it: %+v", c.text, s)
		}
	}
	s, err := Parse([]byte("name = 'attic'\njoin = 'cell1.x'\n[limits]\ncpu = 1.5\nmemory = '1GB'\nstorage = '2G'\n[network]\naddress = ['192.0.2.7/24', '2001:db8::7/64']\ngateway = '192.0.2.1'\n"))
	if err != nil || !s.Data.Encrypted() || s.Limits.CPU != 1.5 || s.Limits.Memory != 1<<30 || s.Limits.Storage != 2<<30 || len(s.Network.Address) != 2 {
		t.Errorf("%+v %v", s, err)
	}
}

// What is written into an image is read back.
func TestTemplate(t *testing.T) {
	for _, want := range []Settings{{}, {Name: "attic", Join: "cell1.abc"}, {Update: Update{From: "https://example.org/donor.efi"}}} {
		got, err := Parse([]byte(Template(want)))
		if err != nil || got.Name != want.Name || got.Join != want.Join || got.Update != want.Update {
			t.Errorf("%+v %v, want %+v", got, err, want)
		}
	}
	// Every setting is in it, and is one when its mark is taken away.
	all := regexp.MustCompile(`(?m)^#(\w)`).ReplaceAllString(Template(Settings{}), "$1")
	if s, err := Parse([]byte(strings.NewReplacer("cell1.…", "x", "ata-…", "x").Replace(all))); err != nil || s.Data.Disk == "" || s.Data.Encrypted() || s.Limits.Storage == 0 || s.Update.From == "" {
		t.Errorf("%+v %v", s, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Template(Settings{Name: "a", Join: "b"})))
	f.Add([]byte("[network]\naddress = ['::/0']"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err == nil && (s.Limits.Memory < 0 || s.Limits.Storage < 0 || !(s.Limits.CPU >= 0)) {
			t.Errorf("%+v", s)
		}
		if err != nil && !strings.HasPrefix(err.Error(), File) {
			t.Errorf("%v", err)
		}
	})
}
