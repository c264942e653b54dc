// Package settings reads the file that a person edits for a donor: donor.toml on the system partition of its medium.
package settings

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/cell-network/cell/sdk/manifest"
)

// File is the name of the file, at the root of the system partition.
const File = "donor.toml"

// maxSize is more than anybody writes by hand, in bytes.
const maxSize = 64 << 10

// Settings are what the file says. What it leaves out is zero.
type Settings struct {
	Name    string  `toml:"name"` // of the machine, in the network and in its tissue
	Join    string  `toml:"join"` // token of cell invite
	Limits  Limits  `toml:"limits"`
	Network Network `toml:"network"`
	Data    Data    `toml:"data"`
	Update  Update  `toml:"update"`
}

// Limits are what the machine gives to all cells together; 0 is all it has.
type Limits struct {
	CPU     float64 `toml:"cpu"` // processors
	Memory  Size    `toml:"memory"`
	Storage Size    `toml:"storage"` // of the partition for data
}

// Network is how the wired networks are set up: without an address by DHCP and router advertisements.
type Network struct {
	Address []string `toml:"address"` // with the length of the prefix
	Gateway string   `toml:"gateway"`
	DNS     []string `toml:"dns"`
}

// Data says where data is kept.
type Data struct {
	Disk    string `toml:"disk"`    // a whole disk, as a path below /dev/disk
	Encrypt *bool  `toml:"encrypt"` // to the computer's TPM where it has one; left out is yes
}

// Encrypted tells whether the partition is to be encrypted where it can be.
func (d Data) Encrypted() bool { return d.Encrypt == nil || *d.Encrypt }

// Update says where newer images come from.
type Update struct {
	From string `toml:"from"` // an address of http or https
}

// Size is a number of bytes, written like 512MB.
type Size int64

// UnmarshalText reads a size as a cell.toml has it.
func (s *Size) UnmarshalText(b []byte) error {
	n, err := manifest.ParseBytes(string(b))
	if err != nil || n <= 0 {
		return fmt.Errorf("%q is no size above 0: write it as in \"4GB\"", b)
	}
	*s = Size(n)
	return nil
}

// hostname is a label of RFC 1123.
var hostname = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Parse reads the file's text. The error says the line and what is wrong there, and all of what is wrong beyond the syntax.
func Parse(text []byte) (Settings, error) {
	var s Settings
	if len(text) > maxSize {
		return s, fmt.Errorf("%s: it has more than %d KiB", File, maxSize>>10)
	}
	// Editors of other systems write a mark in front and other ends of lines.
	text = bytes.ReplaceAll(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), []byte("\r\n"), []byte("\n"))
	d := toml.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		var unknown *toml.StrictMissingError
		var wrong *toml.DecodeError
		switch {
		case errors.As(err, &unknown) && len(unknown.Errors) > 0:
			line, _ := unknown.Errors[0].Position()
			return Settings{}, fmt.Errorf("%s:%d: there is no setting %q", File, line, strings.Join(unknown.Errors[0].Key(), "."))
		case errors.As(err, &wrong):
			line, _ := wrong.Position()
			return Settings{}, fmt.Errorf("%s:%d: %s", File, line, strings.TrimPrefix(wrong.Error(), "toml: "))
		}
		return Settings{}, fmt.Errorf("%s: %s", File, strings.TrimPrefix(err.Error(), "toml: "))
	}
	if errs := s.check(); len(errs) > 0 {
		return Settings{}, errors.Join(errs...)
	}
	return s, nil
}

func (s *Settings) check() (errs []error) {
	wrong := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s: %s", File, key, fmt.Sprintf(format, args...)))
	}
	if s.Name != "" && !hostname.MatchString(s.Name) {
		wrong("name", "%q cannot name a machine: use a to z, digits and dashes, at most 63", s.Name)
	}
	if s.Join = strings.TrimSpace(s.Join); strings.ContainsFunc(s.Join, func(r rune) bool { return r <= ' ' || r > '~' }) {
		wrong("join", "it is no token: copy the whole line that cell invite prints")
	}
	if c := s.Limits.CPU; c != 0 && !(c >= 0.05 && c <= 4096) {
		wrong("limits.cpu", "%v is not between 0.05 and 4096 processors", s.Limits.CPU)
	}
	n := s.Network
	for _, a := range n.Address {
		if _, err := netip.ParsePrefix(a); err != nil {
			wrong("network.address", "%q is no address with the length of its prefix, as in 192.0.2.7/24", a)
		}
	}
	for _, a := range append([]string{n.Gateway}, n.DNS...) {
		if _, err := netip.ParseAddr(a); err != nil && a != "" {
			wrong("network", "%q is no address", a)
		}
	}
	if n.Gateway != "" && len(n.Address) == 0 {
		wrong("network.gateway", "it needs network.address beside it")
	}
	if d := s.Data.Disk; d != "" && (!strings.HasPrefix(d, "/dev/disk/") || path.Clean(d) != d) {
		wrong("data.disk", "%q may name another disk at the next start: take the path below /dev/disk/by-id", d)
	}
	if from := s.Update.From; from != "" {
		if u, err := url.Parse(from); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			wrong("update.from", "%q is no address of http or https", from)
		}
	}
	return errs
}

// Template is the text of a file with all settings explained, of which some are said.
func Template(s Settings) string {
	set := func(is bool, text string) string {
		if is {
			return text
		}
		return "#" + text
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Settings of this donor. They are read at each start; docs/image.md explains them.")
	line("")
	line("# What the machine is called.")
	line("%s", set(s.Name != "", fmt.Sprintf("name = %q", or(s.Name, "attic"))))
	line("")
	line("# A token with which it joins a tissue, made by cell invite. It is used once.")
	line("%s", set(s.Join != "", fmt.Sprintf("join = %q", or(s.Join, "cell1.…"))))
	line("")
	line("# What it gives to all cells together: processors, memory, and the size of the partition for data.")
	line("[limits]\n#cpu = 2\n#memory = \"4GB\"\n#storage = \"50GB\"")
	line("")
	line("# Addresses; without one they come by DHCP and router advertisements.")
	line("[network]\n#address = [\"192.0.2.7/24\"]\n#gateway = \"192.0.2.1\"\n#dns = [\"192.0.2.1\"]")
	line("")
	line("# A whole, empty disk for data, by its path below /dev/disk/by-id. Without one the free space of this medium is taken.")
	line("[data]\n#disk = \"/dev/disk/by-id/ata-…\"")
	line("# Where the computer has a TPM 2 the partition is encrypted, so that it opens in no other computer.")
	line("#encrypt = false")
	line("")
	line("# Where newer images are found, which the key in this image has to have signed.")
	line("[update]\n%s", set(s.Update.From != "", fmt.Sprintf("from = %q", or(s.Update.From, "https://example.org/donor.efi"))))
	return b.String()
}

func or(s, example string) string {
	if s == "" {
		return example
	}
	return s
}
