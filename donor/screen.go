package donor

import (
	"fmt"
	"strings"

	"github.com/cell-network/cell/sdk/api"
	"github.com/cell-network/cell/sdk/manifest"
)

// View is what the console shows.
type View struct {
	State
	Image     uint64
	Trial     bool   // it has not been called good yet
	Update    string // what is done about a newer image
	Addresses []string
	Net       api.NetStatus
	Joining   string // why it has not joined yet
	Cells     []api.Cell
	Trouble   string // what else keeps the machine from its work
	Trees     string // why a tree of the image does not start
	Room      int64  // bytes that the partition for data holds
	Full      bool   // nothing more can be written to it
}

// ready tells whether the machine does what it is for.
func (v View) ready() bool {
	return v.Problem == "" && v.Trouble == "" && v.Trees == "" && (v.Settings.Join == "" || v.Net.Tissue != "")
}

// headline is the one line that says how things are.
func (v View) headline() string {
	switch {
	case v.Problem != "":
		return v.Problem + "\nCorrect it on another computer, on the partition CELL of this medium, and start again. Until then nothing of it is in force."
	case v.Trouble != "":
		return v.Trouble
	case v.Trees != "":
		return v.Trees
	case !v.ready():
		s := "joining"
		if v.Joining != "" {
			s += ": " + v.Joining
		}
		return s
	case v.Net.Tissue != "":
		return fmt.Sprintf("ready: %s is a donor of %s", v.Net.Node, v.Net.Tissue)
	}
	return fmt.Sprintf("ready: %s is a donor, and of no tissue yet: donor.toml has no token", v.Name)
}

func (v View) keeps() string {
	switch {
	case v.Device != "" && v.Full:
		return v.Device + " is full"
	case v.Device != "":
		how := "not encrypted"
		if v.Encrypted {
			how = "encrypted to this computer's TPM"
		}
		return fmt.Sprintf("%s, %s, %s", v.Device, manifest.FormatBytes(v.Room), how)
	}
	return "nowhere: this runs from memory, and all is gone when it is switched off (" + v.NoData + ")"
}

func (v View) image() string {
	text := fmt.Sprint(v.Image)
	if v.Trial {
		text += ", on trial"
	}
	if v.Update != "" {
		text += "; " + v.Update
	}
	return text
}

func (v View) gives() string {
	l := v.Settings.Limits
	var parts []string
	if l.CPU > 0 {
		parts = append(parts, fmt.Sprintf("%v processors", l.CPU))
	}
	if l.Memory > 0 {
		parts = append(parts, manifest.FormatBytes(int64(l.Memory))+" of memory")
	}
	if l.Storage > 0 {
		parts = append(parts, manifest.FormatBytes(int64(l.Storage))+" of storage")
	}
	if len(parts) == 0 {
		return "all it has"
	}
	return strings.Join(parts, ", ")
}

// Screen is the text of the console's screen.
func (v View) Screen() string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "  %-11s%s\n", label, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "\n  %s\n\n", strings.ReplaceAll(v.headline(), "\n", "\n  "))
	line("name", "%s", v.Name)
	if v.Net.Address != "" {
		line("in tissue", "%s, %s", v.Net.Tissue, v.Net.Address)
	}
	if len(v.Addresses) == 0 {
		line("addresses", "none yet: is the cable in?")
	} else {
		line("addresses", "%s", strings.Join(v.Addresses, " "))
	}
	line("gives", "%s", v.gives())
	line("data", "%s", v.keeps())
	line("image", "%s", v.image())
	line("cells", "%d", len(v.Cells))
	for i, c := range v.Cells {
		if i == 12 {
			line("", "and %d more", len(v.Cells)-i)
			break
		}
		line("", "%-28s %s", c.Name, c.State)
	}
	b.WriteString("\n  To stop: switch it off. Without this medium the computer starts as it did before.\n")
	if v.Debug {
		b.WriteString("  Built with --debug: a root shell is on the second console (Alt+F2) and on the serial line.\n")
	}
	return b.String()
}
