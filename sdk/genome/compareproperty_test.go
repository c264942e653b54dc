package genome

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// survives sends random values over every message that old callers know, in the direction in which it goes, and tells what
// was lost.
func (r random) survives(old, now *Genome) error {
	for i := range old.Methods {
		o := &old.Methods[i]
		n := now.Method(o.Name)
		if n == nil || n.ID != o.ID || form(n) != form(o) {
			return fmt.Errorf("%s is not reached", o.Name)
		}
		for _, way := range []struct {
			what string
			dir  direction
			o, n *Message
		}{
			{"request", toProvider, &o.Request, &n.Request},
			{"result", toCaller, &o.Result, &n.Result},
			{"in", toProvider, o.In, n.In},
			{"out", toCaller, o.Out, n.Out},
		} {
			if way.o == nil {
				continue
			}
			if err := r.crosses(crossing{old, now, way.dir}, way.o, way.n); err != nil {
				return fmt.Errorf("%s: %s: %w", o.Name, way.what, err)
			}
		}
	}
	for _, e := range old.Errors {
		if _, there := errorOf(now, e.Name); !there {
			return fmt.Errorf("error %s is gone", e.Name)
		}
		if err := r.crosses(crossing{old, now, toCaller}, old.Type(e.Name).Struct, now.Type(e.Name).Struct); err != nil {
			return fmt.Errorf("error %s: %w", e.Name, err)
		}
	}
	return nil
}

func (r random) crosses(x crossing, o, n *Message) error {
	from := o
	if x.dir == toCaller {
		from = n
	}
	for range 8 {
		if err := x.send(o, n, r.message(x.sender(), from, 0)); err != nil {
			return err
		}
	}
	return nil
}

// agrees makes a pair of genomes and tells whether values survive where Compare says so.
func agrees(t testing.TB, seed uint64) (verdict Verdict, changes int, lost bool) {
	t.Helper()
	r := newRandom(seed)
	old := r.genome()
	now := r.edited(old)
	all := Compare(old, now)
	wellFormed(t, all)
	for _, g := range []*Genome{old, now} {
		if c := Compare(g, g); len(c) > 0 {
			t.Errorf("seed %d: a genome differs from itself:\n%s", seed, told(c))
		}
	}
	err := r.survives(old, now)
	if err != nil && Worst(all) != Break {
		t.Errorf("seed %d: %v\n%s\nold %s\nnew %s", seed, err, told(all), canonical(t, old), canonical(t, now))
	}
	return Worst(all), len(all), err != nil
}

// TestCompareKeepsValues is the promise itself: where nothing breaks, every old field arrives.
func TestCompareKeepsValues(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds, which -short leaves out")
	}
	kept, lost, meaning := 0, 0, 0
	for seed := range uint64(4000) {
		verdict, changes, gone := agrees(t, seed)
		switch {
		case verdict != Break && changes > 0:
			kept++
		case gone:
			lost++
		case verdict == Break:
			meaning++
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d pairs differ and break nothing, %d lose something, %d are breaks that no value showed", kept, lost, meaning)
	if kept < 500 || lost < 500 {
		t.Errorf("only %d pairs without and %d with a loss: they prove little", kept, lost)
	}
}

func FuzzCompareKeepsValues(f *testing.F) {
	f.Add(uint64(1))
	f.Add(uint64(1 << 40))
	f.Fuzz(func(t *testing.T, seed uint64) { agrees(t, seed) })
}

// FuzzCompare compares any two genomes.
func FuzzCompare(f *testing.F) {
	for _, r := range rows {
		old := lined(f, nil, r.old)
		f.Add(canonical(f, old), canonical(f, lined(f, old, r.new)))
	}
	for seed := range uint64(20) {
		r := newRandom(seed)
		f.Add(canonical(f, r.genome()), canonical(f, r.genome()))
	}
	f.Add(canonical(f, sample(f)), canonical(f, lined(f, nil, "A()")))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		old, err := Parse(a)
		if err != nil {
			return
		}
		now, err := Parse(b)
		if err != nil {
			return
		}
		changes := Compare(old, now)
		wellFormed(t, changes)
		if again := Compare(old, now); told(again) != told(changes) {
			t.Errorf("twice, and different:\n%s\n%s", told(changes), told(again))
		}
		for _, g := range []*Genome{old, now} {
			if c := Compare(g, g); len(c) > 0 {
				t.Errorf("a genome differs from itself:\n%s", told(c))
			}
		}
		if bytes.Equal(a, b) && len(changes) > 0 {
			t.Error(told(changes))
		}
		// What is as on the wire breaks in meaning only.
		if old.WireHash() == now.WireHash() {
			for _, c := range changes {
				switch c.ID {
				case "doc", "serves-renamed", "variadic-changed", "signature-renamed", "signature-moved", "signature-exchanged",
					"field-renamed", "field-embedded", "id-exchanged", "constant-added", "constant-removed", "constant-changed",
					"error-pointer", "repeatable-added", "repeatable-removed":
				default:
					if c.ID == "method-form" && strings.Contains(c.What, "topic") {
						continue // a topic and a stream have the same bytes
					}
					t.Errorf("one wire hash, but %s", told([]Change{c}))
				}
			}
		}
	})
}
