package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/cell-network/cell/sdk/gen"
	"github.com/cell-network/cell/sdk/manifest"
)

// replicasFit refuses a tree that has fewer replicas of a cell than the source of another says it needs.
func replicasFit(tree *manifest.Tree) error {
	var text strings.Builder
	var hints []string
	for _, n := range tree.Nodes {
		if !isGo(n.Manifest.Dir) {
			continue
		}
		wanted, err := gen.Needs(n.Manifest.Dir)
		if err != nil {
			return err
		}
		for _, w := range wanted {
			for _, need := range n.Manifest.Needs {
				if need.Git != "" || gen.ClientPath(n.Manifest.Dir, need.Name) != w.Client {
					continue
				}
				dir, err := filepath.EvalSymlinks(filepath.Join(n.Manifest.Dir, need.Path))
				if err != nil {
					return err
				}
				has := byDir(tree, dir)
				if has == nil || has.Replicas >= w.Replicas {
					continue // who runs elsewhere is not this tree's to count
				}
				fmt.Fprintf(&text, "%s:%d:%d: %s needs %d of %s, the tree has %d\n", relative(w.Pos.Filename), w.Pos.Line, w.Pos.Column,
					n.Name, w.Replicas, has.Name, has.Replicas)
				if has.Parent != nil {
					child := has.Name[strings.LastIndexByte(has.Name, '.')+1:]
					hints = append(hints, fmt.Sprintf("write [cells] %s = { …, replicas = %d } in %s", child, w.Replicas,
						relative(filepath.Join(has.Parent.Manifest.Dir, manifest.File))))
				}
			}
		}
	}
	if text.Len() == 0 {
		return nil
	}
	return &codeError{exitError, strings.TrimRight(text.String(), "\n"), hints}
}

func byDir(tree *manifest.Tree, dir string) *manifest.Node {
	for _, n := range tree.Nodes {
		if n.Manifest.Dir == dir {
			return n
		}
	}
	return nil
}

// machineFits says which of a tree's minimal needs this machine does not have; nothing when it has all.
func machineFits(tree *manifest.Tree) []string {
	var cpu float64
	var memory int64
	most := map[string]string{}
	var mostCPU float64
	var mostMemory int64
	for _, n := range tree.Nodes {
		r := n.Manifest.Resources
		c, m := r.CPUMin*float64(n.Replicas), r.MemoryMin*int64(n.Replicas)
		cpu, memory = cpu+c, memory+m
		if c > mostCPU {
			mostCPU, most["cpu"] = c, fmt.Sprintf("%s ×%d needs %v", n.Name, n.Replicas, c)
		}
		if m > mostMemory {
			mostMemory, most["memory"] = m, fmt.Sprintf("%s ×%d needs %s", n.Name, n.Replicas, manifest.FormatBytes(m))
		}
	}
	var lines []string
	if has := float64(runtime.NumCPU()); cpu > has {
		lines = append(lines, fmt.Sprintf("cpu: the tree needs at least %v cores, this machine has %v (%s)", cpu, has, most["cpu"]))
	}
	if has := totalMemory(); has > 0 && memory > has {
		lines = append(lines, fmt.Sprintf("memory: the tree needs at least %s, this machine has %s (%s)", manifest.FormatBytes(memory), manifest.FormatBytes(has), most["memory"]))
	}
	return lines
}

// totalMemory is the machine's memory in bytes, 0 when it is not told.
func totalMemory() int64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}
