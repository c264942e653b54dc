package genome

import (
	"cmp"
	"slices"
)

// Verdict says what a change does to callers that were built against the old genome.
type Verdict uint8

// The verdicts, mildest first.
const (
	Safe   Verdict = iota // running callers go on, and their source builds as it is
	Source                // running callers go on; Go callers must edit when they next generate
	Break                 // running callers fail, or are served something else than they mean
)

var verdictNames = [...]string{Safe: "safe", Source: "source", Break: "break"}

// String is "safe", "source" or "break".
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return "unknown"
}

// MarshalText writes the verdict's name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Change is one difference between two genomes.
type Change struct {
	Verdict Verdict `json:"verdict"`
	Where   string  `json:"where"` // as in Go: "Users.Get", "Users.Get(id)", "Users.Get → result", "User.Email", "User"
	What    string  `json:"what"`  // "string → *string", "removed", "added", "renamed from key", …
	Rule    string  `json:"rule"`  // why, in one line
	ID      string  `json:"id"`    // of the rule: one row of docs/compatibility.md

	// Where source uses what changed: the method, or the type and its field. Empty when there is none.
	Method string `json:"method,omitempty"`
	Type   string `json:"type,omitempty"`
	Field  string `json:"field,omitempty"`

	Additive bool `json:"additive,omitempty"` // something was added
}

// Compare lists what changed from old to new for callers that were built against old: breaks first, then what Go callers
// must edit, then what is safe; each by place. Both must be right, as Parse and Merge leave them. What callers send and
// what they receive have rules of their own; of a type that is both the stricter verdict is told. Types that no method and
// no error leads to do not count.
func Compare(old, new *Genome) []Change {
	c := newComparer(old, new)
	c.methods()
	c.errors()
	if old.Serves != new.Serves {
		c.add("serves-renamed", toProvider, site{where: old.Serves, typ: old.Serves}, old.Serves+" → "+new.Serves)
	}
	if docs(old, new) {
		c.add("doc", toProvider, site{where: new.Serves}, "comments changed")
	}
	return c.sorted()
}

// Worst is the strictest verdict of changes, Safe when there are none.
func Worst(changes []Change) Verdict {
	worst := Safe
	for _, c := range changes {
		worst = max(worst, c.Verdict)
	}
	return worst
}

// direction is whose bytes are read by whom.
type direction uint8

const (
	toProvider direction = iota // parameters and streams of old callers, read by the new provider
	toCaller                    // results, streams and errors of the new provider, read by old callers
)

// site is where a change is: as it is told, and what source uses there.
type site struct {
	where               string
	method, typ, member string
}

// comparer collects changes. Within a probe it only finds out whether anything breaks.
type comparer struct {
	old, new           *Genome
	oldTypes, newTypes index

	changes map[changeKey]Change
	seen    map[pair]bool

	probing bool
	broken  bool
	judged  map[pair]bool // of other names: whether the one can stand for the other
	budget  *int          // types and fields that probes may still look at
}

type changeKey struct{ id, where, what string }

// pair is two named types of which one is read as the other.
type pair struct {
	old, new string
	dir      direction
}

// maxProbes bounds the work on types that were replaced by others; beyond it they count as different.
const maxProbes = 1 << 16

func newComparer(old, new *Genome) *comparer {
	budget := maxProbes
	return &comparer{
		old: old, new: new, oldTypes: newIndex(old), newTypes: newIndex(new),
		changes: map[changeKey]Change{}, seen: map[pair]bool{}, judged: map[pair]bool{}, budget: &budget,
	}
}

// add notes a change, and returns its verdict. In both directions the stricter one counts.
func (c *comparer) add(id string, dir direction, at site, what string) Verdict {
	r := ruleByID[id]
	s := r.request
	if dir == toCaller {
		s = r.result
	}
	if c.probing {
		c.broken = c.broken || s.verdict == Break
		return s.verdict
	}
	key := changeKey{id, at.where, what}
	if have, ok := c.changes[key]; !ok || have.Verdict < s.verdict {
		c.changes[key] = Change{
			Verdict: s.verdict, Where: at.where, What: what, Rule: s.why, ID: id,
			Method: at.method, Type: at.typ, Field: at.member, Additive: r.additive,
		}
	}
	return s.verdict
}

func (c *comparer) sorted() []Change {
	all := make([]Change, 0, len(c.changes))
	for _, x := range c.changes {
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b Change) int {
		return cmp.Or(cmp.Compare(b.Verdict, a.Verdict), cmp.Compare(a.Where, b.Where), cmp.Compare(a.ID, b.ID), cmp.Compare(a.What, b.What))
	})
	return all
}

func (c *comparer) errors() {
	was := map[string]Error{}
	for _, e := range c.old.Errors {
		was[e.Name] = e
	}
	is := map[string]bool{}
	for _, e := range c.new.Errors {
		is[e.Name] = true
		at := site{where: e.Name, typ: e.Name}
		o, ok := was[e.Name]
		if !ok {
			c.add("error-added", toCaller, at, "error added")
			continue
		}
		if o.Pointer != e.Pointer {
			c.add("error-pointer", toCaller, at, pointed(o)+" → "+pointed(e))
		}
		c.named(e.Name, e.Name, toCaller)
	}
	for _, e := range c.old.Errors {
		if !is[e.Name] {
			c.add("error-removed", toCaller, site{where: e.Name, typ: e.Name}, "error removed")
		}
	}
}

func pointed(e Error) string {
	if e.Pointer {
		return "*" + e.Name
	}
	return e.Name
}
