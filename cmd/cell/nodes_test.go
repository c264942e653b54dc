package main

import (
	"fmt"
	"testing"

	"github.com/cell-network/cell/sdk/api"
)

func TestSumUp(t *testing.T) {
	node := func(role, path string, cores int) api.Node {
		return api.Node{Role: role, Path: path, Capacity: api.Capacity{Cores: cores, Memory: uint64(cores) << 30}}
	}
	got := ""
	for _, s := range sumUp([]api.Node{node("member", "self", 2), node("member", "none", 8), node("guest", "relay", 4)}) {
		got += fmt.Sprintf("%s %d/%d %d %d; ", s.Class, s.Reached, s.Nodes, s.Cores, s.Memory>>30)
	}
	if want := "member 1/2 2 2; guest 1/1 4 4; all 2/3 6 6; "; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
