// Package hot is for state that outlives the process: values, connections and descriptors that systemd holds while a cell is
// upgraded or has crashed.
//
//	orders, err := hot.Open[state]("orders") // what the process before left, or zeros
//	orders.Update(func(s *state) { s.Count++ })
//
// It belongs to one instance of the cell and ends when the cell is stopped, goes to sleep, or gets another definition (its
// environment, membrane or arguments). Keep what must survive in data/.
package hot

import (
	"fmt"
	"reflect"
	"sync"

	"github.com/cell-network/cell/sdk/internal/handover"
)

// Value is a value that outlives the process. It may be used by several goroutines.
type Value[T any] struct {
	held, found bool

	mu     sync.RWMutex
	region *region
}

// Mismatch is returned when what an earlier process kept is of another shape than what is opened.
type Mismatch struct {
	Name string
	Was  string // the shape that is kept
	Want string // the shape that was asked for
}

func (e *Mismatch) Error() string {
	return fmt.Sprintf("open hot %s: kept is %s, not %s; say with hot.From how one becomes the other", e.Name, e.Was, e.Want)
}

// Full is returned when systemd's store has no room for another descriptor.
type Full struct {
	Name string // of what was to be kept
	Max  int    // descriptors that a cell may keep
}

func (e *Full) Error() string {
	return fmt.Sprintf("keep %s: %d descriptors are kept already, which is all that a cell may", e.Name, e.Max)
}

// reserve takes room in systemd's store.
func reserve(p *handover.Process, kind, name string) (entry string, err error) {
	if entry, err = p.Reserve(kind, name); err != nil {
		return "", &Full{Name: name, Max: p.Max()}
	}
	return entry, nil
}

// Conversion says how a value of an older shape becomes a T: see From.
type Conversion[T any] struct {
	layout  layout
	convert func(*region) T
	err     error // of the older type
}

// From makes a value that an older version of the cell kept one of this version:
//
//	v, err := hot.Open("counter", hot.From(func(old counterV1) counter { return counter{Total: uint64(old.Total)} }))
//
// The old value stays in place until the cell is ready: a version that fails before leaves it as it was.
func From[Old, T any](convert func(Old) T) Conversion[T] {
	l, err := layoutOf(reflect.TypeFor[Old]())
	return Conversion[T]{layout: l, err: err, convert: func(r *region) T { return convert(*valueOf[Old](r.current())) }}
}

// Open returns the value of that name that an earlier process of the cell kept, or a zero value that is kept from now on. It
// must be called before sdk.Main, or before sdk.TellReady; what was kept and is not opened by then is let go.
//
// T is made of booleans, numbers, arrays and structs: a pointer, string, slice or map in it is an error, and so is a lock. A
// value that was kept with other fields, types or order is a *Mismatch, unless one of from converts it. A full store is a
// *Full: a cell may keep 64 descriptors, of which a value takes one. T has 16 MiB at most; twice its size and a page count
// against the cell's memory limit.
//
// When systemd does not run the process, the value is ordinary memory: see Held.
func Open[T any](name string, from ...Conversion[T]) (*Value[T], error) {
	return open(handover.This(), name, from)
}

func open[T any](h *handover.Process, name string, from []Conversion[T]) (*Value[T], error) {
	want, err := layoutOf(reflect.TypeFor[T]())
	for _, f := range from {
		if err == nil {
			err = f.err
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open hot %s: %w", name, err)
	}
	files, err := h.Open(handover.Memory, name)
	if err != nil {
		return nil, err
	}
	v := &Value[T]{held: h.Holds()}
	newest := h.Newest(files)
	if newest == nil {
		if v.region, err = keepRegion(h, name, want); err != nil {
			return nil, err
		}
		return v, nil
	}
	kept, err := openRegion(newest.File)
	newest.File.Close() // the mapping stays
	if err != nil {
		return nil, fmt.Errorf("open hot %s: %w", name, err)
	}
	v.found = true
	if kept.is(want) {
		v.region = kept
		return v, nil
	}
	for _, f := range from {
		if kept.is(f.layout) {
			v.region, err = replaceRegion(h, name, want, newest.Entry, func(slot []byte) { *valueOf[T](slot) = f.convert(kept) })
			kept.unmap()
			if err != nil {
				return nil, err
			}
			return v, nil
		}
	}
	e := &Mismatch{Name: name, Was: kept.text(), Want: want.text}
	kept.unmap()
	return nil, e
}

// Held tells whether systemd holds the memory. It does for cells that celld runs and that say when they are ready; otherwise
// the value ends with the process.
func (v *Value[T]) Held() bool { return v.held }

// Found tells whether the value is one that an earlier process kept.
func (v *Value[T]) Found() bool { return v.found }

// Get returns the value as the last Update left it.
func (v *Value[T]) Get() T {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return *valueOf[T](v.region.current())
}

// Update has change alter the value, and returns it. It holds as a whole or not at all: a process that is killed meanwhile, or
// a change that panics, leaves the value as it was. change must not use v. The value is copied as a whole: a large T costs
// its copies.
func (v *Value[T]) Update(change func(*T)) T {
	v.mu.Lock()
	defer v.mu.Unlock()
	next := v.region.next()
	copy(next, v.region.current())
	change(valueOf[T](next))
	v.region.commit()
	return *valueOf[T](next)
}
