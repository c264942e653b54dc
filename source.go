// Package cell holds the source of the SDK for the command cell, which hands it to new cells: a cell builds where only
// Cell is installed and no module proxy knows it.
package cell

import "embed"

// SDK is the source of the packages that cells import and of what those import of this module; tests are in it, too.
//
//go:embed go.mod go.sum sdk/*.go sdk/broker/*.go sdk/hot/*.go sdk/internal sdk/otlp/*.go sdk/replicas/*.go sdk/stats/*.go sdk/stub/*.go sdk/trace/*.go sdk/wire/*.go
var SDK embed.FS

// Module is the path under which a cell imports the SDK.
const Module = "github.com/cell-network/cell"
