// Package cell holds the source of the SDK for the command cell, which hands it to new cells: a cell builds where only
// Cell is installed and no module proxy knows it.
package cell

import "embed"

// SDK is the source of package sdk and of what it imports of this module, and of package otlp; tests are in it, too.
//
//go:embed go.mod go.sum sdk/*.go sdk/wire/*.go sdk/broker/*.go sdk/stats/*.go sdk/otlp/*.go
var SDK embed.FS

// Module is the path under which a cell imports the SDK.
const Module = "github.com/cell-network/cell"
