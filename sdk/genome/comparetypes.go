package genome

import (
	"slices"
	"strconv"
)

// spot is a use of a type: the place, whether it is an element (of a list, array, map or optional), where what may be absent
// is wrapped on the wire, and the change as it is told there.
type spot struct {
	site
	dir     direction
	element bool
	what    string
}

// use compares the type at one place.
func (c *comparer) use(o, n Ref, dir direction, at site) {
	c.ref(o, n, spot{site: at, dir: dir, what: o.goString() + " → " + n.goString()})
}

// ref tells what changed and returns the verdict of that; types that keep their names have verdicts of their own.
func (c *comparer) ref(o, n Ref, s spot) Verdict {
	report := func(id string) Verdict { return c.add(id, s.dir, s.site, s.what) }
	inner := s
	inner.element = true
	switch {
	case o.Kind == Optional && n.Kind == Optional:
		return c.ref(*o.Elem, *n.Elem, inner)
	case o.Kind == Optional || n.Kind == Optional:
		return c.optional(o, n, s)
	case o.Kind == Named && n.Kind == Named:
		return c.names(o.Name, n.Name, s)
	case o.Kind == Named || n.Kind == Named:
		ob, om := c.oldTypes.resolve(o)
		nb, nm := c.newTypes.resolve(n)
		if om != nil || nm != nil {
			return report("type-changed")
		}
		v := c.ref(ob, nb, s)
		if v != Break {
			v = max(v, report("type-named"))
		}
		return v
	case o.Kind.Scalar() && n.Kind.Scalar():
		if id := scalarRule(o.Kind, n.Kind); id != "" {
			return report(id)
		}
		return Safe
	case o.Kind != n.Kind || o.ByteArray() != n.ByteArray():
		return report("type-changed")
	case o.Kind == Array && o.Len != n.Len:
		return report("array-length")
	}
	v := Safe
	if o.Kind == Map {
		v = c.ref(o.KeyRef(), n.KeyRef(), inner)
	}
	return max(v, c.ref(*o.Elem, *n.Elem, inner))
}

// optional compares T with *T: the same bytes, unless an optional is wrapped there.
func (c *comparer) optional(o, n Ref, s spot) Verdict {
	id, plain := "becomes-optional", c.oldTypes.kind(o)
	if o.Kind == Optional {
		id, o, plain = "becomes-required", *o.Elem, c.newTypes.kind(n)
	} else {
		n = *n.Elem
	}
	if s.element || plain == List || plain == Map {
		id = "optional-wrapped"
	}
	v := c.add(id, s.dir, s.site, s.what)
	return max(v, c.ref(o, n, s))
}

// scalarRule is the rule for one scalar read as another, "" when it is the same.
func scalarRule(o, n Kind) string {
	text := func(k Kind) bool { return k == String || k == Bytes || k == JSON }
	switch {
	case o == n:
		return ""
	case o.Integer() && n.Integer() && (o == Duration || n == Duration):
		return "duration-number"
	case o.Integer() && n.Integer() && o.Signed() != n.Signed():
		return "integer-sign"
	case o.Integer() && n.Integer() && o.bits() == n.bits():
		return "integer-word"
	case o.Integer() && n.Integer() && o.bits() < n.bits():
		return "integer-wider"
	case o.Integer() && n.Integer():
		return "integer-narrower"
	case (o == Float32 || o == Float64) && (n == Float32 || n == Float64):
		return "float-width"
	case text(o) && text(n):
		return "text-bytes"
	}
	return "type-changed"
}

// names compares the use of one named type with that of another, or of the same.
func (c *comparer) names(o, n string, s spot) Verdict {
	switch {
	case o == n:
		c.named(o, n, s.dir)
		return Safe
	case c.probing:
		c.named(o, n, s.dir)
		return Source
	case !c.replaces(pair{o, n, s.dir}):
		return c.add("type-replaced", s.dir, s.site, s.what)
	}
	c.named(o, n, s.dir)
	return c.add("type-renamed", s.dir, s.site, s.what)
}

