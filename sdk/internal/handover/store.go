// Package handover takes what systemd hands to a process, its listening sockets and what an earlier process kept, and gives systemd
// what the next one is to find. See sd_listen_fds(3), sd_notify(3) and FileDescriptorStoreMax= in systemd.service(5).
package handover

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// What is kept is called KIND/NAME/NUMBER in systemd's store. A socket's name has no slash: systemd takes the unit's.
const (
	Memory = "memory"
	Conn   = "conn"
	File   = "file"
)

var (
	entryForm = regexp.MustCompile(`^(?:` + Memory + `|` + Conn + `|` + File + `)/([a-z][a-z0-9-]{0,62})/([0-9]{1,18})$`)
	nameForm  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
)

func isEntry(name string) bool { return entryForm.MatchString(name) }

// ErrFull is returned when systemd's store has no room for another descriptor: see Max.
var ErrFull = errors.New("all descriptors that a cell may keep are kept already")

// Process is what systemd handed to the process, and what it holds for the process's successor.
type Process struct {
	notify    notifier
	listeners []net.Listener
	err       error // of taking what was handed over
	max       int   // descriptors that the store takes

	mu      sync.Mutex
	found   map[string]*os.File // of an earlier process, until opened
	opened  map[string]bool     // KIND/NAME
	held    int                 // descriptors in the store
	last    int                 // highest number given to an entry
	isReady bool
	atReady []func() error
}

// storeMax is the size of the store: systemd says it from 254 on, and celld sets 64.
func storeMax(variable string) int {
	if n, err := strconv.Atoi(variable); err == nil && n >= 0 {
		return n
	}
	return 64
}

// New is a process to which found was handed over, and whose systemd listens at addr and keeps max descriptors. Tests use it.
func New(addr string, max int, found map[string]*os.File) *Process {
	p := &Process{notify: notifier{addr: addr}, max: max, found: found}
	p.number()
	return p
}

// number goes on counting where the processes before ended.
func (p *Process) number() {
	p.held = len(p.found)
	for entry := range p.found {
		n, _ := strconv.Atoi(entryForm.FindStringSubmatch(entry)[2])
		p.last = max(p.last, n)
	}
}

// Open claims a name of one kind and returns what was kept under it, newest first.
func (p *Process) Open(kind, name string) ([]Kept, error) {
	if p.err != nil {
		return nil, fmt.Errorf("open hot %s: %w", name, p.err)
	}
	if !nameForm.MatchString(name) {
		return nil, fmt.Errorf("open hot %q: a name is a to z, digits and dashes, at most 63", name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isReady {
		return nil, fmt.Errorf("open hot %s: it is too late, what nobody opened was let go when the cell became ready", name)
	}
	if p.opened[kind+"/"+name] {
		return nil, fmt.Errorf("open hot %s: it is open already", name)
	}
	if p.opened == nil {
		p.opened = map[string]bool{}
	}
	p.opened[kind+"/"+name] = true
	var files []Kept
	for _, entry := range slices.Collect(maps.Keys(p.found)) {
		if rest, ok := strings.CutPrefix(entry, kind+"/"+name+"/"); ok {
			n, _ := strconv.Atoi(rest)
			files = append(files, Kept{entry, p.found[entry], n})
			delete(p.found, entry)
		}
	}
	slices.SortFunc(files, func(a, b Kept) int { return cmp.Compare(b.number, a.number) })
	return files, nil
}

// Kept is a descriptor that an earlier process kept.
type Kept struct {
	Entry  string // in systemd's store
	File   *os.File
	number int
}

// Newest returns the first of what open found, nil when there is none. Only a process that ended while it replaced something
// leaves more: the older ones are let go.
func (p *Process) Newest(files []Kept) *Kept {
	if len(files) == 0 {
		return nil
	}
	for _, old := range files[1:] {
		old.File.Close()
		p.WhenReady(func() error { return p.Remove(old.Entry) })
	}
	return &files[0]
}

// Reserve takes room for one more descriptor and returns the entry's name.
func (p *Process) Reserve(kind, name string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Holds() && p.held >= p.max {
		return "", ErrFull
	}
	p.held++
	p.last++
	return fmt.Sprintf("%s/%s/%d", kind, name, p.last), nil
}

// Max is how many descriptors systemd keeps.
func (p *Process) Max() int { return p.max }

// Listeners are the listening sockets.
func (p *Process) Listeners() ([]net.Listener, error) { return p.listeners, p.err }

// Notify sends lines of assignments, such as STOPPING=1.
func (p *Process) Notify(state string) error { return p.notify.send(state) }

// Watch tells systemd that the process is well as long as check returns, where systemd wants to know.
func (p *Process) Watch(check func()) { p.notify.watch(check) }

// Holds tells whether there is a store at all.
func (p *Process) Holds() bool { return p.notify.addr != "" && p.max > 0 }

// Put hands a descriptor to systemd. systemd is not to watch it: it would drop a connection whose peer has gone, and with it
// what the peer said last.
func (p *Process) Put(entry string, from syscall.Conn) error {
	if !p.Holds() {
		return nil
	}
	// Not with Fd, which may change how the descriptor blocks.
	raw, err := from.SyscallConn()
	if err == nil {
		var sent error
		err = raw.Control(func(fd uintptr) { sent = p.notify.sendWith("FDSTORE=1\nFDPOLL=0\nFDNAME="+entry, int(fd)) })
		err = cmp.Or(err, sent)
	}
	if err != nil {
		p.mu.Lock()
		p.held--
		p.mu.Unlock()
		return fmt.Errorf("keep %s: %w", entry, err)
	}
	return nil
}

// Remove makes systemd close its copy of a descriptor.
func (p *Process) Remove(entry string) error {
	p.mu.Lock()
	p.held--
	p.mu.Unlock()
	if err := p.notify.send("FDSTOREREMOVE=1\nFDNAME=" + entry); err != nil {
		return fmt.Errorf("let go of %s: %w", entry, err)
	}
	return nil
}

// WhenReady has f run after the program has become ready. Until then a version that fails leaves nothing behind.
func (p *Process) WhenReady(f func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.atReady = append(p.atReady, f)
}

// Ready tells systemd that the process serves, and lets go of what nobody opened.
func (p *Process) Ready() error {
	p.mu.Lock()
	then, left := p.atReady, p.found
	p.isReady, p.atReady, p.found = true, nil, nil
	p.mu.Unlock()
	errs := []error{p.notify.send("READY=1")}
	for _, f := range then {
		errs = append(errs, f())
	}
	for entry, file := range left {
		if strings.HasPrefix(entry, Conn+"/") {
			// Whoever else has a copy, the peer learns that nobody will answer.
			_ = unix.Shutdown(int(file.Fd()), unix.SHUT_RDWR)
		}
		file.Close()
		errs = append(errs, p.Remove(entry))
	}
	return errors.Join(errs...)
}

// sendWith sends lines of assignments together with a descriptor.
func (n notifier) sendWith(state string, fd int) error {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer unix.Close(s)
	// A leading @ stands for an abstract name here too.
	if err := unix.Sendmsg(s, []byte(state), unix.UnixRights(fd), &unix.SockaddrUnix{Name: n.addr}, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
