package api

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// The clients must be what the contracts say today.
func TestGeneratedClientIsFresh(t *testing.T) {
	for contract, file := range map[string]string{"network.cell.Manager1.xml": "manager_gen.go", "network.cell.Net1.xml": "net_gen.go", "network.cell.Gpu1.xml": "gpu_gen.go"} {
		want, err := exec.Command("go", "run", "../../internal/bindgen", contract).Output()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is older than its contract: go generate ./sdk/api", file)
		}
	}
}
