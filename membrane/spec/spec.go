// Package spec is what a cell's membrane is asked for: the flags that celld writes into a unit and that cell-membrane reads. It is
// data, so that units can be described without sealing anything.
package spec

import (
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Where things lie inside of a membrane, whatever their place on the machine is.
const (
	Broker  = "/run/cell/broker" // directory of celld's socket for cells
	Notify  = "/run/notify"      // systemd's notification socket
	Secrets = "/run/credentials" // a file for each secret
	NeedsAt = "/run/needs"       // directory of NAME.sock, at which a need is reached without a name and port
	Foreign = "/cell"            // directory of a foreign cell
	Helper  = "/run/cell/inside" // cell-inside, which is Cell's own
)

// Children is the file in a cell's directory, written by celld, that names the directories of cells below it, a line each, relative to it.
// It is no parameter: a cell is not replaced when one below it comes or goes.
const Children = "run/children"

// Own are the directories of a cell that it may write in.
var Own = []string{"data", "cache", "log"}

// The numbers that cells of root are to the machine: systemd gives them to nobody (its UIDS-GIDS.md, "HIC SVNT LEONES").
const (
	nobodys = 0x70000000
	many    = 0x10000000
)

// IDs is how many users a cell with Root has.
const IDs = 1 << 16

// HostUser is the number that an instance of a cell of root is to the machine; with Root it is user 0 inside, and the IDs-1 numbers
// after it are the others. Two instances may share it: it keeps them from the machine, namespaces keep them from each other.
func HostUser(instance string, root bool) int {
	h := fnv.New32a()
	h.Write([]byte(instance))
	uid := nobodys + int(h.Sum32()%many)
	if root {
		uid &^= IDs - 1
	}
	return uid
}

// IsHostUser tells whether a number is one that only a cell of root is.
func IsHostUser(uid int) bool { return uid >= nobodys && uid < nobodys+many }

// Spec says what a program is sealed with.
type Spec struct {
	Name     string   // of the instance; the host name inside follows from it
	Dir      string   // the cell's directory on the machine
	Read     []string // further files and directories, seen where they are
	Write    []string // the same, writable
	Devices  []string // device files that it may use beside those that everybody has
	Show     []string // programs that may lie where a cell sees nothing else; one that is seen already is left alone
	Broker   string   // directory of celld's socket on the machine
	Env      []string // names of variables that the cell has beside those that everybody has
	Notify   bool     // the program speaks to systemd itself (sd_notify)
	Ready    bool     // it does not: say for it that it is ready once it runs
	Internet bool     // it has the machine's network instead of none
	Root     bool     // it is user 0 inside, and may become others
	Foreign  bool     // others wrote it: it sees nothing of its owner
	Secrets  []string // NAME=KIND:SOURCE, of kinds file, command and encrypted
	Needs    []Need   // cells that it reaches by name and port
	Hosts    []string // HOST:PORT outside that it reaches likewise; its network is none
	Health   *Health  // how to find out whether it works, or nil
	Port     int      // it insists on this port: connections of the socket are passed to it
	When     string   // with Port, when it is ready: "port", "notify" or "started"
	Program  []string // absolute path, as it is inside, and arguments
}

// Health is a check that is made beside the program: HTTP is the path of a request, Command is run; without both a connection is made, to
// Port or, where that is 0, to the cell's socket.
type Health struct {
	HTTP     string
	Command  []string
	Port     int
	Interval time.Duration // between the beginnings of two checks
	Timeout  time.Duration // of one
	Failures int           // in a row, after which it is said
	Grace    time.Duration // before the first success, in which failures do not count: the program starts
}

// String is the form of a flag: that of a URL's query.
func (h *Health) String() string {
	q := url.Values{
		"http": {h.HTTP}, "command": h.Command, "port": {strconv.Itoa(h.Port)}, "interval": {h.Interval.String()},
		"timeout": {h.Timeout.String()}, "failures": {strconv.Itoa(h.Failures)}, "grace": {h.Grace.String()},
	}
	return q.Encode()
}

// ParseHealth reads what String wrote.
func ParseHealth(s string) (*Health, error) {
	q, err := url.ParseQuery(s)
	if err != nil {
		return nil, err
	}
	h := &Health{HTTP: q.Get("http"), Command: q["command"]}
	number := func(name string, to *int) {
		if err == nil {
			*to, err = strconv.Atoi(q.Get(name))
		}
	}
	length := func(name string, to *time.Duration) {
		if err == nil {
			*to, err = time.ParseDuration(q.Get(name))
		}
	}
	number("port", &h.Port)
	number("failures", &h.Failures)
	length("interval", &h.Interval)
	length("timeout", &h.Timeout)
	length("grace", &h.Grace)
	if err != nil || h.Failures < 1 || h.Interval <= 0 || h.Timeout <= 0 {
		return nil, fmt.Errorf("%q is no check of a health", s)
	}
	return h, nil
}

// SplitHost splits HOST:PORT, where an IPv6 address is in brackets.
func SplitHost(s string) (host, port string) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, ""
	}
	return strings.Trim(s[:i], "[]"), s[i+1:]
}

