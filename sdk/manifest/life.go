package manifest

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Health is how it is found out whether a running program works: one of HTTP, TCP and Command.
type Health struct {
	HTTP     string   // path of a GET that has to be answered with a status below 400
	TCP      bool     // a connection has to be accepted
	Command  []string // program and arguments, run inside of the cell, that have to end with 0
	Interval time.Duration
	Timeout  time.Duration
	Failures int // in a row, after which the program is started again
}

// Intervals below this one would be work of their own.
const minInterval = 100 * time.Millisecond

func setHealth(d *decoder, k Key, v value) {
	h := &Health{Interval: 10 * time.Second, Timeout: 5 * time.Second, Failures: 3}
	before := len(*d.errs)
	ways := 0
	length := func(name string, to *time.Duration) func(value) {
		return func(v value) {
			setDuration(func(*Manifest) *time.Duration { return to })(d, Key{Name: "health." + name, Type: "duration", Example: `"10s"`}, v)
		}
	}
	d.fields(k, v, map[string]func(value){
		"http": func(v value) {
			ways++
			s, ok := d.str(Key{Name: "health.http", Type: "string", Example: `"/health"`}, v)
			if ok && (!strings.HasPrefix(s, "/") || strings.ContainsAny(s, " \r\n")) {
				d.add(v.pos, "health.http: %q is not the path of a request", short(s)).hint(`write it as "/health"`)
			}
			h.HTTP = s
		},
		"tcp": func(v value) {
			ways++
			if v.kind != unstable.Bool || v.text != "true" {
				d.wrong(Key{Name: "health.tcp", Type: "true", Example: "true"}, v)
			}
			h.TCP = true
		},
		"command": func(v value) {
			ways++
			if h.Command, _ = d.strs(Key{Name: "health.command", Type: "list of strings", Example: `["bin/check"]`}, v); len(h.Command) == 0 || h.Command[0] == "" {
				d.add(v.pos, "health.command: the program is missing").hint(`write it as ["bin/check", "--quick"]`)
			}
		},
		"interval": length("interval", &h.Interval),
		"timeout":  length("timeout", &h.Timeout),
		"failures": func(v value) {
			if n, ok := d.whole(Key{Name: "health.failures", Type: "number", Example: "3"}, v, 1, 1000); ok {
				h.Failures = int(n)
			}
		},
	})
	switch {
	case len(*d.errs) > before:
	case ways != 1:
		d.add(v.pos, "health: %d of http, tcp and command are given, exactly one has to be", ways).hint(`write health = { http = "/health" }`)
	case h.Interval < minInterval || h.Timeout < minInterval:
		d.add(v.pos, "health: interval and timeout must be at least %v", minInterval)
	default:
		d.m.Life.Health = h
	}
}

// String writes it as in a cell.toml.
func (h *Health) String() string {
	way := "tcp = true"
	switch {
	case h.HTTP != "":
		way = "http = " + quote(h.HTTP)
	case len(h.Command) > 0:
		way = "command = " + list(h.Command)
	}
	return fmt.Sprintf("{ %s, interval = %s, timeout = %s, failures = %d }", way, quote(duration(h.Interval)), quote(duration(h.Timeout)), h.Failures)
}

func setSchedule(d *decoder, k Key, v value) {
	s, ok := d.str(k, v)
	if !ok {
		return
	}
	if why := notCalendar(s); why != "" {
		d.add(v.pos, "schedule: %q is no calendar event: %s", short(s), why).
			hint(`write it as systemd does, as in "daily", "Mon..Fri 08:30" or "*:0/15" (every 15 minutes); see systemd.time(7)`)
		return
	}
	d.m.Life.Schedule = s
}

// A component of a calendar event is a list of values, ranges and repetitions (systemd.time(7), "Calendar Events").
const part = `(?:\*|\d+(?:\.\d+)?(?:\.\.\d+(?:\.\d+)?)?)(?:/\d+(?:\.\d+)?)?`

var (
	component    = part + `(?:,` + part + `)*`
	dateForm     = regexp.MustCompile(`^(?:(` + component + `)-)?(` + component + `)[-~](` + component + `)$`)
	timeForm     = regexp.MustCompile(`^(` + component + `):(` + component + `)(?::(` + component + `))?$`)
	weekdayForm  = regexp.MustCompile(`^[A-Za-z]+(?:(?:,|\.\.|-)[A-Za-z]+)*,?$`)
	zoneForm     = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*$`)
	wordsOfTime  = []string{"minutely", "hourly", "daily", "monthly", "weekly", "yearly", "annually", "quarterly", "semiannually", "biannually", "bi-annually", "semi-annually", "anually"}
	weekdayNames = []string{"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}
)

// notCalendar tells what is wrong with a calendar event, "" when nothing is. systemd has the last word; here an error has a place.
func notCalendar(s string) string {
	words := strings.Fields(s)
	if len(words) == 0 {
		return "it is empty"
	}
	zoned := len(words) > 1 && zoneForm.MatchString(words[len(words)-1])
	if zoned && !strings.Contains(words[len(words)-1], "..") {
		zone := words[len(words)-1]
		if _, err := time.LoadLocation(zone); err != nil || path.Clean(zone) != zone {
			return fmt.Sprintf("there is no time zone %q", zone)
		}
		words = words[:len(words)-1]
	}
	if len(words) == 1 && slices.Contains(wordsOfTime, strings.ToLower(words[0])) {
		return ""
	}
	if weekdayForm.MatchString(words[0]) {
		for _, day := range regexp.MustCompile(`[A-Za-z]+`).FindAllString(words[0], -1) {
			full := strings.ToLower(day)
			if !slices.ContainsFunc(weekdayNames, func(name string) bool { return full == name || full == name[:3] }) {
				return fmt.Sprintf("%q is no day of the week", day)
			}
		}
		if words = words[1:]; len(words) == 0 {
			return ""
		}
	}
	if m := dateForm.FindStringSubmatch(words[0]); m != nil {
		if out := outside(m[2], 1, 12); out != "" {
			return "there is no month " + out
		}
		if out := outside(m[3], 1, 31); out != "" {
			return "there is no day " + out
		}
		words = words[1:]
	}
	if len(words) > 0 {
		if m := timeForm.FindStringSubmatch(words[0]); m != nil {
			for i, what := range []string{"hour", "minute", "second"} {
				if out := outside(m[i+1], 0, []float64{23, 59, 59.999999}[i]); out != "" {
					return "there is no " + what + " " + out
				}
			}
			words = words[1:]
		}
	}
	if len(words) > 0 {
		return fmt.Sprintf("%q is neither a date nor a time", short(words[0]))
	}
	return ""
}

var number = regexp.MustCompile(`\d+(?:\.\d+)?`)

// outside is a value of a component that is not between low and high, "" for none. What follows a slash is a distance.
func outside(component string, low, high float64) string {
	for one := range strings.SplitSeq(component, ",") {
		values, _, _ := strings.Cut(one, "/")
		for bound := range strings.SplitSeq(values, "..") {
			if v, err := strconv.ParseFloat(number.FindString(bound), 64); err == nil && (v < low || v > high) {
				return bound
			}
		}
	}
	return ""
}
