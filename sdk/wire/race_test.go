//go:build race

package wire

// The race detector ends a process that has more than 8128 goroutines.
const manyStreams = 4000
