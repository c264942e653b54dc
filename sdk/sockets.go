package sdk

import (
	"net"

	"github.com/cell-network/cell/sdk/internal/handover"
)

// Listeners returns the listening sockets that systemd handed over, for a program that speaks something else than cells do
// and so does not call Main; none when systemd did not start it. Together with TellReady it is what such a program needs:
//
//	listeners, err := sdk.Listeners()
//	… // open what package hot keeps, begin to serve
//	err = sdk.TellReady()
func Listeners() ([]net.Listener, error) { return handover.This().Listeners() }

// TellReady tells systemd that the program serves ([life] ready = "notify"), and lets go of whatever an earlier process kept
// and this one did not open. Main does so by itself.
func TellReady() error { return handover.This().Ready() }
