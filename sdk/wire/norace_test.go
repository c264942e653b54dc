//go:build !race

package wire

const manyStreams = 100_000
