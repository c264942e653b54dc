package bus

import (
	"encoding/json"

	"github.com/godbus/dbus/v5"
)

// Measure is open to everybody, as List is.
func (m *manager) Measure(name string) (string, *dbus.Error) {
	all, err := m.srv.Measure(m.ctx, name)
	if err != nil {
		return "", fail(err)
	}
	data, err := json.Marshal(all)
	return string(data), fail(err)
}
