package sdk

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
	hotMemory = "memory"
	hotConn   = "conn"
	hotFile   = "file"
)

var (
	hotEntry = regexp.MustCompile(`^(?:` + hotMemory + `|` + hotConn + `|` + hotFile + `)/([a-z][a-z0-9-]{0,62})/([0-9]{1,18})$`)
	hotName  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
)

func isHotName(entry string) bool { return hotEntry.MatchString(entry) }

// HotFull is returned when systemd's store has no room for another descriptor.
type HotFull struct {
	Name string // of what was to be kept
	Max  int    // descriptors that a cell may keep
}

func (e *HotFull) Error() string {
	return fmt.Sprintf("keep %s: %d descriptors are kept already, which is all that a cell may", e.Name, e.Max)
}

// handed is what systemd handed to the process, and what it holds for the process's successor.
type handed struct {
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

// number goes on counting where the processes before ended.
func (h *handed) number() {
	h.held = len(h.found)
	for entry := range h.found {
		n, _ := strconv.Atoi(hotEntry.FindStringSubmatch(entry)[2])
		h.last = max(h.last, n)
	}
}

// open claims a name of one kind and returns what was kept under it, newest first.
func (h *handed) open(kind, name string) ([]keptFile, error) {
	if h.err != nil {
		return nil, fmt.Errorf("open hot %s: %w", name, h.err)
	}
	if !hotName.MatchString(name) {
		return nil, fmt.Errorf("open hot %q: a name is a to z, digits and dashes, at most 63", name)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.isReady {
		return nil, fmt.Errorf("open hot %s: it is too late, what nobody opened was let go when the cell became ready", name)
	}
	if h.opened[kind+"/"+name] {
		return nil, fmt.Errorf("open hot %s: it is open already", name)
	}
	if h.opened == nil {
		h.opened = map[string]bool{}
	}
	h.opened[kind+"/"+name] = true
	var files []keptFile
	for _, entry := range slices.Collect(maps.Keys(h.found)) {
		if rest, ok := strings.CutPrefix(entry, kind+"/"+name+"/"); ok {
			n, _ := strconv.Atoi(rest)
			files = append(files, keptFile{entry, n, h.found[entry]})
			delete(h.found, entry)
		}
	}
	slices.SortFunc(files, func(a, b keptFile) int { return cmp.Compare(b.number, a.number) })
	return files, nil
}

type keptFile struct {
	entry  string
	number int
	file   *os.File
}

// newest returns the first of what open found, nil when there is none. Only a process that ended while it replaced something
// leaves more: the older ones are let go.
func (h *handed) newest(files []keptFile) *keptFile {
	if len(files) == 0 {
		return nil
	}
	for _, old := range files[1:] {
		old.file.Close()
		h.whenReady(func() error { return h.remove(old.entry) })
	}
	return &files[0]
}

// reserve takes room for one more descriptor and returns the entry's name.
func (h *handed) reserve(kind, name string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holds() && h.held >= h.max {
		return "", &HotFull{Name: name, Max: h.max}
	}
	h.held++
	h.last++
	return fmt.Sprintf("%s/%s/%d", kind, name, h.last), nil
}

// holds tells whether there is a store at all.
func (h *handed) holds() bool { return h.notify.addr != "" && h.max > 0 }

// put hands a descriptor to systemd. systemd is not to watch it: it would drop a connection whose peer has gone, and with it
// what the peer said last.
func (h *handed) put(entry string, from syscall.Conn) error {
	if !h.holds() {
		return nil
	}
	// Not with Fd, which may change how the descriptor blocks.
	raw, err := from.SyscallConn()
	if err == nil {
		var sent error
		err = raw.Control(func(fd uintptr) { sent = h.notify.sendWith("FDSTORE=1\nFDPOLL=0\nFDNAME="+entry, int(fd)) })
		err = cmp.Or(err, sent)
	}
	if err != nil {
		h.mu.Lock()
		h.held--
		h.mu.Unlock()
		return fmt.Errorf("keep %s: %w", entry, err)
	}
	return nil
}

// remove makes systemd close its copy of a descriptor.
func (h *handed) remove(entry string) error {
	h.mu.Lock()
	h.held--
	h.mu.Unlock()
	if err := h.notify.send("FDSTOREREMOVE=1\nFDNAME=" + entry); err != nil {
		return fmt.Errorf("let go of %s: %w", entry, err)
	}
	return nil
}

// whenReady has f run after the program has become ready. Until then a version that fails leaves nothing behind.
func (h *handed) whenReady(f func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.atReady = append(h.atReady, f)
}

func (h *handed) ready() error {
	h.mu.Lock()
	then, left := h.atReady, h.found
	h.isReady, h.atReady, h.found = true, nil, nil
	h.mu.Unlock()
	errs := []error{h.notify.send("READY=1")}
	for _, f := range then {
		errs = append(errs, f())
	}
	for entry, file := range left {
		if strings.HasPrefix(entry, hotConn+"/") {
			// Whoever else has a copy, the peer learns that nobody will answer.
			_ = unix.Shutdown(int(file.Fd()), unix.SHUT_RDWR)
		}
		file.Close()
		errs = append(errs, h.remove(entry))
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
