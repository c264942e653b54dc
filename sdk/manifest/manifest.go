// Package manifest reads cell.toml: one file that says what a cell is and needs. It knows nothing of systemd; every
// error carries file, line and column, and all errors of a tree are found at once.
package manifest

import (
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// File is the name of the one file that a user must write.
const File = "cell.toml"

// Manifest is a cell.toml with every default filled in.
type Manifest struct {
	Dir       string // absolute, symbolic links resolved
	Name      string
	Version   string
	Exec      []string // program and arguments; the program is relative to Dir, absolute, or found in the system's path
	Build     string   // shell command, empty: nothing is built
	Speaks    string   // "cell", "http", "tcp" or "job"
	Port      int      // 0, or the port that a program insists on
	Env       map[string]string
	EnvFile   string // a file of variables beside Env's, relative to Dir
	User      string // "cell" or "root": who the program is inside
	Resources Resources
	Life      Life
	Cells     []Child
	Needs     []Need
	Auth      Auth
	Paths     []Path
	Secrets   []Secret
	Pin       string // name of the machine that it runs on, or empty
	Net       Net
	About     About

	fileEnv map[string]string // of EnvFile

	pos map[string]Pos // of keys, by "section.key", for errors that a later check finds
}

// Resources are what a cell needs and may have at most. Zero is no limit. Sizes are in bytes.
type Resources struct {
	CPUMin, CPUMax       float64 // cores
	MemoryMin, MemoryMax int64
	StorageMax           int64
	Tasks                int
	Files                int   // descriptors of the program
	IORead, IOWrite      int64 // bytes per second
	IOWeight             int   // 1 to 10000
	GPU                  *GPU  // nil: none
}

// GPU is what a cell needs of graphics processors.
type GPU struct {
	Count    int           // devices, or slices of them
	Memory   int64         // bytes of each, as a minimum and a maximum; 0: a device as a whole
	Share    bool          // with other cells of the owner
	Optional bool          // it runs without where there are none
	Wait     time.Duration // for one to become free
}

// Life says when a cell sleeps, how it becomes ready and how it ends.
type Life struct {
	IdleTimeout time.Duration // 0: never sleeps by itself
	Warm        bool
	Ready       string // "notify": sd_notify; "started": it runs; "port": it accepts connections on Port
	ReadyWithin time.Duration
	StopWithin  time.Duration
	StopSignal  syscall.Signal
	Restart     string        // "on-failure", "always" or "no"
	RetireAfter time.Duration // 0: never ends by itself
	Schedule    string        // calendar event (systemd.time(7)) at which a job runs, or empty
	Health      *Health       // nil: a program that runs is taken for healthy
	AutoCleanup bool          // cache/ is emptied when it goes to sleep
	KeepLog     bool          // log/ outlives apoptosis
}

// Child is a line of [cells].
type Child struct {
	Name     string
	Path     string
	Replicas int
	Pos      Pos
}

// Need is a line of [needs]: a cell that this one calls but does not own.
type Need struct {
	Name string
	Path string // relative to the cell's directory, or within the repository
	Git  string // address of a repository; empty when Path leads to the cell
	Ref  string // branch or tag of the repository; empty is its default branch
	At   string // HOST:PORT at which a program without the SDK reaches it, or empty for what follows from the called cell
	Pos  Pos

	// Host and Port are At, or the need's name and the port that the called cell declares; LoadTree fills them in. A cell that
	// speaks "cell" is called by the SDK and has none: Port is 0.
	Host string
	Port int
}

// Secret is a line of [secrets].
type Secret struct {
	Name   string
	Kind   string // "file", "command" or "encrypted"
	Source string // absolute path, or a shell command
}

// Path is a line of [paths]: a file or directory of the machine that the cell sees where it is.
type Path struct {
	Name  string
	Path  string // absolute and clean
	Write bool
	Pos   Pos
}

// Auth says who may call a cell. A nil Allow leaves it to the owner and what is his; Methods allow some of those the named
// methods, and the others none of these.
type Auth struct {
	Allow   []Principal
	Methods map[string][]Principal
}

// Principal is one who may call: Kind is "user", "cell", "below" for the cells below one, or "node" for a machine.
type Principal struct{ Kind, Name string }

// String is the principal as it is written.
func (p Principal) String() string {
	if p.Kind == "below" {
		return "cell:" + p.Name + ".*"
	}
	return p.Kind + ":" + p.Name
}

// Net is what a cell may reach outside Cell and what it opens to the outside.
type Net struct {
	Internet bool     // all of the network
	Hosts    []Host   // of it, without Internet
	Publish  []string // address:port pairs
}

// Host is a place outside of Cell that a program reaches by TCP: a name or an address, and a port.
type Host struct {
	Name string
	Port int
}

// String is the host as it is written.
func (h Host) String() string { return net.JoinHostPort(h.Name, strconv.Itoa(h.Port)) }

// About says who answers for a cell.
type About struct{ Author, License, Repository string }

// Pos is a place in a file; lines and columns count from one.
type Pos struct{ Line, Col int }

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// ValidName tells whether s may name a cell: a to z, then letters, digits and dashes, at most 63.
func ValidName(s string) bool { return nameForm.MatchString(s) }

// maxPath bounds the dotted name of a cell: "cell@NAME:NNN.service" is a unit name, and those end at 255 bytes.
const maxPath = 200

// InBin tells whether the program lies in bin/: Cell keeps a copy of each version of those.
func (m *Manifest) InBin() bool { return strings.HasPrefix(filepath.Clean(m.Exec[0]), "bin/") }

// at is the place of a key, or of its section, or of the file's start.
func (m *Manifest) at(keys ...string) Pos {
	for _, k := range keys {
		if p, ok := m.pos[k]; ok {
			return p
		}
	}
	return Pos{1, 1}
}
