// Package nvml is the driver for NVIDIA's devices. It alone imports their library, which needs cgo: built without, it says so and has no
// devices. The library is loaded when something is asked, and a machine without it is no error.
//
// A call of a function that the installed library lacks would end the process with "symbol lookup error" (measured: exit status 127, and
// no panic to recover from), so every call is looked up first.
package nvml
