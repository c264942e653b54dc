package medium

import (
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	stick := Disk{Path: "/dev/sdb", Boot: true}
	kept := Disk{Path: "/dev/sdb", Boot: true, Data: []string{"/dev/sdb2"}}
	foreign := Disk{Path: "/dev/sda"}
	other := Disk{Path: "/dev/sdc", Data: []string{"/dev/sdc1"}}
	named := func(d Disk) Disk { d.Named = true; return d }
	empty := func(d Disk) Disk { d.Empty = true; return named(d) }
	for _, c := range []struct {
		name  string
		named string
		disks []Disk
		want  Choice
		err   string
	}{
		{"nothing", "", nil, Choice{}, "no medium"},
		{"netboot beside a foreign disk", "", []Disk{foreign}, Choice{}, "no medium"},
		{"netboot beside an empty disk that nobody named", "", []Disk{{Path: "/dev/sda", Empty: true}}, Choice{}, "no medium"},
		{"first start", "", []Disk{foreign, stick}, Choice{Make: "/dev/sdb"}, ""},
		{"next start", "", []Disk{foreign, kept}, Choice{Partition: "/dev/sdb2"}, ""},
		{"the medium's goes before another's", "", []Disk{other, kept}, Choice{Partition: "/dev/sdb2"}, ""},
		{"another's", "", []Disk{other, stick}, Choice{Partition: "/dev/sdc1"}, ""},
		{"two others'", "", []Disk{other, {Path: "/dev/sdd", Data: []string{"/dev/sdd1"}}, stick}, Choice{}, "/dev/sdc and /dev/sdd have a partition cell-data each"},
		{"two on one", "", []Disk{{Path: "/dev/sdb", Boot: true, Data: []string{"/dev/sdb2", "/dev/sdb3"}}}, Choice{}, "/dev/sdb has 2 partitions cell-data"},
		{"named and empty", "D", []Disk{empty(foreign), kept}, Choice{Make: "/dev/sda", Whole: true}, ""},
		{"named with data of others", "D", []Disk{named(foreign), kept}, Choice{}, "D has something on it and is left alone"},
		{"named with data of a donor", "D", []Disk{named(other), kept}, Choice{Partition: "/dev/sdc1"}, ""},
		{"the medium named", "D", []Disk{other, named(stick)}, Choice{Make: "/dev/sdb"}, ""},
		{"named and not there", "D", []Disk{kept, other}, Choice{}, "the disk D is not there"},
	} {
		got, err := Choose(c.named, c.disks)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %+v %v, want %+v %s", c.name, got, err, c.want, c.err)
		}
	}
}
