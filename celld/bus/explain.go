package bus

import (
	"github.com/godbus/dbus/v5"

	"github.com/cell-network/cell/sdk/api"
)

// Explain is open to everybody, as List is: what a cell asks for is no secret.
func (m *manager) Explain(name string) ([]api.Rule, *dbus.Error) {
	rules, err := m.srv.Explain(m.ctx, name)
	return rules, fail(err)
}
