package manifest

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// String writes the manifest as a cell.toml with every default filled in; reading it back gives the same manifest.
func (m *Manifest) String() string {
	var b strings.Builder
	section := ""
	line := func(in, key, value string) {
		if in != section {
			if section != "" {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "[%s]\n", in)
			section = in
		}
		fmt.Fprintf(&b, "%s = %s\n", key, value)
	}
	str := func(in, key, value string) {
		if value != "" {
			line(in, key, quote(value))
		}
	}
	str("cell", "name", m.Name)
	str("cell", "version", m.Version)
	line("cell", "exec", list(m.Exec))
	line("cell", "build", quote(m.Build))
	str("cell", "speaks", m.Speaks)
	if m.Port > 0 {
		line("cell", "port", strconv.Itoa(m.Port))
	}
	if len(m.Env) > 0 {
		keys := make([]string, 0, len(m.Env))
		for k := range m.Env {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for i, k := range keys {
			keys[i] = k + " = " + quote(m.Env[k])
		}
		line("cell", "env", "{ "+strings.Join(keys, ", ")+" }")
	}
	str("cell", "env_file", m.EnvFile)
	str("cell", "user", m.User)
	m.resources(line)
	line("life", "idle_timeout", quote(duration(m.Life.IdleTimeout)))
	line("life", "warm", strconv.FormatBool(m.Life.Warm))
	str("life", "ready", m.Life.Ready)
	line("life", "ready_within", quote(duration(m.Life.ReadyWithin)))
	line("life", "stop_within", quote(duration(m.Life.StopWithin)))
	for name, s := range signals {
		if s == m.Life.StopSignal {
			str("life", "stop_signal", name)
		}
	}
	str("life", "restart", m.Life.Restart)
	str("life", "schedule", m.Life.Schedule)
	if m.Life.Health != nil {
		line("life", "health", m.Life.Health.String())
	}
	line("life", "auto_cleanup", strconv.FormatBool(m.Life.AutoCleanup))
	line("life", "keep_log", strconv.FormatBool(m.Life.KeepLog))
	line("life", "retire_after", quote(duration(m.Life.RetireAfter)))
	for _, c := range m.Cells {
		line("cells", c.Name, fmt.Sprintf("{ path = %s, replicas = %d }", quote(c.Path), c.Replicas))
	}
	for _, n := range m.Needs {
		var parts []string
		for _, p := range [][2]string{{"git", n.Git}, {"ref", n.Ref}, {"path", n.Path}, {"at", n.At}} {
			if p[1] != "" {
				parts = append(parts, p[0]+" = "+quote(p[1]))
			}
		}
		line("needs", n.Name, "{ "+strings.Join(parts, ", ")+" }")
	}
	if m.Auth.Allow != nil {
		line("auth", "allow", principals(m.Auth.Allow))
	}
	if len(m.Auth.Methods) > 0 {
		var rules []string
		for _, name := range slices.Sorted(maps.Keys(m.Auth.Methods)) {
			rules = append(rules, name+" = "+principals(m.Auth.Methods[name]))
		}
		line("auth", "methods", "{ "+strings.Join(rules, ", ")+" }")
	}
	for _, s := range m.Secrets {
		line("secrets", s.Name, quote(s.Kind+":"+s.Source))
	}
	for _, p := range m.Paths {
		line("paths", p.Name, fmt.Sprintf("{ path = %s, write = %v }", quote(p.Path), p.Write))
	}
	str("place", "pin", m.Pin)
	if len(m.Net.Hosts) > 0 {
		hosts := make([]string, len(m.Net.Hosts))
		for i, h := range m.Net.Hosts {
			hosts[i] = h.String()
		}
		line("net", "internet", list(hosts))
	} else {
		line("net", "internet", strconv.FormatBool(m.Net.Internet))
	}
	line("net", "publish", list(m.Net.Publish))
	str("about", "author", m.About.Author)
	str("about", "license", m.About.License)
	str("about", "repository", m.About.Repository)
	return b.String()
}

func (m *Manifest) resources(line func(in, key, value string)) {
	r := m.Resources
	table := func(key string, pairs ...string) {
		var set []string
		for i := 0; i < len(pairs); i += 2 {
			if v := pairs[i+1]; v != "0" && v != `"0B"` {
				set = append(set, pairs[i]+" = "+v)
			}
		}
		if len(set) > 0 {
			line("resources", key, "{ "+strings.Join(set, ", ")+" }")
		}
	}
	size := func(n int64) string {
		if s := FormatBytes(n); n > 0 {
			if back, err := ParseBytes(s); err != nil || back != n {
				return strconv.FormatInt(n, 10) // the short form would round
			}
		}
		return quote(FormatBytes(n))
	}
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	table("cpu", "min", number(r.CPUMin), "max", number(r.CPUMax))
	table("memory", "min", size(r.MemoryMin), "max", size(r.MemoryMax))
	table("storage", "max", size(r.StorageMax))
	if r.Tasks > 0 {
		line("resources", "tasks", strconv.Itoa(r.Tasks))
	}
	if r.Files > 0 {
		line("resources", "files", strconv.Itoa(r.Files))
	}
	if g := r.GPU; g != nil {
		pairs := []string{"count", strconv.Itoa(g.Count), "memory", size(g.Memory)}
		for _, f := range []struct {
			name string
			on   bool
		}{{"share", g.Share}, {"optional", g.Optional}} {
			if f.on {
				pairs = append(pairs, f.name, "true")
			}
		}
		if g.Wait > 0 {
			pairs = append(pairs, "wait", quote(g.Wait.String()))
		}
		table("gpu", pairs...)
	}
	table("io", "read", size(r.IORead), "write", size(r.IOWrite), "weight", strconv.Itoa(r.IOWeight))
}

// duration writes "10m" where time.Duration writes "10m0s".
func duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func list(l []string) string {
	q := make([]string, len(l))
	for i, s := range l {
		q[i] = quote(s)
	}
	return "[" + strings.Join(q, ", ") + "]"
}

// quote writes a TOML basic string (toml.io, v1.0.0, "String").
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func principals(all []Principal) string {
	words := make([]string, len(all))
	for i, p := range all {
		words[i] = p.String()
	}
	return list(words)
}