// JoinHost is the opposite of SplitHost.
func JoinHost(host, port string) string {
	if strings.ContainsRune(host, ':') {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

// Beside tells whether something of Cell's runs beside the program.
func (s *Spec) Beside() bool { return len(s.Needs) > 0 || len(s.Hosts) > 0 || s.Health != nil }

// Need is a cell that a program without the SDK reaches as HOST:PORT.
type Need struct {
	Name string // as the broker knows it
	Host string
	Port int
}

// String is the form of a flag.
func (n Need) String() string { return fmt.Sprintf("%s=%s:%d", n.Name, n.Host, n.Port) }

// ParseNeed reads what String wrote.
func ParseNeed(s string) (n Need, err error) {
	name, at, _ := strings.Cut(s, "=")
	host, port, _ := strings.Cut(at, ":")
	n = Need{Name: name, Host: host}
	if n.Port, err = strconv.Atoi(port); err != nil || n.Port < 1 || n.Port > 65535 || name == "" || host == "" {
		return n, fmt.Errorf("%q is no NAME=HOST:PORT", s)
	}
	return n, nil
}

// Inside is the path of the cell's directory as its program sees it.
func (s *Spec) Inside() string {
	if s.Foreign {
		return Foreign
	}
	return s.Dir
}

func (s *Spec) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("cell-membrane", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	list := func(to *[]string) func(string) error {
		return func(v string) error {
			*to = append(*to, v)
			return nil
		}
	}
	fs.StringVar(&s.Name, "name", "", "")
	fs.StringVar(&s.Dir, "dir", "", "")
	fs.Func("read", "", list(&s.Read))
	fs.Func("write", "", list(&s.Write))
	fs.Func("device", "", list(&s.Devices))
	fs.Func("show", "", list(&s.Show))
	fs.StringVar(&s.Broker, "broker", "", "")
	fs.Func("env", "", list(&s.Env))
	fs.Func("secret", "", list(&s.Secrets))
	fs.Func("need", "", func(v string) error {
		n, err := ParseNeed(v)
		s.Needs = append(s.Needs, n)
		return err
	})
	fs.Func("host", "", list(&s.Hosts))
	fs.Func("health", "", func(v string) (err error) {
		s.Health, err = ParseHealth(v)
		return err
	})
	fs.BoolVar(&s.Notify, "notify", false, "")
	fs.BoolVar(&s.Ready, "ready", false, "")
	fs.BoolVar(&s.Internet, "internet", false, "")
	fs.BoolVar(&s.Root, "root", false, "")
	fs.BoolVar(&s.Foreign, "foreign", false, "")
	fs.IntVar(&s.Port, "port", 0, "")
	fs.StringVar(&s.When, "when", "", "")
	return fs
}

// spoilt are the characters that do not survive in a unit's command line. systemd replaces variables after a dollar; and when it reads
// a transient unit's file again, as with any daemon-reload, which it has written itself, both have a backslash before them (systemd
// 252; ExecStartEx, whose flag turns the former off, is then not known at all).
const spoilt = "$;"

// escaped is the first word where all that follows is escaped as in a URL's query, as systemd would change it.
const escaped = "--escaped"

// Args is the command line of cell-membrane for a spec, without its own path. Parse reads it back.
func (s *Spec) Args() []string {
	var args []string
	word := func(name, v string) {
		if v != "" {
			args = append(args, "--"+name+"="+v)
		}
	}
	on := func(name string, v bool) {
		if v {
			args = append(args, "--"+name)
		}
	}
	word("name", s.Name)
	word("dir", s.Dir)
	for _, l := range []struct {
		name   string
		values []string
	}{{"read", s.Read}, {"write", s.Write}, {"device", s.Devices}, {"show", s.Show}, {"env", s.Env}, {"secret", s.Secrets}} {
		for _, v := range l.values {
			word(l.name, v)
		}
	}
	word("broker", s.Broker)
	for _, n := range s.Needs {
		word("need", n.String())
	}
	for _, h := range s.Hosts {
		word("host", h)
	}
	if s.Health != nil {
		word("health", s.Health.String())
	}
	on("notify", s.Notify)
	on("ready", s.Ready)
	on("internet", s.Internet)
	on("root", s.Root)
	on("foreign", s.Foreign)
	if s.Port > 0 {
		word("port", fmt.Sprint(s.Port))
	}
	word("when", s.When)
	program := s.Program
	if slices.ContainsFunc(append(slices.Clone(args), program...), func(a string) bool { return strings.ContainsAny(a, spoilt) }) {
		program = nil
		for _, a := range s.Program {
			program = append(program, url.QueryEscape(a))
		}
		args = append([]string{escaped}, escape(args)...)
	}
	return append(append(args, "--"), program...)
}

// escape escapes the values of flags.
func escape(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		name, v, ok := strings.Cut(a, "=")
		if ok {
			a = name + "=" + url.QueryEscape(v)
		}
		out[i] = a
	}
	return out
}

// Parse reads what Args wrote and checks that it makes sense.
func Parse(args []string) (*Spec, error) {
	s := &Spec{}
	if len(args) > 0 && args[0] == escaped {
		var err error
		if args, err = unescape(args[1:]); err != nil {
			return nil, err
		}
	}
	fs := s.flags()
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	s.Program = slices.Clone(fs.Args()) // which is a part of args
	for _, list := range [][]string{{s.Dir}, s.Read, s.Write, s.Show, {s.Broker}, s.Devices} {
		for _, p := range list {
			if p != "" && (!filepath.IsAbs(p) || filepath.Clean(p) != p) {
				return nil, fmt.Errorf("%q is not a clean absolute path", p)
			}
		}
	}
	for _, d := range s.Devices {
		if !strings.HasPrefix(d, "/dev/") {
			return nil, fmt.Errorf("%q is not below /dev", d)
		}
	}
	switch {
	case s.Name == "":
		return nil, fmt.Errorf("--name is missing")
	case s.Dir == "" || s.Dir == "/":
		return nil, fmt.Errorf("--dir is missing")
	case len(s.Program) == 0 || !filepath.IsAbs(s.Program[0]):
		return nil, fmt.Errorf("the program is missing")
	case s.Port < 0 || s.Port > 65535:
		return nil, fmt.Errorf("--port=%d is no port", s.Port)
	}
	return s, nil
}

// unescape undoes escape, and what Args does to the program.
func unescape(args []string) ([]string, error) {
	out := make([]string, len(args))
	rest := false
	for i, a := range args {
		name, v := "", a
		if !rest {
			var ok bool
			if name, v, ok = strings.Cut(a, "="); ok {
				name += "="
			}
		}
		u, err := url.QueryUnescape(v)
		if err != nil {
			return nil, err
		}
		out[i] = name + u
		rest = rest || a == "--"
	}
	return out, nil
}
