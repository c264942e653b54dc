// Command mkfilter compiles the rules of what system calls a cell may make into one program per processor for seccomp(2).
package main

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// processors are named as in Go and as in package arch.
var processors = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

func main() {
	for file, name := range processors {
		program, err := compile(name)
		if err == nil {
			err = os.WriteFile(file+".bpf", program, 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "mkfilter:", err)
			os.Exit(1)
		}
	}
}

// Where struct seccomp_data has the number, the processor and the first argument (seccomp(2)); the lower half is first.
const atNumber, atProcessor, atArguments = 0, 4, 16

func errno(e unix.Errno) bpf.Instruction {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)}
}

var allow = bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}

// compile writes the filter as an array of struct sock_filter, little endian. Calls of another processor's kind do not exist, nor do calls
// that are newer than the table of numbers, so that programs do without; others that are not allowed end with EPERM.
func compile(processor string) ([]byte, error) {
	info, err := arch.GetInfo(processor)
	if err != nil {
		return nil, err
	}
	plain, err := numbers(info, strings.Fields(allowed))
	if err != nil {
		return nil, err
	}
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: atProcessor, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(info.ID), SkipTrue: 1},
		errno(unix.ENOSYS),
		bpf.LoadAbsolute{Off: atNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: uint32(slices.Max(slices.Collect(maps.Values(info.SyscallNames)))), SkipTrue: 1},
		errno(unix.ENOSYS), // with it x32
	}
	for _, c := range calls {
		n, ok := info.SyscallNames[c.name]
		if !ok {
			if !elsewhere(c.name) {
				return nil, fmt.Errorf("no processor has a call %s", c.name)
			}
			continue
		}
		if slices.Contains(plain, n) {
			return nil, fmt.Errorf("%s is allowed and has a rule", c.name)
		}
		body := c.instructions()
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(n), SkipFalse: uint8(len(body))})
		program = append(program, body...)
	}
	// In order of numbers: what is below the next range is not allowed.
	for _, r := range ranges(plain) {
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: uint32(r[1]), SkipTrue: 3},
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: uint32(r[0]), SkipFalse: 1},
			allow, errno(unix.EPERM))
	}
	program = append(program, errno(unix.EPERM))
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, i := range raw {
		out = binary.LittleEndian.AppendUint16(out, i.Op)
		out = append(out, i.Jt, i.Jf)
		out = binary.LittleEndian.AppendUint32(out, i.K)
	}
	return out, nil
}

// verdict ends a program; no error is allowed.
func verdict(e unix.Errno) bpf.Instruction {
	if e == 0 {
		return allow
	}
	return errno(e)
}

// instructions decide on a call whose number has been compared.
func (c call) instructions() (out []bpf.Instruction) {
	for _, k := range c.cases {
		part := []bpf.Instruction{verdict(k.errno)}
		for _, t := range slices.Backward(k.when) {
			part = append(t.instructions(len(part)), part...)
		}
		out = append(out, part...)
	}
	return append(out, verdict(c.otherwise))
}

// instructions go on behind themselves where the test holds, and skip so many more where it does not.
func (t test) instructions(skip int) []bpf.Instruction {
	out := []bpf.Instruction{bpf.LoadAbsolute{Off: atArguments + 8*uint32(t.arg), Size: 4}}
	if len(t.values) == 0 {
		return append(out, bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: t.mask, SkipFalse: uint8(skip)})
	}
	for i, v := range t.values {
		left := len(t.values) - 1 - i
		j := bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(left)}
		if left == 0 {
			j.SkipFalse = uint8(skip)
		}
		out = append(out, j)
	}
	return out
}

// numbers looks up the calls that a processor has.
func numbers(info *arch.Info, names []string) (out []int, err error) {
	for _, name := range names {
		n, ok := info.SyscallNames[name]
		switch {
		case ok:
			out = append(out, n)
		case !elsewhere(name):
			return nil, fmt.Errorf("no processor has a call %s", name)
		}
	}
	slices.Sort(out)
	if len(slices.Compact(slices.Clone(out))) != len(out) {
		return nil, fmt.Errorf("a call is named twice")
	}
	return out, nil
}

func elsewhere(name string) bool {
	for _, p := range processors {
		if info, err := arch.GetInfo(p); err == nil {
			if _, ok := info.SyscallNames[name]; ok {
				return true
			}
		}
	}
	return false
}

// ranges joins neighbours.
func ranges(sorted []int) (out [][2]int) {
	for _, n := range sorted {
		if len(out) > 0 && out[len(out)-1][1] == n-1 {
			out[len(out)-1][1] = n
			continue
		}
		out = append(out, [2]int{n, n})
	}
	return out
}
