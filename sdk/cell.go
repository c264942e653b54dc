package sdk

import (
	"github.com/cell-network/cell/sdk/internal/generated"
	"github.com/cell-network/cell/sdk/replicas"
)

// Cell is what Main serves: a type whose CellBuild method `cell build` generates from its exported methods.
type Cell interface {
	CellBuild() *generated.Genome
}

// Need says that this program wants so many replicas of a cell: cell build refuses a tree that has fewer. It is written with a
// number, where variables are declared:
//
//	var _ = sdk.Need(worker.Cell, 10)
func Need(r generated.Remote, replicas int) struct{} { return struct{}{} }

// DialOption changes what the Dial of a generated client connects to.
type DialOption struct{ target string }

// To connects to the cell of that name instead of the one that the caller's cell.toml names. A program that is no cell names
// cells in full, as in "shop.users".
func To(name string) DialOption { return DialOption{name} }

// Target is the name of the cell that is connected to.
func (o DialOption) Target() string { return o.target }

// Close ends the connections of a generated client. Calls that still run get a *Down.
func Close(c interface{ CellClient() *replicas.Client }) error {
	c.CellClient().Close()
	return nil
}
