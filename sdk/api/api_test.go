package api

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// The client must be what the contract says today.
func TestGeneratedClientIsFresh(t *testing.T) {
	want, err := exec.Command("go", "run", "../../internal/bindgen", "network.cell.Manager1.xml").Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("manager_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("manager_gen.go is older than its contract: go generate ./sdk/api")
	}
}
