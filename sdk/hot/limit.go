package hot

import (
	"os"
	"path"
	"strconv"
	"strings"
)

// memoryLimit is what the control group of this process, or one above it, may use at most, in bytes; 0 when nothing says so. root is
// the control groups' file system, groups the kernel's list of those that the process is in.
func memoryLimit(root, groups string) uint64 {
	list, err := os.ReadFile(groups)
	if err != nil {
		return 0
	}
	var least uint64
	for line := range strings.Lines(string(list)) {
		group, unified := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !unified {
			continue
		}
		for ; group != "/" && group != "."; group = path.Dir(group) {
			text, err := os.ReadFile(path.Join(root, group, "memory.max"))
			if err != nil {
				continue
			}
			if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil && (least == 0 || n < least) {
				least = n
			}
		}
	}
	return least
}
