// Package medium finds the medium that a donor was started from and the partition for its data, and makes that where there is none. Nobody
// else's data is touched: a partition is only made in the free space of the medium, or on a disk that is named and has nothing on it.
package medium

import (
	"errors"
	"fmt"
	"strings"
)

// The partition for data, and its type: no tool takes it for another one's.
const (
	Label = "cell-data"
	Type  = "5c0e7a1d-8c0b-4b8e-9a54-0000000000da"
)

// Disk is one of the machine's, as it was found.
type Disk struct {
	Path  string
	Boot  bool     // the machine was started from it
	Named bool     // in donor.toml
	Data  []string // devices of its partitions for data
	Empty bool     // nothing is on it; looked at only where it is named
}

// Choice is where data is kept: on a partition that is there, or on one that has to be made on a disk.
type Choice struct {
	Partition string
	Make      string // the disk
	Whole     bool   // it is empty and gets a partition table
}

// errNoMedium says that data has no place.
var errNoMedium = errors.New("no medium to keep data on was found")

// Choose decides. named says that donor.toml names a disk.
func Choose(named string, disks []Disk) (Choice, error) {
	var boot, with []Disk
	for _, d := range disks {
		if named != "" && !d.Named {
			continue
		}
		if len(d.Data) > 1 {
			return Choice{}, fmt.Errorf("%s has %d partitions %s", d.Path, len(d.Data), Label)
		}
		if d.Boot {
			boot = append(boot, d)
		}
		if len(d.Data) == 1 {
			with = append(with, d)
		}
	}
	if named != "" {
		for _, d := range disks {
			switch {
			case !d.Named:
			case len(d.Data) == 1:
				return Choice{Partition: d.Data[0]}, nil
			case d.Boot:
				return Choice{Make: d.Path}, nil
			case d.Empty:
				return Choice{Make: d.Path, Whole: true}, nil
			default:
				return Choice{}, fmt.Errorf("%s has something on it and is left alone: empty it first, or name another disk", named)
			}
		}
		return Choice{}, fmt.Errorf("the disk %s is not there", named)
	}
	for _, d := range boot {
		if len(d.Data) == 1 {
			return Choice{Partition: d.Data[0]}, nil
		}
	}
	switch {
	case len(with) == 1:
		return Choice{Partition: with[0].Data[0]}, nil
	case len(with) > 1:
		var paths []string
		for _, d := range with {
			paths = append(paths, d.Path)
		}
		return Choice{}, fmt.Errorf("%s have a partition %s each: name one of them in donor.toml", strings.Join(paths, " and "), Label)
	case len(boot) == 1:
		return Choice{Make: boot[0].Path}, nil
	}
	return Choice{}, errNoMedium
}
