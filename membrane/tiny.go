package membrane

import (
	"encoding/binary"
	"runtime"
)

// What stays in a cell for as long as it runs is a program of some hundred bytes: a process of Go costs two megabytes. What it does
// follows from the first character of its arguments:
//
//	reaper DIR proc  the first process of a cell: mounts the cell's /proc on DIR, says on its standard output whether it could (0 or the
//	                 error's number), gives up its rights, and ends when no other process is left
//	pause            keeps a namespace until its standard input closes
//	N program …      waits for a byte on descriptor N and becomes the program; where it cannot, it says why on descriptor N+1
//	                 and ends when N closes
//
// The first process waits for a byte on its standard input, which says that process 2 is there: the program, or what of Cell's runs beside
// it and ends with it. Then it waits for that one's end. A signal that has no handler does not reach the first process of a namespace, so that SIGTERM, which systemd sends to each
// process of a unit, passes it by. It ignores SIGCHLD: the kernel then removes processes that are left to it (wait(2), NOTES).

// tinyCode is where its instructions are in this program.
func tinyCode() *[tinySize]byte

// tinySize is more than its instructions have; what follows them is never reached.
const tinySize = 1024

// tinyELF is the program as a file (elf(5)).
func tinyELF() []byte {
	const header, segment, base = 64, 56, 0x400000
	const start = header + 2*segment
	machine := uint16(62) // EM_X86_64
	if runtime.GOARCH == "arm64" {
		machine = 183 // EM_AARCH64
	}
	b := make([]byte, 0, start+tinySize)
	u16 := func(v uint16) { b = binary.LittleEndian.AppendUint16(b, v) }
	u32 := func(v uint32) { b = binary.LittleEndian.AppendUint32(b, v) }
	u64 := func(v uint64) { b = binary.LittleEndian.AppendUint64(b, v) }
	b = append(b, "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	u16(2) // ET_EXEC
	u16(machine)
	u32(1)
	u64(base + start) // entry
	u64(header)       // program headers
	u64(0)
	u32(0)
	for _, v := range []uint16{header, segment, 2, 0, 0, 0} {
		u16(v)
	}
	u32(1) // PT_LOAD
	u32(5) // readable, executable
	for _, v := range []uint64{0, base, base, start + tinySize, start + tinySize, 0x10000} {
		u64(v)
	}
	u32(0x6474e551) // PT_GNU_STACK
	u32(6)          // readable, writable
	for range 5 {
		u64(0)
	}
	u64(16)
	return append(b, tinyCode()[:]...)
}
