// Package membrane seals a cell's program: it gives it a view of files, processes, network and users of its own, takes every right from
// it, and hands it to systemd as the unit's main process. docs/membrane.md says what a cell sees.
package membrane
