// Package sdk is what a cell's program imports: Main serves a cell on the socket that systemd hands over. It imports the
// standard library, godbus, protowire and x/sys, and nothing else.
package sdk

import (
	"context"

	"github.com/cell-network/cell/sdk/wire"
)

// Cell is what Main serves: a type whose CellBuild method `cell build` generates from its exported methods.
type Cell interface {
	CellBuild() *Genome
}

// Genome is the running form of a cell's genome, made by generated code.
type Genome struct {
	Name    string
	Version string
	Hash    string // wire hash of the genome, lowercase hex
	JSON    []byte // the whole genome as in genome.json; answered to who asks for it
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
