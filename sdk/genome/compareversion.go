package genome

import (
	"cmp"
	"math/big"
	"regexp"
	"strings"
)

// Bump says the version that new must have at least when old had version: a major one after a break (before 1.0.0 a minor
// one), a minor one when something was added or Go callers must edit, a patch after anything else, the same when nothing
// changed. A version before its release, as 2.0.0-rc.1, is raised only as far as its release does not cover the changes.
// What is no version stays as it is.
func Bump(version string, changes []Change) string {
	v, ok := parseVersion(version)
	if !ok || len(changes) == 0 {
		return version
	}
	level := 2
	for _, c := range changes {
		switch {
		case c.Verdict == Break && v.numbers[0] != "0":
			level = 0
		case c.Verdict != Safe || c.Additive:
			level = min(level, 1)
		}
	}
	// 2.0.0-rc.1 comes before 2.0.0, which is a major version; 2.0.1-rc.1 is none.
	raise := len(v.pre) == 0
	for _, n := range v.numbers[level+1:] {
		raise = raise || n != "0"
	}
	if raise {
		n, _ := new(big.Int).SetString(v.numbers[level], 10)
		v.numbers[level] = n.Add(n, big.NewInt(1)).String()
	}
	for i := level + 1; i < len(v.numbers); i++ {
		v.numbers[i] = "0"
	}
	return strings.Join(v.numbers[:], ".")
}

// CompareVersions is negative when a comes before b, positive when it comes after, by the rules of semver.org: 1.0.0-rc.1
// comes before 1.0.0, and what follows a plus does not count. What is no version comes first.
func CompareVersions(a, b string) int {
	x, okA := parseVersion(a)
	y, okB := parseVersion(b)
	switch {
	case !okA && !okB:
		return strings.Compare(a, b)
	case !okA:
		return -1
	case !okB:
		return 1
	}
	for i := range x.numbers {
		if d := compareNumbers(x.numbers[i], y.numbers[i]); d != 0 {
			return d
		}
	}
	switch {
	case len(x.pre) == 0 || len(y.pre) == 0:
		return cmp.Compare(len(y.pre), len(x.pre)) // a version comes after what came before its release
	}
	for i := range min(len(x.pre), len(y.pre)) {
		if d := comparePre(x.pre[i], y.pre[i]); d != 0 {
			return d
		}
	}
	return cmp.Compare(len(x.pre), len(y.pre))
}

type version struct {
	numbers [3]string // without leading zeros
	pre     []string
}

var versionForm = regexp.MustCompile(`^([0-9]+)\.([0-9]+)\.([0-9]+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$`)

func parseVersion(s string) (v version, ok bool) {
	parts := versionForm.FindStringSubmatch(s)
	if parts == nil {
		return v, false
	}
	for i := range v.numbers {
		v.numbers[i] = plain(parts[i+1])
	}
	if parts[4] != "" {
		v.pre = strings.Split(parts[4], ".")
	}
	return v, true
}

func plain(digits string) string {
	return cmp.Or(strings.TrimLeft(digits, "0"), "0")
}

// compareNumbers compares numbers of any length.
func compareNumbers(a, b string) int {
	a, b = plain(a), plain(b)
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// comparePre compares parts of what precedes a release: numbers as such and before words.
func comparePre(a, b string) int {
	number := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	switch {
	case number(a) && number(b):
		return compareNumbers(a, b)
	case number(a):
		return -1
	case number(b):
		return 1
	}
	return strings.Compare(a, b)
}
