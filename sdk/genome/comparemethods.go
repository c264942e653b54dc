package genome

// methods compares the methods, which belong together by name.
func (c *comparer) methods() {
	was, used := map[string]*Method{}, map[uint32]bool{}
	for i := range c.old.Methods {
		m := &c.old.Methods[i]
		was[m.Name], used[m.ID] = m, true
	}
	is := map[string]bool{}
	for i := range c.new.Methods {
		m := &c.new.Methods[i]
		is[m.Name] = true
		at := site{where: c.new.Serves + "." + m.Name, method: m.Name}
		o := was[m.Name]
		switch {
		case o == nil && (used[m.ID] || m.ID < c.old.Next):
			c.add("id-reused", toProvider, at, "added with a used id")
		case o == nil:
			c.add("method-added", toProvider, at, "added")
		default:
			c.method(o, m)
		}
	}
	for _, m := range c.old.Methods {
		if !is[m.Name] {
			c.add("method-removed", toProvider, site{where: c.old.Serves + "." + m.Name, method: m.Name}, "removed")
		}
	}
}

func (c *comparer) method(o, n *Method) {
	name := c.old.Serves + "." + o.Name
	at := site{where: name, method: o.Name}
	if o.ID != n.ID {
		c.add("method-id", toProvider, at, "another id")
		return
	}
	if form(o) != form(n) {
		c.add("method-form", toProvider, at, form(o)+" → "+form(n))
		return
	}
	if o.Variadic != n.Variadic {
		c.add("variadic-changed", toProvider, at, variadic(o)+" → "+variadic(n))
	}
	switch {
	case !o.Repeatable && n.Repeatable:
		c.add("repeatable-added", toProvider, at, "repeatable now")
	case o.Repeatable && !n.Repeatable:
		c.add("repeatable-removed", toProvider, at, "no longer repeatable")
	}
	param := func(s string) site { return site{where: name + "(" + s + ")", method: o.Name} }
	result := func(s string) site { return site{where: name + " → " + s, method: o.Name} }
	c.signature(&o.Request, &n.Request, toProvider, at, param)
	c.signature(&o.Result, &n.Result, toCaller, at, result)
	if o.Variadic && n.Variadic {
		c.shifted(o, n, param)
	}
	if o.In != nil {
		c.signature(o.In, n.In, toProvider, at, func(string) site { return param("items") })
	}
	if o.Out != nil {
		c.signature(o.Out, n.Out, toCaller, at, func(string) site { return result("items") })
	}
}

// form says what kind of conversation a call is.
func form(m *Method) string {
	switch {
	case m.Topic:
		return "topic"
	case m.OneWay:
		return "one-way"
	case m.In != nil && m.Out != nil:
		return "stream both ways"
	case m.In != nil:
		return "stream to the cell"
	case m.Out != nil:
		return "stream to the caller"
	}
	return "answered"
}

func variadic(m *Method) string {
	if m.Variadic {
		return "...T"
	}
	return "[]T"
}

// signature compares parameters, results or the item of a stream.
func (c *comparer) signature(o, n *Message, dir direction, method site, at func(name string) site) {
	c.members(o, n, dir, members{
		added: "signature-added", removed: "signature-removed", renamed: "signature-renamed",
		oldAt: at, newAt: at,
	})
	c.order(o, n, dir, method)
}

// order compares the order of what is on both sides. Two whose order changed are exchanged in Go code that compiles when
// each takes the other's value.
func (c *comparer) order(o, n *Message, dir direction, method site) {
	position := map[uint32]int{}
	for i, f := range n.Fields {
		position[f.ID] = i
	}
	var kept []*Field
	for i := range o.Fields {
		if _, ok := position[o.Fields[i].ID]; ok {
			kept = append(kept, &o.Fields[i])
		}
	}
	// Most often nothing moved; then comparing neighbours is enough.
	moved := false
	for i := 1; i < len(kept); i++ {
		moved = moved || position[kept[i].ID] < position[kept[i-1].ID]
	}
	if !moved {
		return
	}
	gives, takes := make([]string, len(kept)), make([]string, len(kept))
	for i, f := range kept {
		gives[i] = likeness(c.oldTypes, f.Type)
		takes[i] = likeness(c.newTypes, n.Fields[position[f.ID]].Type)
	}
	id := "signature-moved"
	for i, a := range kept {
		for j := i + 1; j < len(kept); j++ {
			if position[a.ID] > position[kept[j].ID] && (gives[i] == takes[j] || gives[j] == takes[i]) {
				id = "signature-exchanged"
			}
		}
	}
	what := "order of parameters changed: "
	if dir == toCaller {
		what = "order of results changed: "
	}
	c.add(id, dir, method, what+fieldNames(o)+" → "+fieldNames(n))
}

func fieldNames(m *Message) string {
	s := "("
	for i, f := range m.Fields {
		if i > 0 {
			s += ", "
		}
		s += f.Name
	}
	return s + ")"
}

// likeness is the same for two types of which Go code may give the one where the other is wanted: a literal number does for
// every kind of number, and names of lists and maps do not matter.
func likeness(x index, r Ref) string {
	base, _ := x.resolve(r)
	switch k := base.Kind; {
	case k.Integer() || k == Float32 || k == Float64:
		return "number"
	case k == JSON:
		return kindNames[Bytes] // json.RawMessage is one
	}
	return base.String()
}

// shifted finds a parameter that was added before the list of ...T and takes its first value.
func (c *comparer) shifted(o, n *Method, param func(string) site) {
	last := &o.Request.Fields[len(o.Request.Fields)-1]
	old := map[uint32]bool{}
	for _, f := range o.Request.Fields {
		old[f.ID] = true
	}
	list, _ := c.oldTypes.resolve(last.Type)
	element := Ref{Kind: Uint8} // of ...byte
	if list.Kind == List {
		element = *list.Elem
	}
	for _, f := range n.Request.Fields[:len(n.Request.Fields)-1] {
		if !old[f.ID] && likeness(c.oldTypes, element) == likeness(c.newTypes, f.Type) {
			c.add("signature-shifted", toProvider, param(f.Name), "added before ..."+element.goString())
		}
	}
}