// replaces tells whether a type of another name can stand for the old one: whether nothing breaks when the one is read as
// the other, and nothing within them. Types that keep their names are judged on their own.
func (c *comparer) replaces(p pair) bool {
	if fits, ok := c.judged[p]; ok {
		return fits
	}
	probe := &comparer{
		old: c.old, new: c.new, oldTypes: c.oldTypes, newTypes: c.newTypes,
		seen: map[pair]bool{}, probing: true, budget: c.budget,
	}
	probe.named(p.old, p.new, p.dir)
	c.judged[p] = !probe.broken
	if !probe.broken {
		for q := range probe.seen {
			c.judged[q] = true
		}
	}
	return !probe.broken
}

// named compares the definitions of two named types, once for each direction.
func (c *comparer) named(oldName, newName string, dir direction) {
	p := pair{oldName, newName, dir}
	if c.seen[p] || c.probing && (oldName == newName || c.broken) {
		return
	}
	o, n := c.oldTypes[oldName], c.newTypes[newName]
	if c.probing {
		*c.budget--
		for _, t := range []*Type{o, n} {
			if m := t.Message(); m != nil {
				*c.budget -= len(m.Fields)
			}
		}
		if *c.budget < 0 {
			c.broken = true
			return
		}
	}
	c.seen[p] = true
	at := site{where: oldName, typ: oldName}
	switch {
	case o.Base != nil && n.Base != nil:
		if c.ref(*o.Base, *n.Base, spot{site: at, dir: dir, what: o.Base.goString() + " → " + n.Base.goString()}) != Break {
			c.constants(o, n, dir)
		}
	case o.Struct != nil && n.Struct != nil:
		c.members(o.Struct, n.Struct, dir, members{
			added: "field-added", removed: "field-removed", renamed: "field-renamed", replaced: oldName != newName,
			oldAt: func(name string) site { return site{where: oldName + "." + name, typ: oldName, member: name} },
			newAt: func(name string) site { return site{where: newName + "." + name, typ: newName, member: name} },
		})
	case o.Sum != nil && n.Sum != nil:
		// A variant is used by the name of its type.
		c.members(o.Sum, n.Sum, dir, members{
			added: "variant-added", removed: "variant-removed", sum: true,
			oldAt: func(name string) site { return site{where: oldName + "." + name, typ: name} },
			newAt: func(name string) site { return site{where: newName + "." + name, typ: name} },
		})
	default:
		c.add("type-changed", dir, at, kindOf(o)+" → "+kindOf(n))
	}
}

func kindOf(t *Type) string {
	switch {
	case t.Struct != nil:
		return "struct"
	case t.Sum != nil:
		return "sum"
	}
	return t.Base.goString()
}

// constants compares the constants of a named scalar, which belong together by name.
func (c *comparer) constants(o, n *Type, dir direction) {
	at := func(v Value) site { return site{where: o.Name + "." + v.Name, typ: o.Name} }
	was := map[string]Value{}
	for _, v := range slices.Backward(o.Values) { // of two with one name, which Go does not have, the first
		was[v.Name] = v
	}
	is := map[string]bool{}
	for _, v := range n.Values {
		if is[v.Name] {
			continue
		}
		is[v.Name] = true
		old, ok := was[v.Name]
		switch {
		case !ok:
			c.add("constant-added", dir, at(v), "constant added")
		case !sameConstant(n.Base.Kind, old.Value, v.Value):
			c.add("constant-changed", dir, at(v), old.Value+" → "+v.Value)
		}
	}
	for _, v := range o.Values {
		if !is[v.Name] {
			c.add("constant-removed", dir, at(v), "constant removed")
		}
	}
}

// sameConstant compares constants that may be written in different ways: 1000 and 1e3.
func sameConstant(k Kind, a, b string) bool {
	if a == b {
		return true
	}
	switch {
	case k.Signed():
		x, errA := strconv.ParseInt(a, 10, 64)
		y, errB := strconv.ParseInt(b, 10, 64)
		return errA == nil && errB == nil && x == y
	case k == Float32 || k == Float64:
		x, errA := strconv.ParseFloat(a, 64)
		y, errB := strconv.ParseFloat(b, 64)
		return errA == nil && errB == nil && x == y
	}
	return false
}
