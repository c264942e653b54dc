package unit

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Device is a graphics processor, or a slice of one, that an instance has.
type Device struct {
	ID    string   // as programs name it
	Grant string   // the grant as text, which its unit holds
	Nodes []string // device files that its program needs
}

// granted is the variable that holds the grants of devices: a unit says what its program has, over a restart of celld and for as long as
// it is loaded.
const granted = "CELL_GPU="

// rule is an element of DeviceAllow.
type rule struct{ Path, Access string }

// Granted is the pair with the devices that it was granted, and no others: they are in its program's /dev, and the control group's
// filter lets nothing else through. Their paths are named and not their class, which would be every device of the vendor's. As it is part
// of the unit the filter stays when systemd is reloaded.
func (p Pair) Granted(devices []Device, at Place) Pair {
	seal := *p.Seal
	var ids, texts []string
	allow := []rule{}
	for _, d := range devices {
		ids, texts = append(ids, d.ID), append(texts, d.Grant)
		for _, n := range d.Nodes {
			if !slices.Contains(seal.Devices, n) {
				seal.Devices = append(seal.Devices, n)
				allow = append(allow, rule{n, "rw"})
			}
		}
	}
	// In the order of the bus, so that numbers mean the same to all tools; the filter above is what keeps other devices away.
	env := []string{"CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES=" + strings.Join(ids, ",")}
	seal.Env = append(slices.Clone(seal.Env), "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES")
	q := p
	q.Seal = &seal
	q.Service = slices.Clone(p.Service)
	for i, pr := range q.Service {
		switch pr.Name {
		case "ExecStart":
			q.Service[i] = prop("ExecStart", Command(filepath.Join(at.Programs, "cell-membrane"), seal.Args()...))
		case "Environment":
			list, _ := pr.Value.Value().([]string)
			q.Service[i] = prop("Environment", slices.Concat(list, env, []string{granted + strings.Join(texts, ",")}))
		}
	}
	q.Service = append(q.Service, prop("DevicePolicy", "closed"), Property{"DeviceAllow", dbus.MakeVariant(allow)})
	return q
}

// GrantsOf reads the grants of a service from its environment.
func GrantsOf(env []string) []string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, granted); ok && v != "" {
			return strings.Split(v, ",")
		}
	}
	return nil
}
