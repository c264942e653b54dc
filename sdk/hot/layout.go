package hot

import (
	"fmt"
	"hash/fnv"
	"reflect"
	"strings"
)

// layout is how a type lies in memory.
type layout struct {
	text string // for people, and what is compared
	hash uint64
	size int // bytes
}

// maxSize bounds a value: it is copied as a whole.
const maxSize = 16 << 20

func layoutOf(t reflect.Type) (layout, error) {
	var b strings.Builder
	if err := describe(&b, t, t.String()); err != nil {
		return layout{}, err
	}
	if t.Size() > maxSize {
		return layout{}, fmt.Errorf("%s has %d bytes, at most %d can be kept", t, t.Size(), maxSize)
	}
	h := fnv.New64a()
	h.Write([]byte(b.String()))
	return layout{text: b.String(), hash: h.Sum64(), size: int(t.Size())}, nil
}

// describe writes fields with their places, so that also a compiler that places them otherwise is noticed. Names of types
// do not count, names of fields do: they carry the meaning.
func describe(b *strings.Builder, t reflect.Type, path string) error {
	if p := t.PkgPath(); p == "sync" || p == "sync/atomic" {
		return fmt.Errorf("%s: a %s means nothing to the next process", path, t)
	}
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		b.WriteString(t.Kind().String())
	case reflect.Array:
		fmt.Fprintf(b, "[%d]", t.Len())
		return describe(b, t.Elem(), path+"[]")
	case reflect.Struct:
		b.WriteString("struct{")
		for i := range t.NumField() {
			f := t.Field(i)
			if i > 0 {
				b.WriteString("; ")
			}
			fmt.Fprintf(b, "%d: %s ", f.Offset, f.Name)
			if err := describe(b, f.Type, path+"."+f.Name); err != nil {
				return err
			}
		}
		b.WriteString("}")
	default:
		return fmt.Errorf("%s: a %s points to memory that the next process has not", path, t)
	}
	return nil
}
