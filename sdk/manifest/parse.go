package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/cell-network/cell/internal/nearest"
)

// decoder fills a manifest from a TOML tree by the table of keys.
type decoder struct {
	m      *Manifest
	file   string
	errs   *Errors
	keyPos Pos
}

func (d *decoder) add(at Pos, format string, args ...any) *Error {
	return d.errs.add(d.file, at, format, args...)
}

func (d *decoder) wrong(k Key, v value) {
	d.add(v.pos, "%s must be %s, not %s", k.Name, article(k.Type), v.describe()).hint("as in %s = %s", k.Name, k.Example)
}

func article(s string) string {
	if strings.HasPrefix(s, "{") {
		return s
	}
	return "a " + s
}

// short keeps a hostile text from filling the screen, and makes it printable.
func short(s string) string {
	r := []rune(strconv.Quote(s))
	r = r[1 : len(r)-1]
	if len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return string(r)
}

func (d *decoder) str(k Key, v value) (string, bool) {
	if v.kind != unstable.String {
		d.wrong(k, v)
		return "", false
	}
	if strings.ContainsRune(v.text, 0) || len(v.text) > 4096 {
		d.add(v.pos, "%s: it has a zero byte or more than 4096 bytes", k.Name)
		return "", false
	}
	return v.text, true
}

