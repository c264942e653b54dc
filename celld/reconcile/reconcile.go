// Package reconcile compares what is wanted with what is seen and says what to do, each step with its reason. It is
// pure: no bus, no files, no time.
package reconcile

import "sort"

// Verb is what a step does to an instance.
type Verb string

// The verbs.
const (
	Open    Verb = "start"   // make socket and service
	Restart Verb = "restart" // new version: the socket stays open
	Replace Verb = "replace" // new definition: a new pair takes the place
	Limit   Verb = "limit"   // new resource controls, in place
	Wake    Verb = "wake"    // start the service of an open socket
	Keep    Verb = "keep"
	Stop    Verb = "stop"
)

// Wanted is an instance that should be.
type Wanted struct {
	Name    string
	Hash    string // of the definition
	Changed bool   // a staged version differs from the one in use
	Limits  bool   // the resource controls differ
	Asleep  bool   // an open socket is enough
}

// Seen is an instance that is.
type Seen struct {
	Name   string
	Hash   string
	Socket bool // listening, or its timer set
	Active bool // the service runs
}

// Step is one action.
type Step struct {
	Verb   Verb
	Name   string
	Reason string
}

// Plan orders the steps: what must go first, parents before their children as they call them, then the wanted in their
// given order. below tells which of the seen belong to the tree; nothing else is ever touched.
func Plan(wanted []Wanted, seen map[string]Seen, below func(name string) bool) []Step {
	var steps []Step
	want := map[string]bool{}
	for _, w := range wanted {
		want[w.Name] = true
	}
	var gone []string
	for name := range seen {
		if !want[name] && below(name) {
			gone = append(gone, name)
		}
	}
	sort.Strings(gone) // a parent sorts before its children
	for _, name := range gone {
		steps = append(steps, Step{Stop, name, "no longer in the tree"})
	}
	for _, w := range wanted {
		steps = append(steps, step(w, seen))
	}
	return steps
}

func step(w Wanted, seen map[string]Seen) Step {
	s, ok := seen[w.Name]
	switch {
	case !ok || (!s.Socket && !s.Active):
		return Step{Open, w.Name, "not running"}
	case !s.Socket:
		return Step{Replace, w.Name, "its socket is closed"}
	case s.Hash != w.Hash:
		return Step{Replace, w.Name, "definition changed"}
	case w.Changed && s.Active:
		return Step{Restart, w.Name, "new version; socket stays open"}
	case w.Changed:
		return Step{Restart, w.Name, "new version; it sleeps"}
	case w.Limits:
		return Step{Limit, w.Name, "limits changed; set in place"}
	case !s.Active && !w.Asleep:
		return Step{Wake, w.Name, "asleep"}
	}
	return Step{Keep, w.Name, "unchanged"}
}
