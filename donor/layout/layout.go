// Package layout names the files of an image that both its maker and the donor know.
package layout

// What an image brings beside its root.
const (
	share     = "/usr/share/cell/donor"
	Trees     = share + "/trees"          // trees of cells, a directory each
	UpdateKey = share + "/update.pem"     // of who signs images
	Version   = share + "/version"        // of this image, a number
	Debug     = share + "/debug"          // is there in an image with a shell
	Settings  = share + "/donor.toml"     // in force where no system partition was started from
	CellBOM   = share + "/cell.spdx.json" // what Cell's own package is made of
	Packages  = share + "/packages"       // of the distribution, a line each: name, version and architecture
)
