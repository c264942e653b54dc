package join

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cell-network/cell/cellnet/identity"
	"github.com/cell-network/cell/cellnet/wg"
)

func sample() Token {
	return Token{
		Tissue: identity.Tissue{1}, Name: "home", Secret: wg.NewKey(), Expires: time.Unix(1_800_000_000, 0),
		Seeds: []Seed{{identity.Key{2}, wg.Key{3}, []netip.AddrPort{netip.MustParseAddrPort("198.18.0.1:23550")}}},
	}
}

func TestToken(t *testing.T) {
	want := sample()
	text := want.String()
	if got, err := Parse(" " + text + "\n"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	for at := range text {
		changed := text[:at] + "x" + text[at+1:]
		if at+1 == len(text) || changed == text { // the last character has bits to spare
			continue
		}
		if _, err := Parse(changed); err == nil {
			t.Fatalf("character %d was changed", at)
		}
	}
	for _, bad := range []string{"", "cell1.", "cell2." + strings.TrimPrefix(text, prefix), text[:len(text)/2], Token{Name: "a"}.String()} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(sample().String())
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := Parse(s); err == nil {
			if again, err := Parse(got.String()); err != nil || !reflect.DeepEqual(again, got) {
				t.Errorf("%+v became %+v: %v", got, again, err)
			}
		}
	})
}
