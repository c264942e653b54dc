package genome

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"go/token"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits on a genome of unknown origin. Field ids end below the numbers that protobuf reserves for itself.
const (
	maxMethods  = 4096
	maxTypes    = 4096
	maxFields   = 1024
	maxFieldID  = 18_999
	maxMethodID = 1 << 29
	maxName     = 255
	maxDoc      = 64 << 10
)

// MaxAccepts is how many older genomes a genome may name whose callers it serves.
const MaxAccepts = 32

// Check tells what is wrong with g: its names, ids, references, or types that contain themselves.
func (g *Genome) Check() error {
	if g.Format != Format {
		return fmt.Errorf("format %d is not known, only %d", g.Format, Format)
	}
	if len(g.Methods) > maxMethods || len(g.Types)+len(g.Gone) > maxTypes || len(g.Errors) > maxTypes {
		return fmt.Errorf("more than %d methods or %d types", maxMethods, maxTypes)
	}
	for _, s := range []string{g.Cell, g.Version, g.Serves} {
		if len(s) > maxName || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
			return fmt.Errorf("the cell's name, version or type is longer than %d bytes or no text of one line", maxName)
		}
	}
	if err := checkDoc("the cell", g.Doc); err != nil {
		return err
	}
	if len(g.Accepts) > MaxAccepts {
		return fmt.Errorf("more than %d older genomes are accepted", MaxAccepts)
	}
	for _, h := range g.Accepts {
		if raw, err := hex.DecodeString(h); err != nil || len(raw) != sha256.Size {
			return fmt.Errorf("accepts %.80q, which is no wire hash", h)
		}
	}
	c := checker{g: g, types: map[string]*Type{}}
	for i := range g.Types {
		t := &g.Types[i]
		if err := c.name("type", t.Name, t.Doc); err != nil {
			return err
		}
		if c.types[t.Name] != nil {
			return fmt.Errorf("type %s is there twice", t.Name)
		}
		forms := 0
		for _, is := range []bool{t.Base != nil, t.Struct != nil, t.Sum != nil} {
			if is {
				forms++
			}
		}
		if forms != 1 {
			return fmt.Errorf("type %s must have either a base, a struct or a sum", t.Name)
		}
		if len(t.Of) > maxName || !utf8.ValidString(t.Of) {
			return fmt.Errorf("type %s: what it is an instance of is longer than %d bytes or no text", t.Name, maxName)
		}
		c.types[t.Name] = t
	}
	for i := range g.Types {
		if err := c.typ(&g.Types[i]); err != nil {
			return err
		}
	}
	if err := c.methods(); err != nil {
		return err
	}
	if err := c.errorsAndGone(); err != nil {
		return err
	}
	return c.cycles()
}

type checker struct {
	g     *Genome
	types map[string]*Type
}

func (c *checker) name(what, name, doc string) error {
	if len(name) > maxName || !exported(name) {
		return fmt.Errorf("%s %.80q is not a name that starts with a capital letter", what, name)
	}
	return checkDoc(what+" "+name, doc)
}

func checkDoc(what, doc string) error {
	if len(doc) > maxDoc || !utf8.ValidString(doc) {
		return fmt.Errorf("%s: the comment is longer than %d bytes or no text", what, maxDoc)
	}
	return nil
}

func (c *checker) methods() error {
	names, ids := map[string]bool{}, map[uint32]bool{}
	for i := range c.g.Methods {
		m := &c.g.Methods[i]
		if err := c.name("method", m.Name, m.Doc); err != nil {
			return err
		}
		switch {
		case names[m.Name]:
			return fmt.Errorf("method %s is there twice", m.Name)
		case ids[m.ID]:
			return fmt.Errorf("method %s: id %d is there twice: give one of the two methods the id %d and count next up",
				m.Name, m.ID, c.g.Next)
		case m.ID == 0 || m.ID >= c.g.Next || m.ID > maxMethodID:
			return fmt.Errorf("method %s: id %d is not between 1 and next, %d", m.Name, m.ID, c.g.Next)
		}
		names[m.Name], ids[m.ID] = true, true
		if err := c.message(m.Name+": request", &m.Request, false); err != nil {
			return err
		}
		if err := c.message(m.Name+": result", &m.Result, false); err != nil {
			return err
		}
		if err := c.streams(m); err != nil {
			return err
		}
		n := len(m.Request.Fields)
		if m.Variadic && (n == 0 || m.Request.Fields[n-1].Type.Kind != List && m.Request.Fields[n-1].Type.Kind != Bytes) {
			return fmt.Errorf("%s: variadic, but the last parameter is no list", m.Name)
		}
	}
	return nil
}