func (d *decoder) strs(k Key, v value) ([]string, bool) {
	if v.kind != unstable.Array {
		d.wrong(k, v)
		return nil, false
	}
	var out []string
	for _, e := range v.list {
		s, ok := d.str(Key{Name: k.Name, Type: "list of strings", Example: k.Example}, e)
		if !ok {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

func (d *decoder) whole(k Key, v value, low, high int64) (int64, bool) {
	if v.kind != unstable.Integer {
		d.wrong(k, v)
		return 0, false
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(v.text, "_", ""), 0, 64)
	if err != nil || n < low || n > high {
		d.add(v.pos, "%s: %s is not between %d and %d", k.Name, short(v.text), low, high)
		return 0, false
	}
	return n, true
}

func (d *decoder) size(k Key, v value) int64 {
	if v.kind != unstable.String && v.kind != unstable.Integer {
		d.wrong(Key{Name: k.Name, Type: "size", Example: `"64MB"`}, v)
		return 0
	}
	n, err := ParseBytes(v.text)
	if err != nil || n == 0 {
		d.add(v.pos, "%s: %s is not a size above 0", k.Name, short(v.text)).hint(`write it as "64MB" or "1.5GB"`)
		return 0
	}
	return n
}

func (d *decoder) path(k Key, v value) (string, bool) {
	s, ok := d.str(Key{Name: k.Name + ".path", Type: "string", Example: `"` + k.Name + `"`}, v)
	if ok && (s == "" || filepath.IsAbs(s)) {
		d.add(v.pos, "%s.path must be relative to this directory", k.Name)
		return "", false
	}
	return s, ok
}

func (d *decoder) name(at Pos, s string) bool {
	if ValidName(s) {
		return true
	}
	d.add(at, "%q cannot name a cell", short(s)).hint("use a to z, digits and dashes, a letter first, at most 63")
	return false
}

// fields reads a table with known keys.
func (d *decoder) fields(k Key, v value, known map[string]func(value)) {
	if v.kind != unstable.Table {
		d.wrong(k, v)
		return
	}
	for _, name := range v.tab.keys {
		e := v.tab.get[name]
		if f := known[name]; f != nil {
			f(e.val)
			continue
		}
		names := make([]string, 0, len(known))
		for n := range known {
			names = append(names, n)
		}
		slices.Sort(names)
		d.unknown(e.pos, name, k.Name, names)
	}
}

func (d *decoder) unknown(at Pos, key, where string, known []string) {
	if where != "" {
		where = " in " + where
	}
	e := d.add(at, "unknown key %q%s", short(key), where)
	if n := nearest.Word(key, known); n != "" {
		e.hint("did you mean %s?", n)
	} else {
		e.hint("known are: %s", strings.Join(known, ", "))
	}
}

func sections() []string {
	var out []string
	for _, k := range keys {
		if !slices.Contains(out, k.Section) {
			out = append(out, k.Section)
		}
	}
	return out
}

// section reads one table of the file by the table of keys.
func (d *decoder) section(name string, e *entry) {
	if e.val.kind != unstable.Table {
		d.add(e.pos, "%s must be a table, not %s", name, e.val.describe()).hint("write [%s] on a line of its own", name)
		return
	}
	byName, known := map[string]Key{}, []string{}
	for _, k := range keys {
		if k.Section == name {
			byName[k.Name] = k
			known = append(known, k.Name)
		}
	}
	for _, key := range e.val.tab.keys {
		kv := e.val.tab.get[key]
		k, ok := byName[key]
		if any, named := byName["NAME"]; named {
			k, ok = any, true
			k.Name = key
		}
		d.keyPos = kv.pos
		d.m.pos[name+"."+key] = kv.val.pos
		switch {
		case !ok:
			d.unknown(kv.pos, key, "["+name+"]", known)
		case k.Later:
			d.add(kv.pos, "[%s] %s is not supported yet", name, short(key)).hint("remove it; a limit that did nothing would be worse")
		default:
			k.set(d, k, kv.val)
		}
	}
}

// Parse reads the text of a cell.toml; dir is the directory it describes and file what errors call it. All errors are
// returned, not only the first; the manifest then holds what could be read.
func Parse(dir, file string, data []byte) (*Manifest, Errors) {
	m := &Manifest{Dir: dir, Version: "0.0.0", Speaks: "cell", User: "cell", pos: map[string]Pos{}}
	m.Life = Life{ReadyWithin: 30 * time.Second, StopWithin: 10 * time.Second, StopSignal: syscall.SIGTERM, KeepLog: true}
	var errs Errors
	root, terr := readTOML(file, data)
	if terr != nil {
		return m, Errors{terr}
	}
	d := &decoder{m: m, file: file, errs: &errs}
	all := sections()
	for _, name := range root.keys {
		e := root.get[name]
		m.pos[name] = e.pos
		if !slices.Contains(all, name) {
			where := ""
			if e.val.kind != unstable.Table {
				for _, k := range keys {
					if k.Name == name {
						where = k.Section
					}
				}
			}
			if where != "" {
				d.add(e.pos, "key %q stands outside of its section", name).hint("write it below [%s]", where)
			} else {
				d.unknown(e.pos, name, "", all)
			}
			continue
		}
		d.section(name, e)
	}
	d.defaults()
	errs.sort()
	return m, errs
}

// defaults fills what the file left out and checks what no key can check alone.
func (d *decoder) defaults() {
	m := d.m
	if m.Name == "" {
		m.Name = filepath.Base(m.Dir)
	}
	if m.Exec == nil {
		m.Exec = []string{"bin/" + m.Name}
	}
	if _, given := m.pos["cell.build"]; !given && m.InBin() && hasGo(m.Dir) {
		m.Build = "go build -o " + filepath.Clean(m.Exec[0]) + " ."
	}
	// What an instance is called plays no part in what may be named.
	if _, err := m.Environ(m.Name); err != nil {
		d.add(m.at("cell.env"), "%v", err).hint("known are ${CELL_NAME}, ${CELL_DIR}, ${secrets} and, with a port, ${PORT}; $$ is a dollar")
	} else if _, err := m.Arguments(m.Name); err != nil {
		d.add(m.at("cell.exec"), "%v", err).hint("known are what env sets, ${CELL_NAME}, ${CELL_DIR}, ${secrets} and, with a port, ${PORT}; $$ is a dollar")
	}
	if m.Life.Restart == "" {
		m.Life.Restart = "on-failure"
		if m.Speaks == "job" {
			m.Life.Restart = "no"
		}
	}
	if m.Life.Ready == "" {
		switch {
		case m.Speaks == "cell":
			m.Life.Ready = "notify"
		case m.Port > 0:
			m.Life.Ready = "port"
		default:
			m.Life.Ready = "started"
		}
	}
	if m.Speaks == "job" {
		for _, key := range []string{"cell.port", "net.publish", "auth.allow", "auth.methods", "life.idle_timeout", "life.warm", "life.ready", "life.retire_after", "life.health"} {
			if at, given := m.pos[key]; given {
				_, name, _ := strings.Cut(key, ".")
				d.add(at, "%s: nobody calls a job", name).hint(`remove it, or write speaks = "http" or "tcp" for a server`)
			}
		}
	}
	switch {
	case m.Speaks == "job" && m.Life.Restart == "always":
		d.add(m.at("life.restart"), "restart: a job ends when its work is done").hint("write \"on-failure\" to have a failed run tried again")
	case m.Speaks != "job" && m.Life.Schedule != "":
		d.add(m.at("life.schedule"), "schedule: only a job runs by one").hint(`write [cell] speaks = "job"`)
	case m.Speaks == "cell" && m.Life.Health != nil && len(m.Life.Health.Command) == 0:
		d.add(m.at("life.health"), "health: a program that speaks \"cell\" is watched by systemd already").hint("remove it, or check with a command")
	case m.Speaks != "cell" && len(m.Auth.Methods) > 0:
		d.add(m.at("auth.methods"), "methods: a cell that speaks %s has none", m.Speaks).hint("allow says who may connect")
	case m.Speaks != "cell" && m.Life.RetireAfter > 0:
		d.add(m.at("life.retire_after"), "retire_after: only calls of cells that speak cell are counted")
	case m.Speaks == "cell" && m.Port > 0:
		d.add(m.at("cell.port"), "port: a cell that speaks \"cell\" takes its socket from systemd").hint(`remove port, or write speaks = "http"`)
	case m.Speaks == "cell" && m.Life.Ready != "notify":
		d.add(m.at("life.ready"), "ready: a program that speaks \"cell\" notifies").hint("remove ready")
	case m.Speaks == "cell" && len(m.Net.Publish) > 0:
		d.add(m.at("net.publish"), "publish: only http and tcp cells open a door to the outside").hint("put an http cell in front")
	case m.Life.Ready == "port" && m.Port == 0:
		d.add(m.at("life.ready"), "ready: \"port\" needs a port").hint("write [cell] port = 3000")
	case m.Life.ReadyWithin == 0, m.Life.StopWithin == 0:
		d.add(m.at("life.ready_within", "life.stop_within", "life"), "ready_within and stop_within must be above 0")
	}
}

// hasGo tells whether dir holds a Go command.
func hasGo(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
		return true
	}
	found, _ := filepath.Glob(filepath.Join(dir, "*.go"))
	return len(found) > 0
}

// Load reads dir/cell.toml. Dir of the result is absolute with symbolic links resolved.
func Load(dir string) (*Manifest, Errors) {
	file := filepath.Join(dir, File)
	fail := func(format string, args ...any) (*Manifest, Errors) {
		return nil, Errors{{File: file, Pos: Pos{1, 1}, Msg: fmt.Sprintf(format, args...)}}
	}
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return fail("%v", cause(err))
	}
	data, err := readRegular(filepath.Join(abs, File))
	if errors.Is(err, fs.ErrNotExist) {
		m, es := fail("there is no cell.toml")
		es[0].hint("write one, or: cell new NAME")
		return m, es
	}
	if err != nil {
		return fail("%v", cause(err))
	}
	m, errs := Parse(abs, file, data)
	m.readEnvFile(file, &errs)
	return m, errs
}

// readEnvFile reads the variables of env_file.
func (m *Manifest) readEnvFile(file string, errs *Errors) {
	if m.EnvFile == "" {
		return
	}
	path := m.EnvFile
	if !filepath.IsAbs(path) {
		path = filepath.Join(m.Dir, path)
	}
	data, err := readRegular(path)
	if err != nil {
		errs.add(file, m.at("cell.env_file"), "env_file: %s: %v", short(m.EnvFile), cause(err))
		return
	}
	m.fileEnv = map[string]string{}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name, value = strings.TrimSpace(strings.TrimPrefix(name, "export ")), strings.TrimSpace(value)
		switch {
		case !ok || !envForm.MatchString(name):
			errs.add(path, Pos{n, 1}, "%s is no NAME=VALUE", short(line))
		case strings.ContainsRune(value, 0):
			errs.add(path, Pos{n, 1}, "%s: it has a zero byte", name)
		case reserved(name):
			errs.add(path, Pos{n, 1}, "%s is set by Cell or systemd", name).hint("choose another name")
		default:
			if len(value) > 1 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
				value = value[1 : len(value)-1]
			}
			m.fileEnv[name] = value
		}
	}
}

// readRegular reads at most a byte more than maxFile of a regular file; a FIFO or device that a directory's owner left
// there would block or never end.
func readRegular(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// cause strips the path, which the error's place already names.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
