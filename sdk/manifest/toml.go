package manifest

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxFile bounds a cell.toml, in bytes; go-toml itself bounds how deep values nest.
const maxFile = 256 << 10

// value is a TOML value with its place.
type value struct {
	kind unstable.Kind // String, Bool, Integer, Float, Array, Table or a date
	text string        // of scalars; of strings without quotes
	list []value
	tab  *table
	pos  Pos
}

type table struct {
	keys []string // in the order of the file
	get  map[string]*entry
}

type entry struct {
	pos Pos // of the key
	val value
}

func newTable() *table { return &table{get: map[string]*entry{}} }

func (v value) describe() string {
	switch v.kind {
	case unstable.String:
		return "a string"
	case unstable.Bool:
		return "true or false"
	case unstable.Integer:
		return "a whole number"
	case unstable.Float:
		return "a number"
	case unstable.Array:
		return "a list"
	case unstable.Table:
		return "a table"
	}
	return "a date"
}

// readTOML parses data; go-toml checks the syntax, and its syntax tree gives the places that its decoder leaves out.
func readTOML(file string, data []byte) (*table, *Error) {
	fail := func(at Pos, format string, args ...any) *Error {
		return &Error{File: file, Pos: at, Msg: fmt.Sprintf(format, args...)}
	}
	if len(data) > maxFile {
		return nil, fail(Pos{1, 1}, "it has %s, more than the allowed %s", FormatBytes(int64(len(data))), FormatBytes(maxFile))
	}
	if !utf8.Valid(data) {
		return nil, fail(Pos{1, 1}, "it is not UTF-8 text")
	}
	var all map[string]any
	if err := toml.Unmarshal(data, &all); err != nil {
		var de *toml.DecodeError
		if errors.As(err, &de) {
			line, col := de.Position()
			return nil, fail(Pos{line, col}, "%s", strings.TrimPrefix(de.Error(), "toml: "))
		}
		return nil, fail(Pos{1, 1}, "%s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	r := &reader{}
	r.p.Reset(data)
	root := newTable()
	current := root
	for r.p.NextExpression() {
		switch e := r.p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			current = root
			it := e.Key()
			for it.Next() {
				current = r.child(current, it.Node())
			}
		case unstable.KeyValue:
			r.keyValue(current, e)
		}
	}
	if err := r.p.Error(); err != nil {
		return nil, fail(Pos{1, 1}, "%v", err)
	}
	return root, nil
}

type reader struct{ p unstable.Parser }

func (r *reader) pos(n *unstable.Node) Pos {
	if n.Raw.Length == 0 {
		return Pos{1, 1}
	}
	s := r.p.Shape(n.Raw).Start
	return Pos{s.Line, s.Column}
}

func (r *reader) child(t *table, key *unstable.Node) *table {
	name := string(key.Data)
	e := t.get[name]
	if e == nil {
		e = &entry{pos: r.pos(key), val: value{kind: unstable.Table, tab: newTable(), pos: r.pos(key)}}
		t.get[name] = e
		t.keys = append(t.keys, name)
	}
	if e.val.tab == nil { // the value is no table: a mistake that is reported for the key itself
		return newTable()
	}
	return e.val.tab
}

func (r *reader) keyValue(t *table, n *unstable.Node) {
	var keys []*unstable.Node
	for it := n.Key(); it.Next(); {
		keys = append(keys, it.Node())
	}
	for _, k := range keys[:len(keys)-1] {
		t = r.child(t, k)
	}
	last := keys[len(keys)-1]
	name := string(last.Data)
	if t.get[name] == nil {
		t.keys = append(t.keys, name)
	}
	t.get[name] = &entry{r.pos(last), r.value(n.Value(), r.pos(last))}
}

func (r *reader) value(n *unstable.Node, at Pos) value {
	v := value{kind: n.Kind, pos: at}
	if n.Raw.Length > 0 {
		v.pos = r.pos(n)
	}
	switch n.Kind {
	case unstable.Array:
		for it := n.Children(); it.Next(); {
			v.list = append(v.list, r.value(it.Node(), v.pos))
		}
	case unstable.InlineTable:
		v.kind, v.tab = unstable.Table, newTable()
		for it := n.Children(); it.Next(); {
			r.keyValue(v.tab, it.Node())
		}
	default:
		v.text = string(n.Data)
	}
	return v
}
