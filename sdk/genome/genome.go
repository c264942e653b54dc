// Package genome is the model of what a cell serves: its methods, the types that cross the wire, its error types and their
// documentation, as `cell build` writes them to genome.json. Every method and every field has a number that it keeps for
// ever. Without generated code the package encodes arguments typed in a shell and shows results. It knows nothing of Go
// source and nothing of connections.
package genome

// File is the name of the file beside a cell's source that holds its genome.
const File = "genome.json"

// Format is the version of the file's form.
const Format = 1

// Genome describes one cell. Methods and the fields of types are in the order of their ids, parameters and results in the
// order of their declaration, types and errors by name.
type Genome struct {
	Format  int      `json:"format"`
	Cell    string   `json:"cell"`
	Version string   `json:"version"`
	Serves  string   `json:"serves"` // name of the Go type behind it
	Next    uint32   `json:"next"`   // greater than every method id ever given
	Methods []Method `json:"methods"`
	Types   []Type   `json:"types,omitempty"`
	Errors  []Error  `json:"errors,omitempty"`
	Gone    []Gone   `json:"gone,omitempty"` // types that were removed, so that their ids stay used
}

// Method is one served method. Its request and its result are messages.
type Method struct {
	ID       uint32  `json:"id"`
	Name     string  `json:"name"`
	Doc      string  `json:"doc,omitempty"`
	Variadic bool    `json:"variadic,omitempty"` // in Go the last parameter, a list, is written ...T
	Request  Message `json:"request"`
	Result   Message `json:"result"`
}

// Message is a list of fields. Next is greater than every id ever given in it.
type Message struct {
	Next   uint32  `json:"next"`
	Fields []Field `json:"fields,omitempty"`
}

// Field is a parameter, a result or a field of a struct.
type Field struct {
	ID   uint32 `json:"id"`
	Name string `json:"name"`
	Type Ref    `json:"type"`
	Doc  string `json:"doc,omitempty"`
}

// Type is a named type: a struct, or a name for a scalar, list or map, which then is Base.
type Type struct {
	Name   string   `json:"name"`
	Doc    string   `json:"doc,omitempty"`
	Base   *Ref     `json:"base,omitempty"`
	Values []Value  `json:"values,omitempty"` // constants of the type; other values are allowed too
	Struct *Message `json:"struct,omitempty"`
}

// Value is a constant: a number as in Go, or a text.
type Value struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Doc   string `json:"doc,omitempty"`
}

// Error is an error type of the cell's package; Name is one of Types.
type Error struct {
	Name    string `json:"name"`
	Pointer bool   `json:"pointer,omitempty"` // in Go only *Name is an error
}

// Gone is a removed type: if it comes back, its ids go on from Next.
type Gone struct {
	Name string `json:"name"`
	Next uint32 `json:"next"`
}

// Type returns the named type, or nil.
func (g *Genome) Type(name string) *Type {
	for i := range g.Types {
		if g.Types[i].Name == name {
			return &g.Types[i]
		}
	}
	return nil
}

// Method returns the method with exactly that name, or nil.
func (g *Genome) Method(name string) *Method {
	for i := range g.Methods {
		if g.Methods[i].Name == name {
			return &g.Methods[i]
		}
	}
	return nil
}

// Resolve follows names of scalars, lists and maps: what remains is no name, or the name of a struct, which it returns
// too.
func (g *Genome) Resolve(r Ref) (Ref, *Message) {
	if r.Kind != Named {
		return r, nil
	}
	t := g.Type(r.Name)
	if t == nil {
		return r, nil
	}
	if t.Base != nil {
		return *t.Base, nil // Check allows no name as base
	}
	return r, t.Struct
}