// streams checks the items of a method's streams, and what an event, a topic and a repeatable method cannot have.
func (c *checker) streams(m *Method) error {
	for _, s := range []*Message{m.In, m.Out} {
		if s == nil {
			continue
		}
		if len(s.Fields) != 1 || s.Fields[0].Name != "item" || s.Fields[0].ID != 1 || s.Fields[0].Embedded {
			return fmt.Errorf("%s: the items of a stream have one field, item, with the id 1", m.Name)
		}
		if err := c.message(m.Name+": stream", s, false); err != nil {
			return err
		}
	}
	switch {
	case m.OneWay && (len(m.Result.Fields) > 0 || m.In != nil || m.Out != nil):
		return fmt.Errorf("%s: an event has neither results nor streams", m.Name)
	case m.Topic && (len(m.Request.Fields) > 0 || len(m.Result.Fields) > 0 || m.In != nil || m.Out == nil || m.OneWay):
		return fmt.Errorf("%s: a topic has items for its subscribers and nothing else", m.Name)
	case m.Repeatable && (m.OneWay || m.In != nil || m.Out != nil):
		return fmt.Errorf("%s: only a method that answers once can be repeatable", m.Name)
	case m.Out != nil && len(m.Result.Fields) > 0:
		return fmt.Errorf("%s: a stream to the caller has no results besides", m.Name)
	}
	return nil
}

func (c *checker) message(what string, m *Message, exportedNames bool) error {
	if len(m.Fields) > maxFields {
		return fmt.Errorf("%s: more than %d fields", what, maxFields)
	}
	names, ids := map[string]bool{}, map[uint32]bool{}
	for _, f := range m.Fields {
		if len(f.Name) > maxName || !token.IsIdentifier(f.Name) || exportedNames && !exported(f.Name) {
			return fmt.Errorf("%s: %.80q is not a name", what, f.Name)
		}
		at := what + ": " + f.Name
		switch {
		case names[f.Name]:
			return fmt.Errorf("%s is there twice", at)
		case ids[f.ID]:
			return fmt.Errorf("%s: id %d is there twice: give one of the two fields the id %d and count next up", at, f.ID, m.Next)
		case f.ID == 0 || f.ID >= m.Next || f.ID > maxFieldID:
			return fmt.Errorf("%s: id %d is not between 1 and next, %d", at, f.ID, m.Next)
		}
		names[f.Name], ids[f.ID] = true, true
		if err := checkDoc(at, f.Doc); err != nil {
			return err
		}
		if err := c.ref(f.Type, 0); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		if f.Embedded && f.Type.String() != f.Name && f.Type.String() != "*"+f.Name {
			return fmt.Errorf("%s: an embedded field has the name of its type", at)
		}
	}
	return nil
}

func (c *checker) typ(t *Type) error {
	if t.Base == nil {
		if len(t.Values) > 0 {
			return fmt.Errorf("type %s: only a named scalar has constants", t.Name)
		}
		if t.Sum != nil {
			if err := c.variants(t); err != nil {
				return err
			}
		}
		return c.message(t.Name, t.Message(), true)
	}
	if k := t.Base.Kind; k == Named || k == Optional || k == Time || k == Duration || k == JSON {
		return fmt.Errorf("type %s: %s cannot be a base", t.Name, t.Base)
	}
	if len(t.Values) > maxFields {
		return fmt.Errorf("type %s: more than %d constants", t.Name, maxFields)
	}
	seen := map[string]bool{}
	for _, v := range t.Values {
		if seen[v.Name] {
			return fmt.Errorf("type %s: the constant %s is there twice", t.Name, v.Name)
		}
		seen[v.Name] = true
		if len(v.Name) > maxName || !exported(v.Name) || len(v.Value) > maxDoc || !isConstant(t.Base.Kind, v.Value) {
			return fmt.Errorf("type %s: the constant %.80q is not allowed", t.Name, v.Name)
		}
		if err := checkDoc(t.Name+": "+v.Name, v.Doc); err != nil {
			return err
		}
	}
	if err := c.ref(*t.Base, 0); err != nil {
		return fmt.Errorf("type %s: %w", t.Name, err)
	}
	return nil
}

