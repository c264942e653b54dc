// Package vmtests runs scenarios in virtual machines, for what only a real kernel and a real boot can prove: limits, reboots, power
// cuts, several machines.
//
// A scenario is a function in a file of its own. It gets a guest that has booted and in which the package of this very commit is
// installed:
//
//	func init() { scenario("reexec", oneGuest, func(t *testing.T, g *guest) { … }) }
//
// and talks to it through an agent, as root: g.run for what has to work, g.try for what may fail, g.until for what comes in the end.
// The first scenario of a release boots it and saves a snapshot; every scenario begins from that, in a second. image.go makes the
// disk, guest.go runs QEMU, network.go links guests by a switch whose links can be cut, slowed and made lossy.
//
//	make vmtest            # all
//	make vmtest RUN=reboot # one
//
// KVM is used where it works, else QEMU translates the guest's code, some twenty times slower: no scenario has a limit that needs a
// fast machine.
package vmtests
