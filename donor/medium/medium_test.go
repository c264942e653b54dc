package medium

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

// A partition with a limit takes it at once, begins where the free space begins, and takes the rest when the limit is lifted.
func TestRepart(t *testing.T) {
	if _, err := exec.LookPath("systemd-repart"); err != nil {
		t.Skip("systemd-repart is not installed")
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 512<<20); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := repart(ctx, disk, "refuse", "[Partition]\nType="+Type+"\n"); err == nil || size(t, disk) != 0 {
		t.Errorf("a disk without a partition table got one: %v", err)
	}
	if err := repart(ctx, disk, "require", "[Partition]\nType=esp\nSizeMinBytes=64M\nSizeMaxBytes=64M\nPaddingWeight=1\n"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		max  int64
		want int64
	}{{200 << 20, 200}, {200 << 20, 200}, {300 << 20, 300}, {0, 446}, {100 << 20, 446}} {
		d := strings.Replace(definition(Shape{Max: c.max}), "Format=ext4\n", "", 1) // which takes a loop device
		if err := repart(ctx, disk, "refuse", d); err != nil {
			t.Fatal(err)
		}
		if got := size(t, disk) >> 20; got != c.want {
			t.Errorf("with at most %d MiB it has %d, want %d", c.max>>20, got, c.want)
		}
	}
}

// size is the size of the partition for data on a disk, 0 without one.
func size(t *testing.T, disk string) int64 {
	t.Helper()
	d, err := diskfs.Open(disk, diskfs.WithOpenMode(diskfs.ReadOnly))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	table, err := d.GetPartitionTable()
	if err != nil {
		return 0
	}
	for _, p := range table.GetPartitions() {
		if g, ok := p.(*gpt.Partition); ok && g.Name == Label {
			return g.GetSize()
		}
	}
	return 0
}
