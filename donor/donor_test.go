package donor

import (
	"errors"
	"strings"
	"testing"

	"github.com/cell-network/cell/donor/settings"
	"github.com/cell-network/cell/sdk/api"
)

func TestScreen(t *testing.T) {
	joined := View{
		State: State{Name: "attic", Device: "/dev/sda2"}, Room: 3<<30 + 5, Image: 7, Net: api.NetStatus{Tissue: "home", Node: "attic", Address: "fd00::1"},
		Addresses: []string{"192.0.2.7"}, Cells: []api.Cell{{Name: "shop", State: "ready"}},
	}
	joined.Settings.Join = "cell1.x"
	joined.Settings.Limits = settings.Limits{CPU: 1.5, Memory: 1 << 30}
	waits := joined
	waits.Net, waits.Joining = api.NetStatus{}, "the token has expired"
	wrong := View{State: State{Name: "donor-12", Problem: "donor.toml:2: no", NoData: "no medium"}}
	full := joined
	full.Full = true
	sealed := joined
	sealed.Encrypted = true
	troubled := joined
	troubled.Trouble = "celld does not answer"
	for _, c := range []struct {
		name  string
		view  View
		ready bool
		want  []string
	}{
		{"joined", joined, true, []string{"ready: attic is a donor of home", "1.5 processors, 1G of memory", "/dev/sda2, 3G, not encrypted", "shop", "fd00::1", "To stop:"}},
		{"not joined", waits, false, []string{"joining: the token has expired"}},
		{"wrong settings", wrong, false, []string{"donor.toml:2: no", "Correct it on another computer", "runs from memory", "is the cable in?"}},
		{"full", full, true, []string{"/dev/sda2 is full"}},
		{"encrypted", sealed, true, []string{"/dev/sda2, 3G, encrypted to this computer's TPM"}},
		{"no celld", troubled, false, []string{"celld does not answer"}},
		{"no token", View{State: State{Name: "donor-12"}}, true, []string{"of no tissue yet", "all it has"}},
	} {
		text := c.view.Screen()
		for _, w := range c.want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: no %q in\n%s", c.name, w, text)
			}
		}
		if c.view.ready() != c.ready || strings.Contains(text, "cell1.x") {
			t.Errorf("%s: ready %v\n%s", c.name, c.view.ready(), text)
		}
	}
}

func TestUnits(t *testing.T) {
	if got, want := network(settings.Network{Address: []string{"192.0.2.7/24"}, Gateway: "192.0.2.1", DNS: []string{"192.0.2.1"}}),
		"[Match]\nType=ether\n[Network]\nLinkLocalAddressing=ipv6\nAddress=192.0.2.7/24\nGateway=192.0.2.1\nDNS=192.0.2.1\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := network(settings.Network{}); got != "" {
		t.Error(got)
	}
	if got := strings.Join(limits(settings.Limits{CPU: 1.5, Memory: 512}), " "); got != "CPUQuota=150% MemoryMax=512" {
		t.Error(got)
	}
}

func TestSaid(t *testing.T) {
	for out, want := range map[string]string{
		"": "exit status 1", "  build\ncell: shop: no\nhint: x\n": "shop: no", "cp: a\ncp: cannot create directory\n\n": "cp: cannot create directory",
	} {
		if got := said([]byte(out), errors.New("exit status 1")); got != want {
			t.Errorf("%q: %s, want %s", out, got, want)
		}
	}
}
