// Package pci finds out whether a vendor's device is in the machine, without its driver.
package pci

import (
	"os"
	"path/filepath"
	"strings"
)

// NVIDIA tells whether something of theirs that computes is there: a driver's device file, or a display controller (class 03) or an
// accelerator (12) with their number, 10de (pci.ids).
func NVIDIA() bool {
	if _, err := os.Stat("/dev/nvidiactl"); err == nil {
		return true
	}
	return there("/sys/bus/pci/devices", "0x10de", "0x03", "0x12")
}

func there(dir, vendor string, classes ...string) bool {
	devices, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, d := range devices {
		v, _ := os.ReadFile(filepath.Join(d, "vendor"))
		class, _ := os.ReadFile(filepath.Join(d, "class"))
		if strings.TrimSpace(string(v)) != vendor {
			continue
		}
		for _, c := range classes {
			if strings.HasPrefix(string(class), c) {
				return true
			}
		}
	}
	return false
}
