package unit

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/cell-network/cell/membrane/spec"
	"github.com/cell-network/cell/sdk/manifest"
)

type filter struct {
	Allow bool
	List  []string
}

// membrane is what an instance's program is sealed with: see package membrane.
func membrane(m *manifest.Manifest, name string, at Place, env []string) *spec.Spec {
	s := &spec.Spec{
		Name: name, Dir: m.Dir, Broker: at.SocketDir + "/broker", Internet: m.Net.Internet, Foreign: at.Trust == Foreign, Root: m.User == "root",
		Notify: m.Life.Ready == "notify", Ready: m.Life.Ready != "notify",
	}
	for _, n := range m.Needs {
		if n.Port > 0 {
			s.Needs = append(s.Needs, spec.Need{Name: n.Name, Host: n.Host, Port: n.Port})
		}
	}
	for _, h := range m.Net.Hosts {
		s.Hosts = append(s.Hosts, h.String())
	}
	if h := m.Life.Health; h != nil {
		s.Health = &spec.Health{HTTP: h.HTTP, Command: h.Command, Port: m.Port, Interval: h.Interval, Timeout: h.Timeout, Failures: h.Failures, Grace: m.Life.ReadyWithin}
	}
	for _, x := range m.Secrets {
		s.Secrets = append(s.Secrets, x.Name+"="+x.Kind+":"+x.Source)
	}
	for _, p := range m.Paths {
		if p.Write {
			s.Write = append(s.Write, p.Path)
		} else {
			s.Read = append(s.Read, p.Path)
		}
	}
	for _, e := range env {
		variable, _, _ := strings.Cut(e, "=")
		s.Env = append(s.Env, variable)
	}
	slices.Sort(s.Env)
	if m.Port > 0 {
		// The proxy is inside with the program, and says when it is ready.
		s.Port, s.When, s.Notify, s.Ready = m.Port, m.Life.Ready, true, false
	}
	program := Program(m, at)
	s.Show = []string{program}
	if rest, ok := strings.CutPrefix(program, m.Dir+"/"); ok {
		program = s.Inside() + "/" + rest
		s.Show = nil
	}
	args, _ := seen(m, at).Arguments(name) // reading the manifest has tried it
	s.Program = append([]string{program}, args...)
	return s
}

// seen is the manifest with the directory that the program sees.
func seen(m *manifest.Manifest, at Place) *manifest.Manifest {
	if at.Trust == Own {
		return m
	}
	foreign := *m
	foreign.Dir = spec.Foreign
	return &foreign
}

// Probe is a service that is sealed as an instance's own is and runs what must not succeed instead of its program.
func Probe(p Pair, at Place, world string) (name string, props []Property) {
	seal := *p.Seal
	seal.Program = []string{spec.Helper, spec.Probe, world}
	seal.Port, seal.When, seal.Notify, seal.Ready, seal.Needs, seal.Secrets, seal.Hosts, seal.Health = 0, "", false, true, nil, nil, nil, nil
	for _, pr := range p.Service {
		switch pr.Name {
		case "ExecStart", "NotifyAccess", "WatchdogUSec", "FileDescriptorStoreMax", "Restart", "Slice", "Description":
		default:
			props = append(props, pr)
		}
	}
	return "cell-probe@" + p.Name + ".service", append(props,
		prop("Description", "probe of the membrane of "+p.Name),
		prop("ExecStart", Command(filepath.Join(at.Programs, "cell-membrane"), seal.Args()...)),
		prop("NotifyAccess", "all"),
		prop("Restart", "no"),
		prop("Slice", "cell.slice"), // the cell's own may be full
	)
}
