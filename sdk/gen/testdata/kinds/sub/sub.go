// Package sub belongs to the same module as the cell.
package sub

// Thing is carried from another package.
type Thing struct {
	Level Level
	When  []Level
}

// Level is a number.
type Level uint8

// Levels.
const (
	Low Level = iota
	High
)