// isConstant tells whether text is a constant of a kind, as it is written in Go.
func isConstant(k Kind, text string) bool {
	var err error
	switch {
	case k == Bool:
		return text == "true" || text == "false"
	case k.Signed():
		_, err = strconv.ParseInt(text, 10, k.bits())
	case k.Unsigned():
		_, err = strconv.ParseUint(text, 10, k.bits())
	case k == Float32 || k == Float64:
		var f float64
		f, err = strconv.ParseFloat(text, 64)
		return err == nil && f-f == 0 && !strings.ContainsAny(text, "_xXpP")
	default:
		return k == String && utf8.ValidString(text)
	}
	return err == nil
}

func (c *checker) variants(t *Type) error {
	for _, f := range t.Sum.Fields {
		r := f.Type
		if r.Kind == Optional && r.Elem != nil {
			r = *r.Elem
		}
		if v := c.types[r.Name]; r.Kind != Named || r.Name != f.Name || v == nil || v.Struct == nil || f.Embedded {
			return fmt.Errorf("sum %s: the variant %s is not a struct of that name", t.Name, f.Name)
		}
	}
	return nil
}

func (c *checker) ref(r Ref, depth int) error {
	if depth > maxRefDepth {
		return fmt.Errorf("a type is nested more than %d deep", maxRefDepth)
	}
	switch r.Kind {
	case Named:
		if c.types[r.Name] == nil {
			return fmt.Errorf("the type %.80q is not in the genome", r.Name)
		}
		return nil
	case Map:
		key := r.KeyRef()
		if r.KeyName != "" {
			if t := c.types[r.KeyName]; t == nil || t.Base == nil {
				return fmt.Errorf("%.80q cannot be the key of a map", r.KeyName)
			}
			key, _ = c.g.Resolve(key)
		}
		if key.Kind != String && key.Kind != Bool && !key.Kind.Integer() {
			return fmt.Errorf("%s cannot be the key of a map", key)
		}
	case Optional:
		if r.Elem != nil && r.Elem.Kind == Optional {
			return fmt.Errorf("%s: an optional of an optional is not allowed", r)
		}
	case List:
	case Array:
		n := 1
		for in := &r; in != nil && in.Kind == Array; in = in.Elem {
			if in.Len < 0 || in.Len > maxArray || n*in.Len > maxArray {
				return fmt.Errorf("%s: an array has 0 to %d elements in all", r, maxArray)
			}
			n *= in.Len
		}
	default:
		if !r.Kind.Scalar() {
			return fmt.Errorf("kind %d is not known", r.Kind)
		}
		return nil
	}
	if r.Elem == nil {
		return fmt.Errorf("kind %d without an element", r.Kind)
	}
	return c.ref(*r.Elem, depth+1)
}

func (c *checker) errorsAndGone() error {
	seen := map[string]bool{}
	for _, e := range c.g.Errors {
		if t := c.types[e.Name]; t == nil || t.Struct == nil || seen[e.Name] {
			return fmt.Errorf("error %.80q is not a struct of the genome, or there twice", e.Name)
		}
		seen[e.Name] = true
	}
	seen = map[string]bool{}
	for _, x := range c.g.Gone {
		if !exported(x.Name) || len(x.Name) > maxName || seen[x.Name] || x.Next > maxFieldID+1 {
			return fmt.Errorf("the removed type %.80q is not allowed, or there twice", x.Name)
		}
		seen[x.Name] = true
	}
	return nil
}

// cycles refuses a struct that contains itself other than through an optional, a list or a map: it would never end.
func (c *checker) cycles() error {
	state := map[*Type]int{} // 1: on the path, 2: done
	var visit func(t *Type) error
	visit = func(t *Type) error {
		if state[t] == 1 {
			return fmt.Errorf("type %s contains itself: make one of the fields optional", t.Name)
		}
		if state[t] == 2 || t.Struct == nil {
			return nil
		}
		state[t] = 1
		for _, f := range t.Struct.Fields {
			r := f.Type
			for r.Kind == Array {
				r = *r.Elem
			}
			if base, _ := c.g.Resolve(r); base.Kind == Array {
				for r = base; r.Kind == Array; {
					r = *r.Elem
				}
			}
			if r.Kind == Named {
				if err := visit(c.types[r.Name]); err != nil {
					return err
				}
			}
		}
		state[t] = 2
		return nil
	}
	for i := range c.g.Types {
		if err := visit(&c.g.Types[i]); err != nil {
			return err
		}
	}
	return nil
}
