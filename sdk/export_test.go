package sdk

import (
	"github.com/cell-network/cell/sdk/internal/generated"
	"github.com/cell-network/cell/sdk/wire"
)

// Handler answers the calls of a cell without celld.
func Handler(g *generated.Genome, name string) (wire.Handler, error) {
	return handler(g, newGate(name, ""), nil)
}
