// Package units holds the files by which systemd, D-Bus and polkit know celld, cellnetd and cell-gpu. packaging/install.sh installs them; a user
// without an installed Cell gets those of the user's manager from the cell command. Words between @ signs are filled in.
//
// There is no cell@.service or cell@.socket here and there must never be one: a template on disk makes systemd refuse
// the transient units of that name.
package units

import _ "embed"

// UserService is the unit of celld in a user's manager.
//
//go:embed user/celld.service
var UserService string

// UserActivation makes the session bus start celld on the first call.
//
//go:embed user/network.cell.Manager1.service
var UserActivation string

// UserGPU is the unit of cell-gpu in a user's manager.
//
//go:embed user/cell-gpu.service
var UserGPU string

// UserGPUActivation makes the session bus start cell-gpu on the first call.
//
//go:embed user/network.cell.Gpu1.service
var UserGPUActivation string
