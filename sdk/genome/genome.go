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
	Doc     string   `json:"doc,omitempty"`
	Next    uint32   `json:"next"` // greater than every method id ever given
	Methods []Method `json:"methods"`
	Types   []Type   `json:"types,omitempty"`
	Errors  []Error  `json:"errors,omitempty"`
	Gone    []Gone   `json:"gone,omitempty"` // types that were removed, so that their ids stay used

	// Accepts are wire hashes of older genomes whose callers this one still serves, oldest first.
	Accepts []string `json:"accepts,omitempty"`
}

// Method is one served method. Its request and its result are messages, and so is each item of a stream: a message with
// the one field "item".
type Method struct {
	ID       uint32 `json:"id"`
	Name     string `json:"name"`
	Doc      string `json:"doc,omitempty"`
	Variadic bool   `json:"variadic,omitempty"` // in Go the last parameter, a list, is written ...T
	OneWay   bool   `json:"oneway,omitempty"`   // an event: nothing is answered
	Topic    bool   `json:"topic,omitempty"`    // a topic: Out is what is published to who subscribes

	// Repeatable says that running it twice is as good as once, so that a call which may have run is made again.
	Repeatable bool `json:"repeatable,omitempty"`

	Request Message  `json:"request"`
	Result  Message  `json:"result"`
	In      *Message `json:"in,omitempty"`  // items that the caller streams
	Out     *Message `json:"out,omitempty"` // items that are streamed to the caller
}

// Item is the message of a stream's items of type r.
func Item(r Ref) *Message { return &Message{Next: 2, Fields: []Field{{ID: 1, Name: "item", Type: r}}} }

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

	Embedded bool `json:"embedded,omitempty"` // in Go the field has no name of its own but its type's
}

// Type is a named type: a struct, a sum, or a name for a scalar, list, array or map, which then is Base. A value of a sum is
// one of its variants, or nothing; each variant is a field of the name and of the type of a struct, or an optional one where
// in Go it is a pointer.
type Type struct {
	Name   string   `json:"name"`
	Doc    string   `json:"doc,omitempty"`
	Of     string   `json:"of,omitempty"` // the instance of a generic type that it is, as in "Page[User]"
	Base   *Ref     `json:"base,omitempty"`
	Values []Value  `json:"values,omitempty"` // constants of the type; other values are allowed too
	Struct *Message `json:"struct,omitempty"`
	Sum    *Message `json:"sum,omitempty"`
}

// Message is the struct's or the sum's fields, nil for other types.
func (t *Type) Message() *Message {
	if t.Sum != nil {
		return t.Sum
	}
	return t.Struct
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

// Resolve follows names of scalars, lists, arrays and maps: what remains is no name, or the name of a struct or sum, whose
// fields it returns too.
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
	return r, t.Message()
}
