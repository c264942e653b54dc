package genome

// members says how the fields of a message are told: parameters, results, the fields of a struct, the variants of a sum.
type members struct {
	added, removed, renamed string // rules
	oldAt, newAt            func(name string) site
	sum                     bool
	replaced                bool // the message belongs to a type of another name
}

// members compares the fields of two messages, which belong together by id.
func (c *comparer) members(o, n *Message, dir direction, k members) {
	was, oldID := map[uint32]*Field{}, map[string]uint32{}
	for i := range o.Fields {
		f := &o.Fields[i]
		was[f.ID], oldID[f.Name] = f, f.ID
	}
	is, newID := map[uint32]bool{}, map[string]uint32{}
	for _, f := range n.Fields {
		is[f.ID], newID[f.Name] = true, f.ID
	}
	for i := range n.Fields {
		f := &n.Fields[i]
		old := was[f.ID]
		switch {
		case old == nil && f.ID < o.Next:
			c.add("id-reused", dir, k.newAt(f.Name), "added with a used id")
		case old == nil:
			c.add(k.added, dir, k.newAt(f.Name), "added")
		default:
			c.member(old, f, dir, k, newID[old.Name] != 0 || oldID[f.Name] != 0)
		}
	}
	for i := range o.Fields {
		if f := &o.Fields[i]; !is[f.ID] {
			c.add(k.removed, dir, k.oldAt(f.Name), "removed")
		}
	}
}

// member compares two fields of the same id. A name that both messages have is not a new name for something else.
func (c *comparer) member(o, n *Field, dir direction, k members, both bool) {
	switch {
	case o.Name == n.Name:
	case both || k.replaced:
		c.add("id-exchanged", dir, k.newAt(n.Name), "has the id that "+o.Name+" had")
	case !k.sum: // a variant has the name of its type
		c.add(k.renamed, dir, k.newAt(n.Name), "renamed from "+o.Name)
	}
	if k.sum {
		c.variant(o, n, dir, k)
		return
	}
	if o.Embedded != n.Embedded {
		c.add("field-embedded", dir, k.oldAt(o.Name), embedded(o)+" → "+embedded(n))
	}
	c.use(o.Type, n.Type, dir, k.oldAt(o.Name))
}

func embedded(f *Field) string {
	if f.Embedded {
		return "embedded"
	}
	return "field"
}

// variant compares one variant of a sum: a struct, or a pointer to one, which is the same on the wire.
func (c *comparer) variant(o, n *Field, dir direction, k members) {
	oldType, newType := o.Type, n.Type
	if oldType.Kind != newType.Kind {
		c.add("variant-pointer", dir, k.oldAt(o.Name), oldType.goString()+" → "+newType.goString())
	}
	if oldType.Kind == Optional {
		oldType = *oldType.Elem
	}
	if newType.Kind == Optional {
		newType = *newType.Elem
	}
	c.use(oldType, newType, dir, k.oldAt(o.Name))
}

// docs tells whether any comment changed on what is in both genomes.
func docs(old, new *Genome) bool {
	if old.Doc != new.Doc {
		return true
	}
	for i := range new.Methods {
		n := &new.Methods[i]
		o := old.Method(n.Name)
		if o == nil {
			continue
		}
		if o.Doc != n.Doc || fieldDocs(&o.Request, &n.Request) || fieldDocs(&o.Result, &n.Result) ||
			fieldDocs(o.In, n.In) || fieldDocs(o.Out, n.Out) {
			return true
		}
	}
	was := newIndex(old)
	for i := range new.Types {
		n := &new.Types[i]
		o := was[n.Name]
		if o == nil {
			continue
		}
		if o.Doc != n.Doc || fieldDocs(o.Message(), n.Message()) || valueDocs(o.Values, n.Values) {
			return true
		}
	}
	return false
}

func fieldDocs(o, n *Message) bool {
	if o == nil || n == nil {
		return false
	}
	was := map[uint32]string{}
	for _, f := range o.Fields {
		was[f.ID] = f.Doc
	}
	for _, f := range n.Fields {
		if doc, ok := was[f.ID]; ok && doc != f.Doc {
			return true
		}
	}
	return false
}

func valueDocs(o, n []Value) bool {
	was := map[string]string{}
	for _, v := range o {
		was[v.Name] += v.Doc
	}
	is := map[string]string{}
	for _, v := range n {
		is[v.Name] += v.Doc
	}
	for name, doc := range is {
		if old, ok := was[name]; ok && old != doc {
			return true
		}
	}
	return false
}
