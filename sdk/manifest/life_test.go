package manifest

import (
	"os/exec"
	"testing"
)

// What is taken for a calendar event is one to systemd, and the other way round.
func TestCalendar(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	for _, s := range []string{
		"daily", "Hourly", "weekly", "Mon..Fri 08:30", "Sat,Sun 2026-*-1 12:00", "*:0/15", "*-*-* 04:00:00 UTC", "03:00 Europe/Berlin", "*:*:0/1", "*:*:00.5",
		"2026-11-29", "*-02~03", "*-*-01..07 10:00", "Mon", "Monday 9:00", "12:00", "1970-01-01", "Mon,", "8..18:00",
		"", "sometimes", "25:00", "12:60", "*-13-01", "*-1-32", "Moonday 12:00", "12:00 Mars/Base", "daily daily", "12", "12:00 12:00", "@x", "-1:00", "*:0/", "a", "12:00:61", "Mon..", "12:00 ../UTC",
	} {
		ours := notCalendar(s)
		theirs := exec.Command(analyze, "calendar", "--", s).Run()
		if (ours == "") != (theirs == nil) {
			t.Errorf("%q: %q here, to systemd %v", s, ours, theirs)
		}
	}
}
