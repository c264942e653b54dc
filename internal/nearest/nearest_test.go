package nearest

import "testing"

func TestWord(t *testing.T) {
	known := []string{"idle_timeout", "warm", "ready", "ready_within"}
	for word, want := range map[string]string{
		"idle_timout": "idle_timeout", "wram": "warm", "ready": "ready", "redy": "ready", "": "", "x": "", "completely_different": "",
	} {
		if got := Word(word, known); got != want {
			t.Errorf("Word(%q) = %q, want %q", word, got, want)
		}
	}
}
