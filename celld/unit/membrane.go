package unit

import (
	"path/filepath"

	"github.com/cell-network/cell/sdk/manifest"
)

type bind struct {
	Source, Dest string
	Ignore       bool
	Flags        uint64
}

type tmpfs struct{ Path, Options string }

type filter struct {
	Allow bool
	List  []string
}

// membrane is the sandbox of an own user's cell: it sees the system read-only, its own directory read-only with data/,
// cache/ and log/ writable, no other home, no other cell's socket and, unless it asked for it, no network.
func membrane(m *manifest.Manifest, at Place) []Property {
	writable, unlocked := []bind{}, []string{}
	readable := []bind{}
	for _, d := range []string{"data", "cache", "log"} {
		p := filepath.Join(m.Dir, d)
		if at.Owner == "" {
			writable = append(writable, bind{p, p, true, 0})
		} else {
			// PID 1 binds with the rights of root: a link in place of data/ would open what another's closed directory
			// holds. Making what is in place writable opens nothing.
			unlocked = append(unlocked, "-"+p)
		}
	}
	switch {
	case at.Owner == "":
		readable = append(readable, bind{m.Dir, m.Dir, false, 0})
	case at.Home != "":
		readable = append(readable, bind{at.Home, at.Home, false, 0})
	}
	hub := filepath.Join(at.SocketDir, "broker") // with celld's socket for cells; a celld that starts anew makes it there
	readable = append(readable, bind{hub, hub, true, 0})
	if at.Notify != "" {
		writable = append(writable, bind{at.Notify, at.Notify, true, 0})
	}
	if m.Port > 0 || escapes(m) {
		readable = append(readable, bind{at.Helper, at.Helper, false, 0})
	}
	if p := Program(m, at); filepath.Dir(p) == filepath.Dir(at.Helper) {
		readable = append(readable, bind{p, p, false, 0})
	}
	props := []Property{
		prop("NoNewPrivileges", true),
		prop("ProtectSystem", "strict"),
		prop("ProtectHome", "tmpfs"),
		prop("PrivateTmp", true),
		prop("PrivateDevices", true),
		prop("TemporaryFileSystem", []tmpfs{{at.SocketDir, "ro"}}),
		prop("CapabilityBoundingSet", uint64(0)),
		prop("ProtectKernelTunables", true),
		prop("ProtectKernelModules", true),
		prop("ProtectControlGroups", true),
		prop("RestrictSUIDSGID", true),
		prop("RestrictNamespaces", uint64(0)),
		prop("LockPersonality", true),
		prop("SystemCallFilter", filter{true, []string{"@system-service"}}),
		prop("SystemCallErrorNumber", int32(1)), // EPERM
	}
	// Both properties fill one list, and an empty value empties it.
	if len(readable) > 0 {
		props = append(props, prop("BindReadOnlyPaths", readable))
	}
	if len(writable) > 0 {
		props = append(props, prop("BindPaths", writable))
	}
	if !m.Net.Internet {
		props = append(props, prop("PrivateNetwork", true))
	}
	if at.User {
		// Without a user namespace a user manager accepts the rules above and silently applies none of them.
		props = append(props, prop("PrivateUsers", true))
	}
	if at.Owner != "" {
		props = append(props, prop("User", at.Owner), prop("ReadWritePaths", unlocked))
	}
	return props
}
