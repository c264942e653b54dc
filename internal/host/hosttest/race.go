//go:build race

package hosttest

// Race tells whether the test was built with the race detector.
const Race = true
