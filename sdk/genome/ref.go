package genome

import (
	"fmt"
	"go/token"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind is the kind of a type.
type Kind uint8

// The kinds. Int and Uint are 64 bits wide on the wire, a duration is in nanoseconds, a time an instant without a zone.
const (
	Invalid Kind = iota
	Bool
	Int
	Int8
	Int16
	Int32
	Int64
	Uint
	Uint8
	Uint16
	Uint32
	Uint64
	Float32
	Float64
	String
	Bytes
	Duration
	Time
	JSON
	Optional
	List
	Array
	Map
	Named
)

var kindNames = [...]string{
	Bool: "bool", Int: "int", Int8: "int8", Int16: "int16", Int32: "int32", Int64: "int64",
	Uint: "uint", Uint8: "uint8", Uint16: "uint16", Uint32: "uint32", Uint64: "uint64",
	Float32: "float32", Float64: "float64", String: "string", Bytes: "bytes", Duration: "duration", Time: "time",
	JSON: "json",
}

// Scalar tells whether k is written as one value: everything but optional, list, array, map and names.
func (k Kind) Scalar() bool { return k >= Bool && k <= JSON }

// Signed, Unsigned and Integer tell whether k is a kind of number; a duration is one.
func (k Kind) Signed() bool { return k >= Int && k <= Int64 || k == Duration }

// Unsigned tells whether k is an unsigned integer.
func (k Kind) Unsigned() bool { return k >= Uint && k <= Uint64 }

// Integer tells whether k is an integer.
func (k Kind) Integer() bool { return k.Signed() || k.Unsigned() }

// Packed tells whether a list of k is written as one run of numbers.
func (k Kind) Packed() bool { return k.Integer() || k == Bool || k == Float32 || k == Float64 }

// bits is the width of an integer.
func (k Kind) bits() int {
	switch k {
	case Int8, Uint8:
		return 8
	case Int16, Uint16:
		return 16
	case Int32, Uint32:
		return 32
	}
	return 64
}

// Ref is the use of a type. Its text is Go's: "int64", "*Tick", "[]string", "[3]int", "map[string]Tick"; "bytes",
// "duration", "time" and "json" stand for []byte, time.Duration, time.Time and json.RawMessage.
type Ref struct {
	Kind Kind
	Name string // of Named
	Key  Kind   // of Map when KeyName is empty
	// KeyName is the named scalar that is a map's key.
	KeyName string
	Elem    *Ref // of Optional, List, Array and Map
	Len     int  // of Array
}

// maxRefDepth bounds how deep lists and maps may be nested in one use of a type, maxRef the length of its text.
const (
	maxRefDepth = 16
	maxRef      = 1024
	maxArray    = 1 << 16
)

// ByteArray tells whether r is [N]byte, which is written as bytes.
func (r Ref) ByteArray() bool { return r.Kind == Array && r.Elem != nil && r.Elem.Kind == Uint8 }

// String is the text of r.
func (r Ref) String() string {
	switch {
	case r.Kind == Named:
		return r.Name
	case r.Kind == Optional && r.Elem != nil:
		return "*" + r.Elem.String()
	case r.Kind == List && r.Elem != nil:
		return "[]" + r.Elem.String()
	case r.Kind == Array && r.Elem != nil:
		return fmt.Sprintf("[%d]%s", r.Len, r.Elem)
	case r.Kind == Map && r.Elem != nil:
		return "map[" + r.KeyRef().String() + "]" + r.Elem.String()
	case r.Kind.Scalar():
		return kindNames[r.Kind]
	}
	return "invalid"
}

// KeyRef is the type of a map's keys.
func (r Ref) KeyRef() Ref {
	if r.KeyName != "" {
		return Ref{Kind: Named, Name: r.KeyName}
	}
	return Ref{Kind: r.Key}
}

// MarshalText writes r as in genome.json.
func (r Ref) MarshalText() ([]byte, error) {
	s := r.String()
	if strings.Contains(s, "invalid") {
		return nil, fmt.Errorf("type %s has no known kind", s)
	}
	return []byte(s), nil
}

// UnmarshalText reads what MarshalText writes.
func (r *Ref) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRef(string(text))
	return err
}

// ParseRef reads the text of a type.
func ParseRef(s string) (Ref, error) {
	if len(s) > maxRef {
		return Ref{}, fmt.Errorf("the text of a type is longer than %d bytes", maxRef)
	}
	return parseRef(s, 0)
}

func parseRef(s string, depth int) (Ref, error) {
	if depth > maxRefDepth {
		return Ref{}, fmt.Errorf("a type is nested more than %d deep", maxRefDepth)
	}
	with := func(r Ref, rest string) (Ref, error) {
		e, err := parseRef(rest, depth+1)
		r.Elem = &e
		return r, err
	}
	switch {
	case strings.HasPrefix(s, "*"):
		return with(Ref{Kind: Optional}, s[1:])
	case strings.HasPrefix(s, "[]"):
		return with(Ref{Kind: List}, s[2:])
	case strings.HasPrefix(s, "["):
		digits, rest, ok := strings.Cut(s[1:], "]")
		n, err := strconv.Atoi(digits)
		if !ok || err != nil || strconv.Itoa(n) != digits {
			return Ref{}, fmt.Errorf("%q is not a type", s)
		}
		return with(Ref{Kind: Array, Len: n}, rest)
	case strings.HasPrefix(s, "map["):
		key, rest, ok := strings.Cut(s[len("map["):], "]")
		k, err := parseRef(key, maxRefDepth)
		if !ok || err != nil || k.Kind != Named && !k.Kind.Scalar() {
			return Ref{}, fmt.Errorf("%q is not a type", s)
		}
		if k.Kind == Named {
			return with(Ref{Kind: Map, KeyName: k.Name}, rest)
		}
		return with(Ref{Kind: Map, Key: k.Kind}, rest)
	case exported(s):
		return Ref{Kind: Named, Name: s}, nil
	}
	for k, name := range kindNames {
		if name == s && s != "" {
			return Ref{Kind: Kind(k)}, nil
		}
	}
	return Ref{}, fmt.Errorf("%q is not a type", s)
}

// exported tells whether s is an identifier that another package can use.
func exported(s string) bool {
	first, _ := utf8.DecodeRuneInString(s)
	return token.IsIdentifier(s) && unicode.IsUpper(first)
}
