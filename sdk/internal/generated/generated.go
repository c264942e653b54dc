// Package generated has the types of which generated code makes values. Package stub gives them to that code, package sdk serves and
// calls with them.
package generated

import (
	"context"

	"github.com/cell-network/cell/sdk/wire"
)

// Genome is the running form of a cell's genome.
type Genome struct {
	Name    string
	Version string
	Hash    string // wire hash of the genome, lowercase hex
	JSON    []byte // the whole genome as in genome.json; answered to whoever asks for it
	Methods []Method

	// Accepts are wire hashes of older genomes whose callers this cell still serves.
	Accepts []string

	// Error encodes err when it is, or wraps, one of the error types of the cell's package: the type's name, its own text
	// without that of what wraps it, and its fields. ok is false for every other error. A nil Error knows none.
	Error func(err error) (name, text string, payload []byte, ok bool)
}

// Method is one served method.
type Method struct {
	ID   uint32 // of the genome: never 0, never used again
	Name string

	// Call decodes request, calls the cell's method and encodes its results. A request that does not decode is an
	// *InvalidRequest. Nothing may refer to request afterwards, also not the result, which is returned once.
	Call func(ctx context.Context, request []byte) (result []byte, err error)

	// Stream takes the place of Call where items are streamed in either direction.
	Stream func(ctx context.Context, request []byte, s *wire.Stream) (result []byte, err error)
}

// Remote is a cell as its callers' generated code knows it.
type Remote struct {
	Need    string // what cell.toml of the caller names it
	Version string // that the code was generated from
	Hash    string // wire hash of the genome that the code was generated from

	// Error makes one of the cell's own errors of what arrived. as, when not nil, recognises the error in another form, as
	// errors.As wants it. A name that is not known gives nothing.
	Error func(name, text string, payload []byte) (own error, as func(any) bool, err error)
}
